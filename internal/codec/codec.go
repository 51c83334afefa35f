// Package codec writes and reads JSON by generated code: encoding/json learns
// each type by reflection, which a process that lives for ten milliseconds pays anew
// (docs/decisions/035). The code is made by `make generate` for types
// that are marked with //easyjson:json; what it does not read, encoding/json judges.
package codec

import (
	"encoding/json"
	"reflect"

	"github.com/mailru/easyjson"
	"github.com/mailru/easyjson/jwriter"
)

// Marshal is json.Marshal.
func Marshal(v any) ([]byte, error) {
	m, ok := v.(easyjson.Marshaler)
	if !ok {
		return json.Marshal(v)
	}
	return easyjson.Marshal(m)
}

// MarshalPlain is Marshal, but for <, > and &, which stay as they are.
func MarshalPlain(v easyjson.Marshaler) ([]byte, error) {
	w := jwriter.Writer{NoEscapeHTML: true}
	v.MarshalEasyJSON(&w)
	return w.BuildBytes()
}

// Unmarshal is json.Unmarshal into a pointer to a zero value.
func Unmarshal(data []byte, v any) error {
	if Quick(data, v) {
		return nil
	}
	return json.Unmarshal(data, v)
}

// Quick reads data into a pointer to a zero value, if there is code for it and data is
// what it expects; else the value stays zero.
func Quick(data []byte, v any) bool {
	u, ok := v.(easyjson.Unmarshaler)
	if !ok {
		return false
	}
	if easyjson.Unmarshal(data, u) == nil {
		return true
	}
	reflect.ValueOf(v).Elem().SetZero()
	return false
}
