package hostinfo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Range is Count consecutive ids from Start on, as /etc/subuid gives them out.
type Range struct {
	Start uint32 `json:"start"`
	Count uint32 `json:"count"`
}

func (r Range) end() uint64 { return uint64(r.Start) + uint64(r.Count) }

func (r Range) overlaps(o Range) bool {
	return uint64(r.Start) < o.end() && uint64(o.Start) < r.end()
}

func (r Range) String() string { return fmt.Sprintf("%d-%d", r.Start, r.end()-1) }

// ErrNoSubIDs: the user has no subordinate ids, so that only one id can be mapped.
var ErrNoSubIDs = errors.New("no subordinate ids")

// SubIDs reads subuid(5) and subgid(5), or asks getsubids(1) when
// nsswitch.conf(5) names another source than files: ranges without overlaps and
// without the user's own ids, in their order there. None is no error.
func (h *Host) SubIDs() (uids, gids []Range, err error) {
	if h.subIDsFromNSS() {
		return h.askNSS()
	}
	if uids, err = h.subIDFile("etc/subuid", h.User.UID); err != nil {
		return nil, nil, err
	}
	if gids, err = h.subIDFile("etc/subgid", h.User.GID); err != nil {
		return nil, nil, err
	}
	return uids, gids, nil
}

func (h *Host) subIDFile(path string, own int) ([]Range, error) {
	entries, bad, err := h.readSubIDs(path)
	if err != nil {
		return nil, err
	}
	for _, line := range bad {
		// Other users' broken lines must not keep this one from running.
		if h.User.owns(line.Owner) {
			return nil, fmt.Errorf("read /%s: %w", path, line)
		}
	}
	var mine []Range
	for _, e := range entries {
		if h.User.owns(e.Owner) {
			mine = append(mine, e.Range)
		}
	}
	return disjoint(mine, uint32(own)), nil
}

func (h *Host) readSubIDs(path string) ([]subIDEntry, []lineError, error) {
	f, err := h.FS.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read /%s: %w", path, cause(err))
	}
	defer f.Close()
	entries, bad, err := parseSubIDs(f)
	if err != nil {
		return nil, nil, fmt.Errorf("read /%s: %w", path, cause(err))
	}
	return entries, bad, nil
}

// subIDEntry is one line: who may use which ids. Owner is a name or a decimal uid.
type subIDEntry struct {
	Owner string
	Range
}

// lineError names a line that is not owner:start:count.
type lineError struct {
	Line  int
	Owner string // first field, as far as there is one
	Cause string
}

func (e lineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Cause) }

// maxSubIDFile bounds /etc/subuid: 10^5 users of 40 bytes fit with room to spare.
const maxSubIDFile = 8 << 20

var errTooLarge = errors.New("larger than 8 MiB")

// parseSubIDs reads the lines of subuid(5). Malformed ones are returned beside
// the good ones, because shadow's own tools skip them too.
func parseSubIDs(r io.Reader) (entries []subIDEntry, bad []lineError, err error) {
	limited := &io.LimitedReader{R: r, N: maxSubIDFile + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(make([]byte, 0, 4096), 64<<10)
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		entry, problem := parseSubIDLine(string(line))
		if problem != "" {
			bad = append(bad, lineError{n, entry.Owner, problem})
			continue
		}
		entries = append(entries, entry)
	}
	if err := lines.Err(); err != nil {
		return nil, nil, err
	}
	if limited.N == 0 {
		return nil, nil, errTooLarge
	}
	return entries, bad, nil
}

func parseSubIDLine(line string) (subIDEntry, string) {
	fields := strings.Split(line, ":")
	e := subIDEntry{Owner: fields[0]}
	if len(fields) != 3 || e.Owner == "" {
		return e, fmt.Sprintf("%.64q is not owner:start:count", line)
	}
	start, err := strconv.ParseUint(fields[1], 10, 32)
	if err != nil {
		return e, fmt.Sprintf("start %.32q is not an id", fields[1])
	}
	count, err := strconv.ParseUint(fields[2], 10, 32)
	if err != nil || count == 0 {
		return e, fmt.Sprintf("count %.32q is not a positive number", fields[2])
	}
	// 2^32-1 is "no id" to the kernel: no map may hold it.
	if start+count > 1<<32-1 {
		return e, fmt.Sprintf("range %d+%d ends behind the last id", start, count)
	}
	e.Range = Range{uint32(start), uint32(count)}
	return e, ""
}

// disjoint cuts what an earlier range or the own id already holds out of each
// range: the kernel refuses a map that names one outer id twice (EINVAL).
func disjoint(ranges []Range, own uint32) []Range {
	taken := []Range{{own, 1}}
	var out []Range
	for _, r := range ranges {
		free := subtract(r, taken)
		out = append(out, free...)
		taken = append(taken, free...)
	}
	// The kernel takes 340 lines in a map (Linux 4.15); one is the own id.
	if len(out) > 339 {
		out = out[:339]
	}
	return out
}

func subtract(r Range, taken []Range) []Range {
	free := []Range{r}
	for _, t := range taken {
		var next []Range
		for _, f := range free {
			if !f.overlaps(t) {
				next = append(next, f)
				continue
			}
			if f.Start < t.Start {
				next = append(next, Range{f.Start, t.Start - f.Start})
			}
			if t.end() < f.end() {
				next = append(next, Range{uint32(t.end()), uint32(f.end() - t.end())})
			}
		}
		free = next
	}
	return free
}

// Conflict is a subordinate range of the user that somebody else holds as well:
// the container's files and processes would be theirs too.
type Conflict struct {
	File  string `json:"file"`
	Range Range  `json:"range"`
	Other string `json:"other"` // the other user, or the user whose own id lies inside
}

func (c Conflict) String() string {
	return fmt.Sprintf("/%s: range %s is also of %s", c.File, c.Range, c.Other)
}

// SubIDConflicts looks for ranges of this user that overlap another user's
// range or hold another user's own uid.
func (h *Host) SubIDConflicts() []Conflict {
	var conflicts []Conflict
	for _, file := range []string{"etc/subuid", "etc/subgid"} {
		entries, _, err := h.readSubIDs(file)
		if err != nil {
			continue
		}
		conflicts = append(conflicts, h.conflictsIn(file, entries)...)
	}
	return conflicts
}

func (h *Host) conflictsIn(file string, entries []subIDEntry) []Conflict {
	var mine, others []subIDEntry
	for _, e := range entries {
		if h.User.owns(e.Owner) {
			mine = append(mine, e)
		} else {
			others = append(others, e)
		}
	}
	// Inside a container root commonly gets the range 1-65535, which holds
	// every system user of that container on purpose.
	if file == "etc/subuid" && h.User.UID != 0 && len(mine) > 0 {
		for _, u := range h.passwd() {
			if u.UID != h.User.UID && u.UID >= 0 {
				others = append(others, subIDEntry{u.Name, Range{uint32(u.UID), 1}})
			}
		}
	}
	sort.SliceStable(others, func(i, j int) bool { return others[i].Start < others[j].Start })
	var out []Conflict
	for _, m := range mine {
		for _, o := range others {
			if m.overlaps(o.Range) {
				out = append(out, Conflict{file, m.Range, o.Owner})
			}
		}
	}
	return out
}

// subIDsFromNSS tells whether nsswitch.conf names a source for subordinate ids
// that is not the two files (shadow 4.9 and newer).
func (h *Host) subIDsFromNSS() bool {
	for _, line := range strings.Split(h.read("etc/nsswitch.conf"), "\n") {
		source, ok := strings.CutPrefix(strings.TrimSpace(line), "subid:")
		if ok {
			return strings.TrimSpace(source) != "files"
		}
	}
	return false
}

func (h *Host) askNSS() (uids, gids []Range, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if uids, err = h.getsubids(ctx, h.User.UID); err != nil {
		return nil, nil, err
	}
	gids, err = h.getsubids(ctx, h.User.GID, "-g")
	return uids, gids, err
}

func (h *Host) getsubids(ctx context.Context, own int, args ...string) ([]Range, error) {
	out, err := h.Kernel.Run(ctx, "getsubids", append(args, h.User.Name)...)
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("nsswitch.conf gives subordinate ids to another service, but there is no getsubids to ask it")
	}
	if err != nil {
		// It ends with 1 when the user has none.
		return nil, nil
	}
	var ranges []Range
	for _, line := range strings.Split(out, "\n") {
		// "0: web 100000 65536"
		f := strings.Fields(line)
		if len(f) != 4 {
			continue
		}
		if e, problem := parseSubIDLine(f[1] + ":" + f[2] + ":" + f[3]); problem == "" {
			ranges = append(ranges, e.Range)
		}
	}
	return disjoint(ranges, uint32(own)), nil
}

// cause strips the "open PATH:" of a *fs.PathError: the caller names the object.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func (h *Host) subordinateIDs(context.Context) Feature {
	f := Feature{Name: "subordinate ids", State: OK, Doc: "docs/hosts.md#subuid"}
	uids, gids, err := h.SubIDs()
	switch {
	case err != nil:
		f.State, f.Detail = Missing, err.Error()
	case len(uids) == 0 || len(gids) == 0:
		f.State, f.Detail = Missing, "no range for "+h.User.label()+" in /etc/subuid and /etc/subgid"
	default:
		f.Detail = fmt.Sprintf("%d uids, %d gids", total(uids), total(gids))
	}
	if f.State == Missing && h.mayWriteMaps() {
		return h.rootIDs(f)
	}
	if f.State == Missing {
		f.Without = "containers get one id, the user's own (single-uid mode): package managers work, several users inside do not"
		f.Cure = h.addRange()
		return f
	}
	h.judgeRanges(&f, min(total(uids), total(gids)))
	return f
}

// rootIDs: root needs no range of /etc/subuid, but ids there must be. Those of a user
// namespace are set when it is made, by whoever made it.
func (h *Host) rootIDs(f Feature) Feature {
	if _, err := h.rootMap(); err != nil {
		f.Detail = "this user namespace has one id only"
		f.Without = "containers get one id, root's own (single-uid mode): package managers work, several users inside do not"
		f.Cure = []string{"make the surrounding user namespace with more ids, as `unshare --map-root-user --map-auto` or `podman unshare` do"}
		return f
	}
	f.State, f.Detail = OK, "not needed: root takes ids itself"
	return f
}

// judgeRanges lowers the state of ranges that exist but are small, shared or
// stand beside lines that no program understands.
func (h *Host) judgeRanges(f *Feature, ids uint64) {
	if conflicts := h.SubIDConflicts(); len(conflicts) > 0 {
		f.State, f.Detail = Degraded, conflicts[0].String()
		f.Without = "containers run, but " + conflicts[0].Other + " can reach their files and processes"
		start, _, _ := strings.Cut(h.freeRange(), "-")
		f.Cure = []string{fmt.Sprintf("sudo sed -i 's/^%[1]s:.*/%[1]s:%[2]s:65536/' /etc/subuid /etc/subgid", h.User.label(), start)}
		return
	}
	if ids < 65535 {
		f.State = Degraded
		f.Without = "images that use ids above the range cannot be unpacked faithfully: those owners are refused"
		f.Cure = h.addRange()
		return
	}
	for _, file := range []string{"etc/subuid", "etc/subgid"} {
		if _, bad, _ := h.readSubIDs(file); len(bad) > 0 {
			f.State, f.Detail = Degraded, fmt.Sprintf("%s; /%s %s", f.Detail, file, bad[0].Error())
			f.Without = "the line is passed over"
			f.Cure = []string{fmt.Sprintf("sudo sed -i '%dd' /%s", bad[0].Line, file)}
			return
		}
	}
}

// addRange gives the user a range of its own. usermod knows only users of
// /etc/passwd; the file takes a bare uid as well.
func (h *Host) addRange() []string {
	if h.User.Name == "" {
		start, _, _ := strings.Cut(h.freeRange(), "-")
		return []string{fmt.Sprintf("echo %d:%s:65536 | sudo tee -a /etc/subuid /etc/subgid", h.User.UID, start)}
	}
	return []string{fmt.Sprintf("sudo usermod --add-subuids %[1]s --add-subgids %[1]s %[2]s", h.freeRange(), h.User.Name)}
}

// freeRange is 65536 ids behind every range that is given out already.
func (h *Host) freeRange() string {
	next := uint64(100000)
	for _, file := range []string{"etc/subuid", "etc/subgid"} {
		entries, _, _ := h.readSubIDs(file)
		for _, e := range entries {
			// Ranges near the top (root's, say) leave no room behind them.
			if e.end() > next && e.end() < 1<<31 {
				next = e.end()
			}
		}
	}
	return fmt.Sprintf("%d-%d", next, next+65535)
}

func total(ranges []Range) uint64 {
	var n uint64
	for _, r := range ranges {
		n += uint64(r.Count)
	}
	return n
}
