// Package format prints what commands list and inspect, in docker's shapes: Go
// templates with docker's functions, column tables, one JSON object per line,
// indented JSON arrays; and reads --filter.
//
// Start reading at List.Write (ps, images, volume ls, …) and Inspect (inspect).
// Templates are parsed when a command prints, never at start-up. What a row
// holds is the business of the command; so are exit codes and "no such object".
package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"
)

// Row is one line of a list: column name (as templates and JSON spell it) to a
// printable value. A column that was not given is an error in a template.
type Row map[string]any

// oneByOne is the column that no template can name: the labels that Labels shows in one
// text, which is what docker's functions for texts expect there.
const oneByOne = ""

// ready is the row as templates see it.
func (r Row) ready() Row {
	labels, ok := r["Labels"].(Labels)
	if !ok {
		return r
	}
	r = maps.Clone(r)
	r["Labels"], r[oneByOne] = labels.String(), labels
	return r
}

// Label serves {{.Label "key"}}: the value of one label of the column Labels.
func (r Row) Label(key string) string {
	labels, _ := r[oneByOne].(Labels)
	return labels[key]
}

// MarshalJSON leaves out what is no column.
func (r Row) MarshalJSON() ([]byte, error) {
	columns := maps.Clone(map[string]any(r))
	delete(columns, oneByOne)
	text, err := toJSON(columns)
	return []byte(text), err
}

// Labels is the value of a column of labels: printed as k=v,k=v sorted by key.
type Labels map[string]string

func (l Labels) String() string {
	pairs := make([]string, 0, len(l))
	for _, key := range slices.Sorted(maps.Keys(l)) {
		pairs = append(pairs, key+"="+l[key])
	}
	return strings.Join(pairs, ",")
}

// MarshalJSON writes labels as the one string that docker writes in lists.
func (l Labels) MarshalJSON() ([]byte, error) {
	text, err := toJSON(l.String())
	return []byte(text), err
}

// List says how one command prints its rows.
type List struct {
	// Headers gives each column its title: "ID" -> "IMAGE ID".
	Headers map[string]string
	// Table is the template without --format, tab-separated, without "table".
	Table string
	// Quiet is the template of -q; "{{.ID}}" when empty.
	Quiet string
	// Raw and RawQuiet are what --format raw stands for, where docker has that.
	Raw, RawQuiet string
}

// Try finds what is wrong with a --format before there is a row: no template, or a
// column that does not exist. A row of empty values may make it fail for other reasons.
func (l List) Try(format string) error {
	if format == "" {
		return nil
	}
	row := Row{}
	for column := range l.Headers {
		row[column] = ""
	}
	err := l.Write(io.Discard, format, false, []Row{row})
	if err != nil && (strings.HasPrefix(err.Error(), unparsed) || strings.Contains(err.Error(), "no entry for key")) {
		return err
	}
	return nil
}

const unparsed = "failed to parse template"

// Write prints rows to out. format is the value of --format: "" or "table" for
// the table of the command, "table TEMPLATE", "json", or a template that is
// executed once per row. With quiet a missing or a table format gives Quiet.
func (l List) Write(out io.Writer, format string, quiet bool, rows []Row) error {
	text, table := l.choose(format, quiet)
	if text == "json" {
		return writeJSONLines(out, rows)
	}
	tmpl, err := parse(text)
	if err != nil {
		return fmt.Errorf(unparsed+": %w", errors.Unwrap(err))
	}
	// Rows come before the header, as an error in a template must leave
	// nothing on stdout.
	var body bytes.Buffer
	for _, row := range rows {
		row = row.ready()
		if table {
			row = row.printable()
		}
		if err := tmpl.Execute(&body, row); err != nil {
			return fmt.Errorf("failed to execute template: %w", err)
		}
		body.WriteByte('\n')
	}
	if !table {
		_, err := body.WriteTo(out)
		return err
	}
	return l.writeTable(out, tmpl, &body)
}

func (l List) choose(format string, quiet bool) (text string, table bool) {
	rest, table := strings.CutPrefix(format, "table")
	switch {
	case format == "raw" && l.Raw != "" && quiet:
		return l.RawQuiet, false
	case format == "raw" && l.Raw != "":
		return l.Raw, false
	case quiet && (format == "" || format == "table"):
		if l.Quiet != "" {
			return l.Quiet, false
		}
		return "{{.ID}}", false
	case format == "" || table && strings.TrimSpace(rest) == "":
		return l.Table, true
	case table:
		return strings.Trim(rest, " "), true
	}
	return strings.Trim(format, " "), false
}

// Docker's columns: at least 10 wide, 3 blanks apart.
func (l List) writeTable(out io.Writer, tmpl *template.Template, body *bytes.Buffer) error {
	var text bytes.Buffer // a tabwriter writes cell by cell: thousands of system calls
	table := tabwriter.NewWriter(&text, 10, 1, 3, ' ', 0)
	if err := tmpl.Funcs(headerFunctions()).Execute(table, header(l.Headers)); err != nil {
		return fmt.Errorf("failed to execute template: %w", err)
	}
	if _, err := table.Write([]byte{'\n'}); err != nil {
		return err
	}
	if _, err := body.WriteTo(table); err != nil {
		return err
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := text.WriteTo(out)
	return err
}

// header is what the template is executed with for the first line of a table.
type header map[string]string

// Label titles a label column: {{.Label "com.example.role-name"}} is "role name".
func (header) Label(key string) string {
	if at := strings.LastIndexByte(key, '.'); at >= 0 {
		key = key[at+1:]
	}
	return strings.NewReplacer("-", " ", "_", " ").Replace(key)
}

// printable escapes what a terminal would obey in the strings of a row.
func (r Row) printable() Row {
	clean := make(Row, len(r))
	for column, value := range r {
		switch v := value.(type) {
		case string:
			clean[column] = Cell(v)
		case Labels:
			labels := make(Labels, len(v))
			for key, text := range v {
				labels[Cell(key)] = Cell(text)
			}
			clean[column] = labels
		default:
			clean[column] = v
		}
	}
	return clean
}

func writeJSONLines(out io.Writer, rows []Row) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	for _, row := range rows {
		if err := encoder.Encode(row); err != nil {
			return err
		}
	}
	_, err := b.WriteTo(out)
	return err
}
