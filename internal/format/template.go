package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"
)

// SyntaxError is a template that is none; docker has an exit code for it.
type SyntaxError struct{ Err error }

func (e *SyntaxError) Error() string { return "template parsing error: " + e.Err.Error() }
func (e *SyntaxError) Unwrap() error { return e.Err }

// parse reads a --format template. A shell user types \t and \n, which the
// template language knows only inside quoted strings.
func parse(text string) (*template.Template, error) {
	text = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(text)
	t, err := template.New("").Funcs(functions()).Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, &SyntaxError{err}
	}
	return t, nil
}

// Check is nil for a --format that is a template.
func Check(text string) error {
	_, err := parse(text)
	return err
}

// functions are docker's, and padlen.
func functions() template.FuncMap {
	return template.FuncMap{
		"json":     toJSON,
		"split":    strings.Split,
		"join":     join,
		"title":    title,
		"lower":    strings.ToLower,
		"upper":    strings.ToUpper,
		"pad":      pad,
		"padlen":   padTo,
		"truncate": truncate,
		"println":  fmt.Sprintln,
	}
}

// headerFunctions keep a title as it is where a function would take it apart.
func headerFunctions() template.FuncMap {
	same := func(s string) string { return s }
	sameWithString := func(s, _ string) string { return s }
	return template.FuncMap{
		"json": same, "title": same, "lower": same, "upper": same,
		"split": sameWithString, "join": sameWithString,
		"truncate": func(s string, _ int) string { return s },
	}
}

func toJSON(v any) (string, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSpace(b.String()), nil
}

// join takes a list of any type, as data decoded from JSON has []any.
func join(list any, separator string) (string, error) {
	if list == nil {
		return "", nil
	}
	v := reflect.ValueOf(list)
	if v.Kind() != reflect.Slice && v.Kind() != reflect.Array {
		return "", fmt.Errorf("join: %s is not a list", v.Kind())
	}
	parts := make([]string, v.Len())
	for i := range parts {
		parts[i] = fmt.Sprint(v.Index(i).Interface())
	}
	return strings.Join(parts, separator), nil
}

func title(s string) string {
	start := true
	return strings.Map(func(r rune) rune {
		out := r
		if start {
			out = unicode.ToTitle(r)
		}
		start = unicode.IsSpace(r)
		return out
	}, s)
}

// maxPad bounds what a template may ask for: {{pad .ID 2000000000 0}}.
const maxPad = 4096

func pad(s string, before, after int) string {
	if s == "" {
		return s
	}
	return spaces(before) + s + spaces(after)
}

func padTo(s string, length int) string {
	return s + spaces(length-utf8.RuneCountInString(s))
}

func spaces(n int) string { return strings.Repeat(" ", max(0, min(n, maxPad))) }

func truncate(s string, length int) string {
	for at := range s {
		if length <= 0 {
			return s[:at]
		}
		length--
	}
	return s
}

// Inspect prints items, structs with JSON tags or values decoded from JSON, as
// inspect does: without a format as an array indented by four spaces, with
// "json" as a compact array, else by a template that is executed once per item.
//
// A template may use Go field names (of the struct) or JSON names: the second
// are tried where the first do not fit, and there a missing name is an error;
// a missing map key of the first is "<no value>".
func Inspect(out io.Writer, format string, items []any) error {
	switch format {
	case "":
		return writeArray(out, items, true)
	case "json":
		return writeArray(out, items, false)
	}
	tmpl, err := parse(format)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, item := range items {
		if err := inspectOne(&b, tmpl, item); err != nil {
			return err
		}
	}
	_, err = b.WriteTo(out)
	return err
}

func writeArray(out io.Writer, items []any, indent bool) error {
	if items == nil {
		items = []any{}
	}
	b, err := json.Marshal(items)
	if err != nil {
		return err
	}
	if indent {
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, b, "", "    "); err != nil {
			return err
		}
		b = pretty.Bytes()
	}
	_, err = out.Write(append(b, '\n'))
	return err
}

func inspectOne(b *bytes.Buffer, tmpl *template.Template, item any) error {
	start := b.Len()
	typed := tmpl.Option("missingkey=default").Execute(b, item)
	if typed == nil {
		b.WriteByte('\n')
		return nil
	}
	b.Truncate(start)
	raw, err := decoded(item)
	if err != nil {
		return err
	}
	if err := tmpl.Option("missingkey=error").Execute(b, raw); err != nil {
		return fmt.Errorf("template parsing error: %w", err)
	}
	b.WriteByte('\n')
	return nil
}

// decoded is the item as its JSON reads; numbers keep their digits.
func decoded(item any) (any, error) {
	b, err := json.Marshal(item)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber()
	var raw any
	err = decoder.Decode(&raw)
	return raw, err
}
