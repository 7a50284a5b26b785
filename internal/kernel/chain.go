package kernel

import "mor/internal/parallel"

// A chain is kernels that work row by row. A worker takes a few rows through all of them, so that each finds in its caches what the one before wrote, and
// nobody waits between them.
type chain struct {
	open    bool
	n       int // rows
	links   []link
	cuts    []int
	ordered bool  // some link is an OrderedTask
	times   times // of the links
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
	h.open = false
	if len(h.links) > 0 && h.n > 0 {
		h.times.begin(c.profile.on, c.pool.Workers(), len(h.links))
		if c.cutChain(); h.ordered {
			c.pool.RunOrdered(len(h.cuts)-1, 1, h)
		} else {
			c.pool.Run(len(h.cuts)-1, 1, h)
		}
		for i, l := range h.links {
			c.profile.record(l.work, h.times.of(i))
		}
	}
	clear(h.links)
	h.links, h.ordered = h.links[:0], false
	c.task.release()
}

// cutChain cuts the rows into parts that go through the chain at once: whole tiles, as many as a task of a product has, and fewer towards the end, where nobody
// should wait long for the last.
func (c *CPU) cutChain() {
	h, tile, least, most := &c.chain, 1, 16, 16
	if c.level != Generic {
		tile = c.level.tallest()
		least, most = 3*tile, c.level.tall()
	}
	h.cuts = append(h.cuts[:0], 0)
	for from := 0; from < h.n; {
		left := h.n - from
		rows := min(max(left/(2*c.pool.Workers())/tile*tile, least), most, left)
		if left-rows < tile && left <= most { // a part of its own would not be worth it
			rows = left
		}
		from += rows
		h.cuts = append(h.cuts, from)
	}
}

func (h *chain) Do(worker, part, _ int) {
	lo, hi := h.cuts[part], h.cuts[part+1]
	for i, l := range h.links {
		h.times.do(i, l.task, worker, lo, hi)
	}
}

// Then does the ordered part of the links that have one.
func (h *chain) Then(worker, part, _ int) {
	lo, hi := h.cuts[part], h.cuts[part+1]
	for i, l := range h.links {
		if t, ok := l.task.(parallel.OrderedTask); ok {
			start := h.times.start()
			t.Then(worker, lo, hi)
			h.times.spend(i, worker, start)
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
