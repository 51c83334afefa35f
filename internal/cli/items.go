package cli

import (
	"bytes"
	"encoding/json"
	"os"

	"golang.org/x/sys/unix"
)

// decodeItems turns JSON objects into values for format.Inspect. Numbers keep
// their digits: a size above 2^53 must not become a float.
func decodeItems(raw []json.RawMessage) ([]any, error) {
	items := []any{}
	for _, data := range raw {
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.UseNumber()
		var item any
		if err := decoder.Decode(&item); err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func isTTY(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
