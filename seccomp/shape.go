package seccomp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// shape is what may stand at one place of a profile: an object with these
// keys, or a list of what "" names, or with no keys anything that is not an
// object.
type shape struct {
	keys string // space-separated
	sub  func(key string) shape
}

// The shapes are functions, not variables, to cost nothing at start.
func profileShape(key string) shape {
	switch key {
	case "archMap":
		return shape{keys: " architecture subArchitectures "}
	case "syscalls":
		return shape{keys: " names name action errno errnoRet args comment includes excludes ", sub: ruleShape}
	}
	return shape{}
}

func ruleShape(key string) shape {
	switch key {
	case "args":
		return shape{keys: " index value valueTwo op "}
	case "includes", "excludes":
		return shape{keys: " caps arches minKernel "}
	}
	return shape{}
}

const profileKeys = " defaultAction defaultErrno defaultErrnoRet architectures archMap flags listenerPath listenerMetadata syscalls firstMatch comment "

// checkShape refuses what encoding/json passes over: unknown keys, keys given
// twice, keys in another case, and text after the document. A key misspelt,
// "include" say, would otherwise turn a condition into nothing.
func checkShape(text []byte) error {
	w := walker{dec: json.NewDecoder(bytes.NewReader(text))}
	w.dec.UseNumber()
	token, err := w.dec.Token()
	if err == io.EOF {
		return fmt.Errorf("the file is empty")
	}
	if err != nil {
		return err
	}
	if token != json.Delim('{') {
		return fmt.Errorf("want a JSON object")
	}
	err = w.object(shape{keys: profileKeys, sub: profileShape}, "")
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("the file is cut short")
	}
	if err != nil {
		return err
	}
	if _, err := w.dec.Token(); err != io.EOF {
		return fmt.Errorf("there is text after the JSON object")
	}
	return nil
}

type walker struct{ dec *json.Decoder }

// object reads the rest of an object. path leads errors to the place.
func (w walker) object(s shape, path string) error {
	var seen map[string]bool
	for w.dec.More() {
		token, err := w.dec.Token()
		if err != nil {
			return err
		}
		key := token.(string) // the decoder yields nothing else here
		if seen == nil {
			seen = map[string]bool{}
		}
		if seen[key] {
			return fmt.Errorf("%sduplicate key %q", place(path), clip(key))
		}
		seen[key] = true
		if strings.Contains(key, " ") || !strings.Contains(s.keys, " "+key+" ") {
			return fmt.Errorf("%sunknown key %q", place(path), clip(key))
		}
		var sub shape
		if s.sub != nil {
			sub = s.sub(key)
		}
		if err := w.value(sub, join(path, key)); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return err
}

// value reads one value: a scalar, an object of the shape, or a list of such.
func (w walker) value(s shape, path string) error {
	token, err := w.dec.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		if s.keys == "" {
			return fmt.Errorf("%san object does not belong here", place(path))
		}
		return w.object(s, path)
	case json.Delim('['):
		return w.list(s, path)
	}
	return nil
}

func (w walker) list(s shape, path string) error {
	for i := 0; w.dec.More(); i++ {
		token, err := w.dec.Token()
		if err != nil {
			return err
		}
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case token == json.Delim('['):
			// Also keeps the recursion shallow, whatever the text.
			return fmt.Errorf("%sa list does not belong here", place(at))
		case token == json.Delim('{') && s.keys == "":
			return fmt.Errorf("%san object does not belong here", place(at))
		case token == json.Delim('{'):
			if err := w.object(s, at); err != nil {
				return err
			}
		}
	}
	_, err := w.dec.Token()
	return err
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func place(path string) string {
	if path == "" {
		return ""
	}
	return path + ": "
}
