package image

import (
	"strings"
	"testing"
)

func TestCanonicalPlatform(t *testing.T) {
	for in, want := range map[string]string{
		"":                    "",
		"linux/amd64":         "linux/amd64",
		"linux/x86_64":        "linux/amd64",
		"Linux/AArch64":       "linux/arm64",
		"linux/arm64/v8":      "linux/arm64",
		"arm64":               "linux/arm64",
		"armhf":               "linux/arm/v7",
		"linux/arm":           "linux/arm/v7",
		"linux/arm/6":         "linux/arm/v6",
		"linux/amd64/v3":      "linux/amd64/v3",
		"windows/amd64":       "windows/amd64",
		"x":                   `!"x": unknown operating system or architecture: invalid argument`,
		"linux/":              `!"" is an invalid component of "linux/"`,
		"/amd64":              `!"" is an invalid OS component of "/amd64"`,
		"lin ux/amd64":        `!"lin ux" is an invalid OS component`,
		"linux/../x":          `!".." is an invalid component`,
		"linux/\u00fcn\u00ef": `!"ünï" is an invalid component of`,
		"linux/amd64/v1/x":    `!"linux/amd64/v1/x": cannot parse platform specifier: invalid argument`,
		"linux/amd64\x1b[2":   `!is an invalid component`,
	} {
		got, err := CanonicalPlatform(in)
		if message, bad := strings.CutPrefix(want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), message) {
				t.Errorf("%q: %q, %v; want an error with %s", in, got, err, message)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
}
