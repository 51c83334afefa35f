package cli

import (
	"context"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// lastWord is how long a command may take to end after a signal. One that hangs in a
// write to somebody who does not read would stay for ever.
const lastWord = 500 * time.Millisecond

// untilSignal is a context that ends with the first of the signals. stop is for a
// command that has come to its own end.
func untilSignal(parent context.Context, signals ...os.Signal) (ctx context.Context, stop func()) {
	ctx, release := signal.NotifyContext(parent, signals...)
	unhook := context.AfterFunc(ctx, func() {
		release() // from now on signals act as ever
		time.Sleep(lastWord)
		_ = unix.Kill(os.Getpid(), unix.SIGTERM)
	})
	return ctx, func() { unhook(); release() }
}
