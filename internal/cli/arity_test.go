package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestFlagErrors(t *testing.T) {
	command := &cli.Command{Flags: []cli.Flag{
		&cli.IntFlag{Name: "timeout", Aliases: []string{"t", "time"}}, &cli.BoolFlag{Name: "rm"},
	}}
	c := cli.NewContext(cli.NewApp(), nil, nil)
	c.Command = command
	for text, want := range map[string]string{
		`invalid value "x" for flag -t: parse error`:            `invalid argument "x" for "-t, --timeout" flag: invalid syntax`,
		`invalid boolean value "x" for -rm: parse error`:        `invalid argument "x" for "--rm" flag: invalid syntax`,
		`invalid value "9e" for flag -time: value out of range`: `invalid argument "9e" for "-t, --timeout" flag: value out of range`,
		`something else`: `something else`,
	} {
		if got := flagError(c, errors.New(text)).Error(); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", text, got, want)
		}
	}
	c.Command = imagesCommand("images")
	for text, code := range map[string]int{"invalid filter 'x'": 1, `invalid argument "x" for "--filter" flag: bad format`: 125} {
		err := filterError(c, errors.New(text))
		if flag := `"-f, --filter" flag`; code == 125 && !strings.Contains(err.Error(), flag) {
			t.Errorf("%v: no %s", err, flag)
		}
		if got := report([]string{"bryo", "ps"}, err); got != code {
			t.Errorf("%s: %d, want %d", text, got, code)
		}
	}
}
