package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	maxTries      = 6                // 0.5+1+2+4+8 s of waiting before giving up
	maxTimeouts   = 3                // of tries that end in silence: each has cost headerTimeout already
	maxRetryAfter = 30 * time.Second // a longer wait is said in the error instead of waited for
	maxErrorBody  = 16 << 10

	errorBodyTimeout = 5 * time.Second // the status line is the news; its text may be left out
)

// retry runs f until it succeeds, fails for good, or has been tried maxTries
// times. Each wait is reported.
func (s *session) retry(ctx context.Context, q request, f func() error) error {
	for n := 1; ; n++ {
		err := f()
		if err == nil || n == maxTries || n >= maxTimeouts && isTimeout(err) || ctx.Err() != nil || !s.transient(err, q.restart) {
			return err
		}
		if err := s.wait(ctx, q.op+" "+q.what, n, err); err != nil {
			return err
		}
	}
}

// wait sleeps before try n+1: exponential with jitter, so that many pullers do
// not come back at the same moment; a Retry-After of the registry is honoured
// up to maxRetryAfter.
func (s *session) wait(ctx context.Context, what string, n int, cause error) error {
	delay := s.opts.RetryDelay << (n - 1)
	delay = delay/2 + rand.N(delay)
	if asked := retryAfter(cause); asked > 0 && asked <= maxRetryAfter {
		delay = max(delay, asked)
	}
	s.opts.Progress.Retry(what, s.plain(cause), delay)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// plain is the cause alone, as it would stand in the final error.
func (s *session) plain(err error) error {
	out := &Error{Cause: err}
	s.explain(out)
	return out.Cause
}

func retryAfter(err error) time.Duration {
	st := (*status)(nil)
	if !errors.As(err, &st) || st.wait == "" {
		return 0
	}
	if seconds, err := strconv.ParseInt(strings.TrimSpace(st.wait), 10, 64); err == nil {
		return time.Duration(min(seconds, int64(time.Hour/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(st.wait); err == nil {
		return time.Until(at)
	}
	return 0
}

// transient reports whether trying again may help. A registry that refuses
// the first connection is down: say so at once. One that answered before is
// restarting: wait for it.
//
// An *Error comes from a request inside this one (the token), which had its
// own tries.
func (s *session) transient(err error, answered bool) bool {
	if errors.As(err, new(*Error)) {
		return false
	}
	st := (*status)(nil)
	if errors.As(err, &st) {
		switch st.code {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
			http.StatusServiceUnavailable, http.StatusGatewayTimeout, 499, 520, 521, 522, 523, 524:
			return true
		}
		return false
	}
	if _, cause := explainTLS(err, ""); cause != nil {
		return false
	}
	for _, final := range []error{ErrRefused, ErrVerify, ErrUnsupported, ErrUnauthorized, context.Canceled, http.ErrSchemeMismatch} {
		if errors.Is(err, final) {
			return false
		}
	}
	if dns := (*net.DNSError)(nil); errors.As(err, &dns) {
		return dns.IsTimeout || dns.IsTemporary && !dns.IsNotFound || answered
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH) {
		return answered
	}
	for _, cut := range []error{errStalled, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed} {
		if errors.Is(err, cut) {
			return true
		}
	}
	return isTimeout(err) || strings.Contains(err.Error(), "server closed idle connection") ||
		strings.Contains(err.Error(), "http: server closed")
}

// stalled gives the cause of a context that the stall timer ended.
func stalled(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
		return cause
	}
	return err
}

// status reads the registry's own words about a failure:
// {"errors":[{"code":"MANIFEST_UNKNOWN","message":"..."}]}, or plain text. A
// hostile registry may echo our credentials; they are taken out.
func (s *session) status(resp *http.Response) *status {
	out := &status{code: resp.StatusCode, wait: resp.Header.Get("Retry-After")}
	cut := time.AfterFunc(errorBodyTimeout, func() { resp.Body.Close() })
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	cut.Stop()
	var list struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(body, &list) == nil {
		for _, e := range list.Errors {
			text := strings.ToLower(strings.ReplaceAll(e.Code, "_", " "))
			if e.Message != "" && !strings.EqualFold(e.Message, text) {
				text += ": " + e.Message
			}
			out.text = strings.TrimPrefix(out.text+"; "+text, "; ")
		}
	} else if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		out.text = string(body)
	}
	out.text = clean(s.auth.scrub(out.text), 300)
	return out
}

// sizeError is a length that contradicts the manifest.
func sizeError(got, want int64) error {
	return fmt.Errorf("%d bytes, the manifest says %d: %w", got, want, ErrVerify)
}
