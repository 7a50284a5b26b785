package kernel

import (
	"time"

	"mor/internal/parallel"
)

// A chain is kernels that work row by row. A worker takes a few rows through all of them, so that each finds in its caches what the one before wrote, and
// nobody waits between them.
type chain struct {
	open    bool
	n       int // rows
	links   []link
	ordered bool // some link is an OrderedTask
	timed   bool
	busy    [][]time.Duration // [worker][link]
}

// link is one kernel of a chain; its task's items are rows.
type link struct {
	task parallel.Task
	work Work
}

// BeginChain has the kernels that are called next, until EndChain, only note down what they have to do with their n rows. Those that work by rows may be
// called: norms, products with packed weights, RoPE, SwiGLU, their backward, and copies of rows.
func (c *CPU) BeginChain(n int) {
	if c.chain.open {
		panic("kernel: a chain within a chain")
	}
	c.chain.open, c.chain.n = true, n
}

// Chained tells whether a chain is open.
func (c *CPU) Chained() bool { return c.chain.open }

// EndChain runs the kernels since BeginChain. The bits are those of the kernels run one after the other.
func (c *CPU) EndChain() {
	h := &c.chain
	h.open, h.timed = false, c.profile.on
	if len(h.links) > 0 && h.n > 0 {
		c.timeLinks()
		if grain := c.chainRows(h.n); h.ordered {
			c.pool.RunOrdered(h.n, grain, h)
		} else {
			c.pool.Run(h.n, grain, h)
		}
		c.recordLinks()
	}
	clear(h.links)
	h.links, h.ordered = h.links[:0], false
	c.task.release()
}

// chainRows is how many rows go through a chain at once: whole tiles, as many as a task of a product has, or fewer where there are more workers.
func (c *CPU) chainRows(n int) int {
	if c.level == Generic {
		return 16
	}
	workers, tile := c.pool.Workers(), c.level.tallest()
	if each := (n + workers - 1) / workers; each < c.level.tall() {
		return (each + tile - 1) / tile * tile
	}
	return c.level.taskHeight(n, 1, workers)
}

// timeLinks prepares the times of the links.
func (c *CPU) timeLinks() {
	h := &c.chain
	if !h.timed {
		return
	}
	if h.busy == nil {
		h.busy = make([][]time.Duration, c.pool.Workers())
	}
	for i := range h.busy {
		if len(h.busy[i]) < len(h.links) {
			h.busy[i] = make([]time.Duration, len(h.links)+16) // the times of workers in cache lines of their own
		}
		clear(h.busy[i])
	}
}

// recordLinks records each link with the time that all workers together spent on it, shared out among them.
func (c *CPU) recordLinks() {
	h := &c.chain
	if !h.timed {
		return
	}
	for i, l := range h.links {
		total := time.Duration(0)
		for _, busy := range h.busy {
			total += busy[i]
		}
		c.profile.add(l.work, total/time.Duration(len(h.busy)))
	}
}

func (h *chain) Do(worker, lo, hi int) {
	for i, l := range h.links {
		if !h.timed {
			l.task.Do(worker, lo, hi)
			continue
		}
		start := time.Now()
		l.task.Do(worker, lo, hi)
		h.busy[worker][i] += time.Since(start)
	}
}

// Then does the ordered part of the links that have one.
func (h *chain) Then(worker, lo, hi int) {
	for i, l := range h.links {
		t, ok := l.task.(parallel.OrderedTask)
		if !ok {
			continue
		}
		start := time.Time{}
		if h.timed {
			start = time.Now()
		}
		t.Then(worker, lo, hi)
		if h.timed {
			h.busy[worker][i] += time.Since(start)
		}
	}
}

// byRows runs a task over n rows, so many at a time, or adds it to the chain that is open.
func byRows[T any, P interface {
	*T
	parallel.Task
}](c *CPU, s *slots[T], task T, n, grain int, w Work) {
	t := P(s.next())
	*t = task
	ordered, ok := parallel.Task(t).(parallel.OrderedTask)
	if c.chain.open {
		if n != c.chain.n {
			panic("kernel: a chain of other rows")
		}
		c.chain.links = append(c.chain.links, link{t, w})
		c.chain.ordered = c.chain.ordered || ok
		return
	}
	start := c.Start()
	if ok {
		c.pool.RunOrdered(n, grain, ordered)
	} else {
		c.pool.Run(n, grain, t)
	}
	c.Done(start, w)
	s.release()
}

// slots are tasks of a kind that are used again, so that a call does not allocate.
type slots[T any] struct {
	tasks []*T
	used  int
}

func (s *slots[T]) next() *T {
	if s.used == len(s.tasks) {
		s.tasks = append(s.tasks, new(T))
	}
	s.used++
	return s.tasks[s.used-1]
}

// release makes all tasks free again, and forgets what they point to.
func (s *slots[T]) release() {
	var zero T
	for _, t := range s.tasks[:s.used] {
		*t = zero
	}
	s.used = 0
}
