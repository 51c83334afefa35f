// Package serving is what the processes of the image role share: each reads one
// request, does it, and answers.
package serving

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"bryo/internal/images"
	"bryo/internal/linux"
	"bryo/internal/trace"
	"bryo/sandbox/userns"
)

// maxRequest bounds what the caller sends: names, filters, a few hundred paths.
const maxRequest = 8 << 20

// Main serves the request of this process; the exit code is 0 when an answer was
// given. kind names the kind of an error for the caller; nil: none has one.
func Main(role string, do func(context.Context, *images.Request) (any, error), kind func(error) string) int {
	trace.Start(role, userns.Began())
	in := os.NewFile(userns.FirstFile, "request")
	out := os.NewFile(userns.FirstFile+1, "reply")
	if userns.Role() != images.HostRole {
		if err := userns.Ready(); err != nil {
			return answer(out, nil, err, kind)
		}
	}
	data, err := io.ReadAll(io.LimitReader(in, maxRequest))
	if err != nil || len(data) == 0 {
		return 125 // the caller is gone
	}
	var r images.Request
	if err := json.Unmarshal(data, &r); err != nil {
		return answer(out, nil, fmt.Errorf("image role: request: %w", err), kind)
	}
	linux.DeferStops()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	result, err := guarded(ctx, &r, do)
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	return answer(out, result, err, kind)
}

// guarded turns a panic into the operation's error. The storage library panics where it
// gets no descriptor for one of its locks.
func guarded(ctx context.Context, r *images.Request, do func(context.Context, *images.Request) (any, error)) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: %v", r.Op, p)
		}
	}()
	return do(ctx, r)
}

// Args are the arguments of a request.
func Args[T any](r *images.Request) (T, error) {
	var a T
	err := json.Unmarshal(r.Args, &a)
	return a, err
}

func answer(out *os.File, result any, err error, kind func(error) string) int {
	var reply images.Reply
	if err == nil && result != nil {
		reply.Result, err = json.Marshal(result)
	}
	if err != nil {
		reply = images.Reply{Error: Failure(err, kind)}
	}
	data, err := json.Marshal(reply)
	if err != nil {
		return 125
	}
	if _, err := out.Write(data); err != nil {
		return 125
	}
	return 0
}

// Failure keeps the kind of an error across the process boundary.
func Failure(err error, kind func(error) string) *images.Failure {
	f := &images.Failure{Message: err.Error()}
	if kind != nil {
		f.Kind = kind(err)
	}
	return f
}
