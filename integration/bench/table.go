package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// table is what is printed at the end: one line for each measurement and peer.
type table struct {
	rows  []row
	notes []string
}

type row struct {
	what, peer    string
	bryo, theirs  string
	ratio, target string
}

// times compares medians. A target below 1 is the most of the peer's time that
// bryo may take, one from 1 on how many times as long as the peer.
func (t *table) times(what, peer string, bryo, theirs []time.Duration, target float64) {
	own, other := median(bryo), median(theirs)
	t.rows = append(t.rows, row{
		what: what, peer: peer, bryo: ms(own) + " ms", theirs: ms(other) + " ms",
		ratio: fmt.Sprintf("%.2f", float64(own)/float64(other)), target: verdict(float64(own)/float64(other), target),
	})
}

// bytes compares memory.
func (t *table) bytes(what, peer string, bryo, theirs int64, target float64) {
	ratio := float64(bryo) / float64(theirs)
	t.rows = append(t.rows, row{
		what: what, peer: peer, bryo: mb(bryo), theirs: mb(theirs), ratio: fmt.Sprintf("%.2f", ratio), target: verdict(ratio, target),
	})
}

// alone is a measurement that has no peer.
func (t *table) alone(what, value string) { t.rows = append(t.rows, row{what: what, bryo: value}) }

func (t *table) note(format string, args ...any) {
	if line := fmt.Sprintf(format, args...); !slices.Contains(t.notes, line) {
		t.notes = append(t.notes, line)
	}
}

func verdict(ratio, target float64) string {
	switch {
	case target == 0:
		return ""
	case ratio <= target:
		return fmt.Sprintf("<= %.3g met", target)
	}
	return fmt.Sprintf("<= %.3g NOT met", target)
}

func (t *table) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "MEASURED\tBRYO\tPEER\tPEER'S\tBRYO/PEER\tTARGET")
	for _, r := range t.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.what, r.bryo, r.peer, r.theirs, r.ratio, r.target)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, note := range t.notes {
		fmt.Fprintln(out, note)
	}
	return nil
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }

func mb(n int64) string {
	if n < 1<<17 {
		return fmt.Sprintf("%d kB", n>>10)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
}
