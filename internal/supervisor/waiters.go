package supervisor

import (
	"sync"
	"time"
)

// waiters are told when the program ends, each time and for good.
type waiters struct {
	over chan struct{} // closed when the container is over for good
	code int           // valid then

	mu     sync.Mutex // guards what follows
	exited chan int   // closed at the next end of the program
	last   int        // the exit code then
	ended  bool
	busy   sync.WaitGroup
}

func newWaiters() *waiters {
	return &waiters{over: make(chan struct{}), exited: make(chan int)}
}

// join counts somebody who has an answer to send, about the program that runs now: next is
// for exit. false: it is too late.
func (w *waiters) join() (next <-chan int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return nil, false
	}
	w.busy.Add(1)
	return w.exited, true
}

func (w *waiters) leave() { w.busy.Done() }

// exit waits for the end of the program that ran at the join.
func (w *waiters) exit(next <-chan int) int {
	select {
	case <-next:
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.last
	case <-w.over:
		return w.code
	}
}

// restarting wakes those who wait for one end of the program.
func (w *waiters) restarting(code int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = code
	close(w.exited)
	w.exited = make(chan int)
}

// release wakes all, and gives them time to tell their clients before we are gone.
func (w *waiters) release(code int) {
	w.mu.Lock()
	w.code, w.ended = code, true
	close(w.over)
	w.mu.Unlock()
	told := make(chan struct{})
	go func() {
		w.busy.Wait()
		close(told)
	}()
	select {
	case <-told:
	case <-time.After(lastWords):
	}
}

// lastWords bounds the time that clients have to take what is left for them.
const lastWords = 3 * time.Second
