// Package codec writes and reads JSON by generated code: encoding/json learns
// each type by reflection, which a process that lives for ten milliseconds pays anew
// (docs/decisions/035). The code is made by `make generate` for types
// that are marked with //easyjson:json; what it does not read, encoding/json judges. Unlike
// that it knows a field by its name in one spelling only.
package codec

import (
	"encoding/json"
	"reflect"

	"github.com/mailru/easyjson/jlexer"
	"github.com/mailru/easyjson/jwriter"
)

// Marshaler has code that writes it.
type Marshaler interface{ MarshalEasyJSON(w *jwriter.Writer) }

// Unmarshaler has code that reads it.
type Unmarshaler interface{ UnmarshalEasyJSON(l *jlexer.Lexer) }

// Marshal is json.Marshal.
func Marshal(v any) ([]byte, error) {
	m, ok := v.(Marshaler)
	if !ok {
		return json.Marshal(v)
	}
	var w jwriter.Writer
	m.MarshalEasyJSON(&w)
	return w.BuildBytes()
}

// MarshalPlain is Marshal, but for <, > and &, which stay as they are.
func MarshalPlain(v Marshaler) ([]byte, error) {
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
	u, ok := v.(Unmarshaler)
	if !ok {
		return false
	}
	l := jlexer.Lexer{Data: data}
	u.UnmarshalEasyJSON(&l)
	if l.Error() == nil {
		return true
	}
	reflect.ValueOf(v).Elem().SetZero()
	return false
}
