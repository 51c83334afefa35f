package mount

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// What every container has mounted on it. An image that lacks one of these would have
// it made in its upper directory at each start, by some of the slowest calls of all.
var (
	skeletonDirs  = []string{"proc", "sys", "dev", "etc"}
	skeletonFiles = []string{"etc/hosts", "etc/hostname", "etc/resolv.conf"}
)

// WithSkeleton puts below the layers of an image one that has the places to mount on,
// in dir, which is made when missing. What the image has, or has removed, counts; and it
// is no part of the image: changes are those against its own layers.
func WithSkeleton(layers []string, dir string) []string {
	if len(layers) >= MaxLayers || makeSkeleton(dir) != nil {
		return layers // the runtime makes the places
	}
	return append(layers[:len(layers):len(layers)], dir)
}

func makeSkeleton(dir string) error {
	last := filepath.Join(dir, skeletonFiles[len(skeletonFiles)-1])
	if _, err := os.Lstat(last); err == nil {
		return nil
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, name := range skeletonDirs {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := os.Chmod(path, 0o755); err != nil { // whatever the umask is
			return err
		}
	}
	for _, name := range skeletonFiles {
		path := filepath.Join(dir, name)
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		err = f.Chmod(0o644)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
