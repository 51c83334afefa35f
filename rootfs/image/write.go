package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The functions of this file are the image role's: they are called with the
// store's write lock held, in this order: change the store, then remove and
// write what changed, then SetStamp. Until SetStamp a reader finds the records
// stale and asks, so that no reader ever sees an old record beside a new store.

// Write stores record under name (normalized) and platform, which is empty for
// "whatever the name points to". An empty name stores it by its ID.
// Readers see the old record or the new one, never a part. Nothing is synced:
// a record is only a copy of what the store knows.
func Write(root, name, platform string, record *Record) error {
	blob, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("record %s: %w", name, err)
	}
	if err := os.MkdirAll(Dir(root), 0o700); err != nil {
		return err
	}
	file := idName(record.ID)
	if name != "" {
		file = fileName(name, platform)
	}
	return replace(filepath.Join(Dir(root), file), blob)
}

// replace writes a temporary file in the same directory and renames it. There is one
// writer at a time, and what a killed one left is overwritten by the next.
func replace(path string, blob []byte) error {
	temporary := filepath.Join(filepath.Dir(path), ".tmp-new")
	err := os.WriteFile(temporary, blob, 0o600)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		os.Remove(temporary)
	}
	return err
}

// RemoveNames deletes the records of the names, of all platforms.
func RemoveNames(root string, names ...string) error {
	entries, err := os.ReadDir(Dir(root))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		prefix := namePrefix(name)
		for _, entry := range entries {
			if strings.HasPrefix(entry.Name(), prefix) {
				if err := removeFile(root, entry.Name()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// RemoveID deletes the record that is found by ID.
func RemoveID(root, id string) error { return removeFile(root, idName(id)) }

func removeFile(root, file string) error {
	err := os.Remove(filepath.Join(Dir(root), file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// SetStamp declares the records in step with the store as it is now.
func SetStamp(root string) error {
	stamp, err := StoreStamp(root)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(Dir(root), 0o700); err != nil {
		return err
	}
	temporary := filepath.Join(Dir(root), ".stamp-new")
	os.Remove(temporary)
	if err := os.Symlink(stamp.String(), temporary); err != nil {
		return err
	}
	return os.Rename(temporary, stampPath(root))
}

// InStep tells whether the records belong to the store as it is now.
func InStep(root string) bool {
	_, err := current(root)
	return err == nil
}

// Clear removes all records: for a store that someone else has changed, or
// that writers left behind without a stamp.
func Clear(root string) error {
	entries, err := os.ReadDir(Dir(root))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// The stamp first: without it nothing of the rest counts.
	os.Remove(stampPath(root))
	for _, entry := range entries {
		if err := os.Remove(filepath.Join(Dir(root), entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
