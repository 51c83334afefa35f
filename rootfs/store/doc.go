// Package store keeps images: it verifies, unpacks and records what a registry
// or an archive delivers, and names, lists and removes it. It is the only
// package that uses the storage library, and so runs only in the image role:
// uid 0 of a user namespace, never a container's process.
//
// Start reading at Import: a plan is made from manifest and configuration, then
// layers are fetched, checked and unpacked side by side, and applied to the
// store bottom up; the image gets its name last, when everything is on disk.
//
// The store is in the format of containers/storage (overlay driver), so that its
// tools can read it. What the format does not say about an image stands in a
// note; what a run needs is copied into a record. Both are package image's,
// which also answers all questions that only read: list, find, inspect. Left
// out are fetching (package registry) and mounting (package mount).
package store
