// Package bridge is the driver of networks that users define: a bridge in a
// network namespace of its own (the router), veth pairs to the containers, a name
// server on the bridge's address, and the user-mode stack as the way out.
//
//	container ──veth──┐
//	container ──veth──┤ bridge ── routes ── TUN ═══ user-mode stack ── host's sockets
//	                  └ DNS (gateway:53) ═══ helper
//
// Start reading at Ensure (the command line: a helper is there), Line.Attach (a
// container's supervisor) and Main (the helper). Who runs what:
//
//	helper   one per network, while containers are attached. It lives in the user's
//	         own namespaces, without a right on the host. It owns, as every process
//	         of the user does, the user namespaces that were made from there, and so
//	         may make a veth pair between the router and a container although it is
//	         in neither (docs/decisions/008).
//	router   a child of the helper that makes the namespace, sets everything up,
//	         hands the descriptors over and ends.
//	keeper   keep.c: waits for the helper and starts it again when it is killed.
//
// store.go keeps networks on disk. Published ports are not here: they enter through
// the container's own namespace.
package bridge

// Roles of this binary.
const (
	Role       = "network"
	RouterRole = "router"
)

// envRole is what sandbox/userns reads a role from; envKeep asks keep.c to
// stay, and names the folder of the network.
const (
	envRole = "_BRYO_ROLE"
	envKeep = "_BRYO_KEEP"
	envKept = "_BRYO_KEPT" // set by keep.c: this is not the first helper
)
