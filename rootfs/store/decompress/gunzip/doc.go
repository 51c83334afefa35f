// Package gunzip reads gzip streams (RFC 1952, RFC 1951), about twice as fast as
// the libraries that there are in Go: inflating is the longest part of a pull,
// and it cannot be shared out, as each byte depends on those before it.
//
// Start reading at Reader.Read; decode is the loop where the time goes, table.go
// what it looks symbols up in. Memory is one window and one input buffer,
// whatever the stream says. Left out are writing, and what headers tell of a file.
package gunzip
