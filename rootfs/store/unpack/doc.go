// Package unpack turns one layer's tar stream into a directory that overlayfs
// can use, and back. The stream comes from an untrusted registry.
//
// Start reading at Unpack: one loop over the entries; every path is resolved by
// the kernel with the directory as its root (openat2, RESOLVE_IN_ROOT), so that
// no name, symlink or hard link reaches outside, whoever changes what meanwhile.
// Limits bound what one layer may cost. Replay gives the stream back, byte by
// byte, from the directory and the notes (tar-split) that Unpack wrote.
//
// The package leaves out compression, digests, and where layers are kept.
package unpack
