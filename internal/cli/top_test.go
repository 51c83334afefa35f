package cli

import (
	"errors"
	"testing"

	"bryo/internal/engine"
	"bryo/internal/state"
	"bryo/sandbox/userns"
)

func TestInsideName(t *testing.T) {
	nameless := func(string) (string, error) { return "", errors.New("no such id") }
	mapped := []userns.Range{{Inside: 0, Outside: 1000, Count: 1}, {Inside: 1, Outside: 100000, Count: 65535}}
	for _, c := range []struct {
		name string
		ids  ids
		id   uint32
		want string
	}{
		{"the user is root", ids{mapped: mapped, nameOf: nameless}, 1000, "root"},
		{"a mapped id", ids{mapped: mapped, nameOf: nameless}, 100032, "33"},
		{"an id of the host", ids{mapped: mapped, nameOf: func(string) (string, error) { return "daemon", nil }}, 1, "daemon"},
		{"an id without a name", ids{mapped: mapped, nameOf: nameless}, 7, "7"},
		{"no map, the own id", ids{own: 8, nameOf: nameless}, 8, "root"},
		{"keep-id", ids{mapped: mapped, nameOf: nameless, kept: []userns.Range{{Inside: 0, Outside: 1, Count: 500}, {Inside: 500, Outside: 0, Count: 1}}}, 1000, "500"},
		{"keep-id, root", ids{mapped: mapped, nameOf: nameless, kept: []userns.Range{{Inside: 0, Outside: 1, Count: 500}, {Inside: 500, Outside: 0, Count: 1}}}, 100000, "root"},
	} {
		if got := insideName(c.ids)(c.id); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// A group is looked up among the groups: keep-id may differ from the user's.
func TestGroupsAreNoUsers(t *testing.T) {
	c := &engine.Container{Config: &state.Config{}}
	c.Mapping.UIDs, c.Mapping.GIDs = []userns.Range{{Outside: 1000, Count: 1}}, []userns.Range{{Outside: 1000, Count: 1}}
	c.Host.KeepID = &state.KeepID{UIDs: []userns.Range{{Inside: 5, Count: 1}}, GIDs: []userns.Range{{Inside: 6, Count: 1}}}
	if u, g := insideName(users(c))(1000), insideName(groups(c))(1000); u != "5" || g != "6" {
		t.Errorf("user %s and group %s, want 5 and 6", u, g)
	}
}
