// Package parallel runs ranges of rows or tiles on a fixed set of workers, so that what a range computes never depends on who computes it.
package parallel

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Task computes the items [lo, hi). Ranges may be computed in any order and by any worker, so a task's result must not
// depend on either; worker, in [0, Workers), only selects scratch memory.
type Task interface {
	Do(worker, lo, hi int)
}

// Pool is a fixed set of workers. The goroutine that calls Run is worker 0. A Pool runs one task at a time and is not
// safe for concurrent use.
type Pool struct {
	workers int
	wake    []chan struct{}
	done    sync.WaitGroup

	// The task at hand; written before wake, read after it.
	task     Task
	n, grain int
	next     atomic.Int64
}

// New returns a pool of the given number of workers; fewer than 1 means one for each CPU.
func New(workers int) *Pool {
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	p := &Pool{workers: workers, wake: make([]chan struct{}, workers-1)}
	for i := range p.wake {
		p.wake[i] = make(chan struct{}, 1)
		go p.serve(i+1, p.wake[i])
	}
	return p
}

// Workers returns how many workers share a task.
func (p *Pool) Workers() int { return p.workers }

// Close ends the workers. The pool must not be used afterwards.
func (p *Pool) Close() {
	for _, c := range p.wake {
		close(c)
	}
}

// Run computes [0, n) in ranges of grain items (the last one may be shorter) and returns when all are done.
func (p *Pool) Run(n, grain int, t Task) {
	if n <= 0 {
		return
	}
	grain = max(grain, 1)
	chunks := (n + grain - 1) / grain
	if p.workers == 1 || chunks == 1 {
		for lo := 0; lo < n; lo += grain {
			t.Do(0, lo, min(lo+grain, n))
		}
		return
	}
	p.task, p.n, p.grain = t, n, grain
	p.next.Store(0)
	helpers := min(len(p.wake), chunks-1)
	p.done.Add(helpers)
	for _, c := range p.wake[:helpers] {
		c <- struct{}{}
	}
	p.claim(0)
	p.done.Wait()
	p.task = nil
}

func (p *Pool) serve(worker int, wake <-chan struct{}) {
	for range wake {
		p.claim(worker)
		p.done.Done()
	}
}

// claim takes ranges until none is left.
func (p *Pool) claim(worker int) {
	for {
		lo := int(p.next.Add(1)-1) * p.grain
		if lo >= p.n {
			return
		}
		p.task.Do(worker, lo, min(lo+p.grain, p.n))
	}
}
