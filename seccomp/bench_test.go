package seccomp

import "testing"

func BenchmarkCompileDefault(b *testing.B) {
	for b.Loop() {
		mustCompile(b, Default(), Options{Caps: podmanCaps, Arch: "amd64", Kernel: modern})
	}
}

func BenchmarkForContainerPrecompiled(b *testing.B) {
	for b.Loop() {
		if _, err := ForContainer(nil, Options{Caps: podmanCaps}, ""); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkForContainerCached(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		if _, err := ForContainer(nil, Options{Caps: dockerCaps}, dir); err != nil {
			b.Fatal(err)
		}
	}
}
