package logs

import (
	"bytes"
	"sync"
)

// queue stands between a container and its log with mode=non-blocking. It holds
// a bounded number of bytes; what does not fit is dropped.
type queue struct {
	mu      sync.Mutex
	ready   sync.Cond
	batches []batch
	held    int64
	limit   int64
	dropped int64
	torn    [2]bool // the last of the stream was dropped
	closed  bool
	done    chan struct{}
}

// batch is what one read gave; nil bytes end the stream.
type batch struct {
	stream stream
	bytes  []byte
}

func newQueue(limit int64) *queue {
	q := &queue{limit: limit, done: make(chan struct{})}
	q.ready.L = &q.mu
	return q
}

func (q *queue) put(s stream, p []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if p != nil && q.held+int64(len(p)) > q.limit {
		q.dropped += max(1, int64(bytes.Count(p, []byte{'\n'})))
		q.torn[s] = true
		return
	}
	if q.torn[s] { // what follows belongs to another line than what came before
		q.batches = append(q.batches, batch{stream: s})
		q.torn[s] = false
	}
	q.held += int64(len(p))
	q.batches = append(q.batches, batch{s, bytes.Clone(p)})
	q.ready.Signal()
}

// run passes batches on, in order, until the queue is closed and empty.
func (q *queue) run(write func(stream, []byte)) {
	defer close(q.done)
	for {
		b, ok := q.take()
		if !ok {
			return
		}
		write(b.stream, b.bytes)
	}
}

func (q *queue) take() (batch, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.batches) == 0 {
		if q.closed {
			return batch{}, false
		}
		q.ready.Wait()
	}
	b := q.batches[0]
	q.batches[0] = batch{}
	q.batches = q.batches[1:]
	q.held -= int64(len(b.bytes))
	return b, true
}

func (q *queue) lost() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// close waits until all that was taken has been written.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.ready.Signal()
	q.mu.Unlock()
	<-q.done
}
