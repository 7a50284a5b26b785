// Package parallel runs ranges of rows or tiles on a fixed set of workers, so that what a range computes never depends on who computes it.
package parallel

import (
	"runtime"
	"sync/atomic"
)

// Task computes the items [lo, hi). Ranges may be computed in any order and by any worker, so a task's result must not
// depend on either; worker, in [0, Workers), only selects scratch memory.
type Task interface {
	Do(worker, lo, hi int)
}

// Pool is a fixed set of workers. The goroutine that calls Run is worker 0. A Pool runs one task at a time and is not
// safe for concurrent use.
//
// In a task of many ranges each worker begins with a part of its own, the i-th of the items, and then helps the others with theirs. So the worker that wrote
// some rows mostly reads them again, and their pages, which belong to the memory node of who writes them first, are near it. A few ranges are taken in their
// order by whoever is free: a task that puts the short ones last is done sooner so.
//
// A worker that has nothing to do looks out for the next task for some microseconds before it sleeps: tasks of a forward pass follow each other faster
// than a sleeper wakes. A task does not wait for workers that come when nothing is left of it.
type Pool struct {
	helpers []helper

	// The task at hand; written before state, read by those who have joined.
	task     Task
	n, grain int
	parts    []part // by worker
	used     int    // of them
	ordered  ordered

	state    atomic.Uint64 // number of the task, closed, helpers that have joined
	returned gate          // worker 0 waits for those who have
	ended    atomic.Bool
}

// part is a worker's part of the ranges.
type part struct {
	next atomic.Int64 // range that nobody has taken
	end  int64
	_    [48]byte // what one worker counts, others must not write beside
}

// manyRanges is how many for each worker make parts: helping with a last range costs little then.
const manyRanges = 16

// The fields of a state.
const (
	closed   = 1 << 31 // nobody joins any more
	oneTask  = 1 << 32
	joinMask = closed - 1
)

// helper is a worker other than the caller.
type helper struct {
	gate
	_ [64]byte // what one worker looks at, others must not write beside
}

// gate is where one goroutine waits: awake at first, asleep after a while.
type gate struct {
	asleep atomic.Bool
	wake   chan struct{}
}

// Rounds of looking out before sleep, and looks of a round. Between rounds other goroutines get their turn.
const (
	rounds = 300
	looks  = 50
)

// wait returns once ready does.
func (g *gate) wait(ready func() bool) {
	for range rounds {
		for range looks {
			if ready() {
				return
			}
		}
		runtime.Gosched()
	}
	for !ready() {
		g.asleep.Store(true)
		if ready() && g.asleep.CompareAndSwap(true, false) {
			return
		}
		<-g.wake // open saw this goroutine asleep, or will
	}
}

// open wakes who waits, after what it waits for has become true.
func (g *gate) open() {
	if g.asleep.CompareAndSwap(true, false) {
		g.wake <- struct{}{}
	}
}

// New returns a pool of the given number of workers; fewer than 1 means one for each CPU.
func New(workers int) *Pool {
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	p := &Pool{helpers: make([]helper, workers-1), parts: make([]part, workers)}
	p.returned.wake = make(chan struct{}, 1)
	for i := range p.helpers {
		p.helpers[i].wake = make(chan struct{}, 1)
		go p.serve(i)
	}
	return p
}

// Workers returns how many workers share a task.
func (p *Pool) Workers() int { return len(p.helpers) + 1 }

// Close ends the workers. The pool must not be used afterwards.
func (p *Pool) Close() {
	p.ended.Store(true)
	for i := range p.helpers {
		p.helpers[i].open()
	}
}

// Run computes [0, n) in ranges of grain items (the last one may be shorter) and returns when all are done.
func (p *Pool) Run(n, grain int, t Task) {
	parts := 1
	if ranges(n, grain) >= manyRanges*len(p.parts) {
		parts = len(p.parts)
	}
	p.run(n, max(grain, 1), parts, t)
}

// RunInTurn is Run for items of very different size, the small ones last: they are taken one by one in their order by whoever is free.
func (p *Pool) RunInTurn(n int, t Task) { p.run(n, 1, 1, t) }

// ranges is how many ranges of grain items n items are.
func ranges(n, grain int) int {
	grain = max(grain, 1)
	return (n + grain - 1) / grain
}

// run takes the ranges in so many parts.
func (p *Pool) run(n, grain, parts int, t Task) {
	chunks := ranges(n, grain)
	if chunks <= 0 {
		return
	}
	if len(p.helpers) == 0 || chunks == 1 {
		for lo := 0; lo < n; lo += grain {
			t.Do(0, lo, min(lo+grain, n))
		}
		return
	}
	p.task, p.n, p.grain, p.used = t, n, grain, parts
	for i := range p.parts[:p.used] {
		p.parts[i].next.Store(int64(i * chunks / p.used))
		p.parts[i].end = int64((i + 1) * chunks / p.used)
	}
	p.state.Store((p.state.Load()/oneTask + 1) * oneTask)
	for i := range p.helpers[:min(len(p.helpers), chunks-1)] {
		p.helpers[i].open()
	}
	p.claim(0)
	if p.state.Or(closed)&joinMask > 0 {
		p.returned.wait(p.alone)
	}
	p.task = nil
}

// alone tells whether every helper that joined has returned.
func (p *Pool) alone() bool { return p.state.Load()&joinMask == 0 }

// serve joins one task after the other.
func (p *Pool) serve(i int) {
	h, seen := &p.helpers[i], uint64(0)
	news := func() bool { return p.state.Load()/oneTask != seen || p.ended.Load() }
	for {
		h.wait(news)
		if p.ended.Load() {
			return
		}
		var joined bool
		if seen, joined = p.join(); joined {
			p.claim(i + 1)
			if p.state.Add(^uint64(0))&(closed|joinMask) == closed {
				p.returned.open()
			}
		}
	}
}

// join takes part in the task at hand unless it is closed, and returns its number.
func (p *Pool) join() (task uint64, joined bool) {
	for {
		s := p.state.Load()
		if s&closed != 0 {
			return s / oneTask, false
		}
		if p.state.CompareAndSwap(s, s+1) {
			return s / oneTask, true
		}
	}
}

// claim takes ranges until none is left: first those of the worker's own part, then those of the parts behind it.
func (p *Pool) claim(worker int) {
	for i := range p.used {
		own := &p.parts[(worker+i)%p.used]
		for {
			chunk := own.next.Add(1) - 1
			if chunk >= own.end {
				break
			}
			lo := int(chunk) * p.grain
			p.task.Do(worker, lo, min(lo+p.grain, p.n))
		}
	}
}
