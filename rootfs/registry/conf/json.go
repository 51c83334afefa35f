package conf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxDepth is far beyond what a manifest, image config or policy nests (about
// eight levels), and far below what would strain a recursive reader.
const maxDepth = 64

// CheckJSON refuses a document that two parsers could understand differently:
// an object with the same key twice, data behind the end, or nesting deeper
// than 64 levels. One pass, no memory beyond the open objects' keys.
func CheckJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := checkValue(dec, 0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("invalid JSON: data behind the end")
	}
	return nil
}

func checkValue(dec *json.Decoder, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("invalid JSON: nested deeper than %d levels", maxDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return jsonError(err)
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for dec.More() {
		if delim == '{' {
			key, err := dec.Token()
			if err != nil {
				return jsonError(err)
			}
			if name, ok := key.(string); ok {
				if seen[name] {
					return fmt.Errorf("invalid JSON: key %.64q occurs twice", name)
				}
				seen[name] = true
			}
		}
		if err := checkValue(dec, depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return jsonError(err)
	}
	return nil
}

func jsonError(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("invalid JSON: %w", err)
}
