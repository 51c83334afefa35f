package supervisor

import (
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"bryo/rootfs/mount"
)

// Mount points in the container's directory.
const (
	rootDir  = "root"
	devDir   = "dev"
	stageDir = "stage"
)

// tree is the container's file system, mounted and resolved.
type tree struct {
	root   string
	mounts []specs.Mount
	user   identity
}

type identity struct {
	UID, GID uint32
	Groups   []uint32
	Home     string
}

// mountTree mounts the container's root and prepares all that goes below it, in
// this process's mount namespace: it is gone with the process.
func (s *supervisor) mountTree() (*tree, error) {
	dir := s.dir()
	t := &tree{root: filepath.Join(dir, rootDir)}
	if err := s.mountRoot(t.root); err != nil {
		return nil, err
	}
	dev := filepath.Join(dir, devDir)
	if err := os.MkdirAll(dev, 0o755); err != nil {
		return nil, err
	}
	if err := mount.Dev(dev, nil); err != nil {
		return nil, err
	}
	t.mounts = standardMounts(s.config, dev)
	return t, nil
}

func (s *supervisor) mountRoot(root string) error {
	dir := s.dir()
	return mount.Overlay(root, s.config.Image.Layers, filepath.Join(dir, "upper"), filepath.Join(dir, "work"),
		mount.OverlayOptions{Volatile: s.config.Host.Remove})
}
