package logs

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestParse(t *testing.T) {
	type options = map[string]string
	for _, test := range []struct {
		name    string
		driver  string
		options options
		want    Config
		err     string
	}{
		{name: "default", want: Config{Driver: JSONFile, MaxFile: 1}},
		{name: "local", driver: Local, want: Config{Driver: Local, MaxSize: 20 << 20, MaxFile: 5, Compress: true}},
		{name: "local with one file", driver: Local, options: options{"max-file": "1"}, want: Config{Driver: Local, MaxSize: 20 << 20, MaxFile: 1}},
		{name: "none", driver: None, want: Config{Driver: None, MaxFile: 1}},
		{name: "sizes are decimal", options: options{"max-size": "10k", "max-file": "3"}, want: Config{Driver: JSONFile, MaxSize: 10000, MaxFile: 3}},
		{name: "compress", options: options{"max-size": "1m", "max-file": "3", "compress": "true"}, want: Config{Driver: JSONFile, MaxSize: 1000000, MaxFile: 3, Compress: true}},
		{name: "non-blocking", options: options{"mode": "non-blocking"}, want: Config{Driver: JSONFile, MaxFile: 1, NonBlocking: true, Buffer: 1 << 20}},
		{name: "non-blocking buffer", options: options{"mode": "non-blocking", "max-buffer-size": "4m"}, want: Config{Driver: JSONFile, MaxFile: 1, NonBlocking: true, Buffer: 4 << 20}},
		{name: "journald", driver: Journald, options: options{"cache-max-size": "1m"}, want: Config{Driver: Journald, MaxSize: 1000000, MaxFile: 5, Compress: true}},
		{name: "journald alone", driver: Journald, options: options{"cache-disabled": "true"}, want: Config{Driver: Journald, MaxSize: 20 << 20, MaxFile: 5, Compress: true, NoCache: true}},

		{name: "unknown driver", driver: "nope", err: "logger: no log driver named 'nope' is registered"},
		{name: "foreign driver", driver: "syslog", err: `log driver "syslog": not supported: use json-file, local, journald or none`},
		{name: "options for none", driver: None, options: options{"max-size": "1"}, err: "invalid logging opts for driver none"},
		{name: "unknown option", options: options{"foo": "1"}, err: "unknown log opt 'foo' for json-file log driver"},
		{name: "unknown option of local", driver: Local, options: options{"foo": "1"}, err: "unknown log opt 'foo' for log driver local"},
		{name: "unknown option of journald", driver: Journald, options: options{"max-size": "1"}, err: "unknown log opt 'max-size' for journald log driver"},
		{name: "cache option of json-file", options: options{"cache-disabled": "1"}, err: "unknown log opt 'cache-disabled' for json-file log driver"},
		{name: "bad size", options: options{"max-size": "big"}, err: "invalid value for max-size: invalid size: 'big'"},
		{name: "no size", options: options{"max-size": "0"}, err: "max-size must be a positive number"},
		{name: "negative size", options: options{"max-size": "-1"}, err: "invalid value for max-size: invalid size: '-1'"},
		{name: "bad number", options: options{"max-file": "x"}, err: `invalid value for max-file: strconv.Atoi: parsing "x": invalid syntax`},
		{name: "no file", options: options{"max-file": "0"}, err: "max-file cannot be less than 1"},
		{name: "compress without rotation", options: options{"compress": "true"}, err: "compress cannot be true when max-file is less than 2 or max-size is not set"},
		{name: "bad compress", options: options{"compress": "x"}, err: `invalid value for compress: strconv.ParseBool: parsing "x": invalid syntax`},
		{name: "bad mode", options: options{"mode": "x"}, err: "logger: logging mode not supported: x"},
		{name: "buffer without mode", options: options{"max-buffer-size": "1m"}, err: "logger: max-buffer-size option is only supported with 'mode=non-blocking'"},
		{name: "bad buffer", options: options{"mode": "non-blocking", "max-buffer-size": "x"}, err: "error parsing option max-buffer-size: invalid size: 'x'"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse(test.driver, test.options)
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Errorf("error %v, want %s", err, test.err)
				}
				return
			}
			test.want.Options = test.options
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, test.want)
			}
			stored, _ := json.Marshal(got)
			var back Config
			if err := json.Unmarshal(stored, &back); err != nil || !reflect.DeepEqual(back, got) {
				t.Errorf("stored and read: %+v, %v", back, err)
			}
		})
	}
}

func TestForRefuses(t *testing.T) {
	for name, options := range map[string]map[string]string{
		"labels-regex": {"labels-regex": "("},
		"env-regex":    {"env-regex": "("},
		"tag syntax":   {"tag": "{{"},
		"tag field":    {"tag": "{{.Nope}}"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Parse("", options)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.For(Container{}); err == nil {
				t.Error("taken")
			}
		})
	}
}

func TestParseTail(t *testing.T) {
	for value, want := range map[string]int{"": All, "all": All, "0": 0, "5": 5, "-3": All} {
		if got, err := ParseTail(value); err != nil || got != want {
			t.Errorf("%q: %d, %v", value, got, err)
		}
	}
	if _, err := ParseTail("x"); err == nil {
		t.Error("x taken")
	}
}
