package engine

import (
	"os"

	"bryo/internal/hostinfo"
	"bryo/sandbox/userns"
)

// mapping decides which ids the user's containers have: the subordinate ranges
// when they and the helper programs exist, else the user's own ids alone, said
// once on stderr.
func (e *Engine) mapping() userns.Mapping {
	e.mapOnce.Do(func() { e.idMap = e.newMapping() })
	return e.idMap
}

func (e *Engine) newMapping() userns.Mapping {
	full, err := hostinfo.FullMap()
	if err != nil {
		e.warn("single-uid mode: " + err.Error() + " (bryo doctor has the cure)")
		own := userns.Own()
		own.Direct = os.Geteuid() == 0
		return own
	}
	return userns.Mapping{
		UIDs:   append([]userns.Range{{Inside: 0, Outside: uint32(os.Geteuid()), Count: 1}}, behindRoot(full.UIDs)...),
		GIDs:   append([]userns.Range{{Inside: 0, Outside: uint32(os.Getegid()), Count: 1}}, behindRoot(full.GIDs)...),
		Direct: full.Direct,
	}
}

// behindRoot lays the ranges one after another from id 1 on.
func behindRoot(ranges []hostinfo.Range) (out []userns.Range) {
	next := uint32(1)
	for _, r := range ranges {
		out = append(out, userns.Range{Inside: next, Outside: r.Start, Count: r.Count})
		next += r.Count
	}
	return out
}
