package cli

import (
	"slices"
	"strings"
	"testing"
)

type fakeNames struct{}

func (fakeNames) containers(running bool) []candidate {
	if running {
		return fixed("web")
	}
	return fixed("web", "idle")
}
func (fakeNames) images() []candidate   { return fixed("debian:12", "local/app:latest") }
func (fakeNames) volumes() []candidate  { return fixed("data") }
func (fakeNames) networks() []candidate { return fixed("lan") }

func TestComplete(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"sto", "stop"},
		{"container st", "start stats stop"},
		{"stop ", "web"},
		{"stop -t 5 ", "web"},
		{"start ", "web idle"},
		{"start web i", "idle"},
		{"rm -f i", "idle"},
		{"run ", "debian:12 local/app:latest"},
		{"run -it --name x de", "debian:12"},
		{"run --network l", "lan"},
		{"run --rm debian:12 ", ""},
		{"run --volumes-from ", "web idle"},
		{"run --pull n", "never"},
		{"run --cap-ad", "--cap-add"},
		{"rmi l", "local/app:latest"},
		{"image rm d", "debian:12"},
		{"volume rm ", "data"},
		{"volume ins", "inspect"},
		{"network rm ", "lan"},
		{"network create ", ""},
		{"network connect l", "lan"},
		{"network connect lan w", "web"},
		{"inspect ", "web idle debian:12 local/app:latest data lan"},
		{"exec ", "web"},
		{"exec web ", ""},
		{"--root /x exec ", "web"},
		{"logs --tail 5 ", "web idle"},
		{"rename web ", ""},
		{"completion f", "fish"},
		{"update --restart un", "unless-stopped"},
		{"nosuch ", ""},
		{"run --network=l", "--network=lan"},
		{"run --rm=t", ""},
		{"run --network no", "none"},
		{"kill -s SIGT", "SIGTERM"},
		{"run --cap-add CAP_CHO", "CAP_CHOWN"},
		{"help sto", "stop"},
		{"help container st", "start stats stop"},
		{"help stop w", ""},
	} {
		words := strings.Split(c.line, " ")
		var got []string
		for _, found := range complete(fakeNames{}, words) {
			got = append(got, found.word)
		}
		if want := strings.Fields(c.want); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", c.line, got, want)
		}
	}
}

func TestManPages(t *testing.T) {
	root := commandNamed([]string{"run"})
	root.HelpName = "bryo run"
	page := manPage(root)
	for _, want := range []string{".TH BRYO\\-RUN 1", ".SH NAME\nbryo\\-run \\- create and run", ".SH SYNOPSIS\n.B bryo run\n[OPTIONS] IMAGE [COMMAND] [ARG...]", "\\-\\-cap\\-add list"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q:\n%.600s", want, page)
		}
	}
	if strings.Contains(page, "\\-\\-gpus") {
		t.Error("the page has a refused flag")
	}
	if got := roff(".so /etc/passwd\n'x\na\\b"); got != "\\&.so /etc/passwd\n\\&'x\na\\eb" {
		t.Errorf("roff %q", got)
	}
}
