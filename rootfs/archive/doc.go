// Package archive reads and writes images as files: docker archives (docker
// save), OCI archives and OCI layout folders, root file system tars, and the
// built-in image made of bryo itself. What it reads has the form of any image
// from a registry (v1.Image), so the store verifies and unpacks it the same way.
//
// Start reading at Open. It leaves out unpacking layers (package store) and
// everything that needs the network. Nothing of an archive is ever written
// under a name that the archive chose.
package archive
