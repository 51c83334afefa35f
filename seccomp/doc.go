// Package seccomp turns profiles into filter programs for the kernel, without
// libseccomp.
//
// A Profile is Docker's JSON (Parse), the OCI runtime spec's form (FromSpec)
// or bryo's own policy (Default). Compile makes it a Program: classic BPF
// that tells all ABIs of the machine apart. ForContainer is what a container
// start uses: it finds the program precompiled or cached and compiles only
// when it must. Listener talks to a filter that asks user space.
//
// Start reading at default.go for the policy, at compile.go for the way from
// profile to program.
//
// The package does not load filters into containers: the last stage before
// exec does that with the bytes from here (Install is for bryo's own
// processes and for tests). It knows nothing of --privileged and
// "unconfined": those mean no filter at all, which is the caller's decision.
package seccomp
