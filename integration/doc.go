// Package integration tests the built bryo as its users meet it: script files
// (scripts/*.txtar, in the language of rogpeppe/go-internal/testscript) run the
// binary as a plain user, against real registries on loopback and real images.
//
// Start reading at TestMain (users, fixtures, registry), then script_test.go
// (what surrounds each script) and commands_test.go (what scripts can say
// beyond the language). Run as root it runs every script twice: as bryo-test,
// who has subordinate ids, and as bryo-single, who has none. Run as a plain
// user it runs them once.
//
// What needs no built binary is tested beside its package.
package integration
