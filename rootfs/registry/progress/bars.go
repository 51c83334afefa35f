package progress

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// refresh is how often bars are drawn: smooth to the eye, nothing to a slow
// terminal line.
const refresh = 120 * time.Millisecond

// bars draws one bar per layer.
type bars struct {
	container *mpb.Progress

	mu    sync.Mutex
	lines map[string]*bar
}

// bar is one layer's line; stage is read while drawing.
type bar struct {
	*mpb.Bar
	stage  atomic.Pointer[string]
	moving atomic.Bool
}

func newBars(w io.Writer) *bars {
	return &bars{
		container: mpb.New(mpb.WithOutput(w), mpb.WithRefreshRate(refresh), mpb.WithWidth(40)),
		lines:     map[string]*bar{},
	}
}

// get makes the layer's line when it is first spoken of.
func (b *bars) get(blob string) *bar {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lines[blob]
	if l != nil {
		return l
	}
	l = new(bar)
	stage := ""
	l.stage.Store(&stage)
	style := mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]")
	l.Bar = b.container.New(0, l.whenMoving(style),
		mpb.PrependDecorators(
			decor.Name(short(blob)+": "),
			decor.Any(func(decor.Statistics) string { return *l.stage.Load() + " " }, decor.WC{W: 18, C: decor.DindentRight}),
		),
		mpb.AppendDecorators(decor.Any(func(s decor.Statistics) string {
			if !l.moving.Load() || s.Total <= 0 {
				return ""
			}
			return fmt.Sprintf(" %s/%s", bytesText(s.Current), bytesText(s.Total-1))
		})),
	)
	b.lines[blob] = l
	return l
}

// whenMoving draws the bar only while bytes move, else nothing.
func (l *bar) whenMoving(style mpb.BarStyleComposer) mpb.BarFillerBuilder {
	inner := style.Build()
	return fillerBuilder(func(w io.Writer, s decor.Statistics) error {
		if !l.moving.Load() {
			return nil
		}
		return inner.Fill(w, s)
	})
}

type fillerBuilder func(io.Writer, decor.Statistics) error

func (f fillerBuilder) Build() mpb.BarFiller { return mpb.BarFillerFunc(f) }

func (b *bars) stage(blob, stage string, last bool) {
	l := b.get(blob)
	l.stage.Store(&stage)
	l.moving.Store(stage == "Downloading" || stage == "Pushing")
	if last {
		l.SetTotal(-1, true)
	}
}

// begin sets size and start; a second try of an upload starts at 0 again.
func (b *bars) begin(blob string, size, have int64) {
	l := b.get(blob)
	// One more than the size: mpb ends a bar that is full, ours ends by stage.
	l.SetTotal(size+1, false)
	l.SetCurrent(have)
}

func (b *bars) add(blob string, n int64) { b.get(blob).IncrInt64(n) }

// write puts a line above the bars.
func (b *bars) write(line string) bool {
	n, err := b.container.Write([]byte(line))
	return err == nil && n > 0
}

// close leaves unfinished bars as they stand.
func (b *bars) close() {
	b.mu.Lock()
	for _, l := range b.lines {
		if !l.Completed() {
			l.Abort(false)
		}
	}
	b.mu.Unlock()
	b.container.Wait()
}
