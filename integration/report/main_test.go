package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		ok             bool
	}{
		{"pass and skip", `{"Action":"output","Package":"bryo/a","Test":"TestX","Output":"    x_test.go:3: needs root\n"}
{"Action":"skip","Package":"bryo/a","Test":"TestX"}
{"Action":"pass","Package":"bryo/a","Test":"TestY"}
{"Action":"output","Package":"bryo/a","Output":"ok  \tbryo/a\t0.1s\n"}
{"Action":"pass","Package":"bryo/a"}
`, "ok  \tbryo/a\t0.1s\nskipped: needs root: a.TestX\nunit: 1 passed, 0 failed, 1 skipped\n", true},
		{"parent of a failed case counts once", `{"Action":"output","Package":"bryo/a","Test":"TestX/case","Output":"    x_test.go:3: boom\n"}
{"Action":"fail","Package":"bryo/a","Test":"TestX/case"}
{"Action":"fail","Package":"bryo/a","Test":"TestX"}
{"Action":"fail","Package":"bryo/a"}
`, "--- FAIL: bryo/a TestX/case (0.00s)\n        x_test.go:3: boom\nunit: 0 passed, 1 failed, 0 skipped\n", false},
		{"build failure", `{"ImportPath":"bryo/a","Action":"build-output","Output":"a.go:1: bad\n"}
{"ImportPath":"bryo/a","Action":"build-fail"}
{"Action":"fail","Package":"bryo/a","FailedBuild":"bryo/a"}
`, "a.go:1: bad\nunit: 0 passed, 0 failed, 0 skipped\n", false},
		{"no test ran", "", "unit: 0 passed, 0 failed, 0 skipped\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			ok := report(strings.NewReader(c.in), &out, "unit")
			if out.String() != c.want || ok != c.ok {
				t.Errorf("ok=%v, got:\n%swant:\n%s", ok, out.String(), c.want)
			}
		})
	}
}
