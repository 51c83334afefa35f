// Package image holds what a run needs to know of an image: its layer
// directories and its configuration, kept as one small record per name.
//
// Start reading at Lookup: the run path turns a name into a Record with a few
// system calls, without a lock, a namespace or the storage library. Records
// are written by the image role (package rootfs/store), which is the only one
// that changes images.
//
// The package leaves out everything that needs the store itself: pulling,
// unpacking, tagging, and the question whether an image is in use.
package image
