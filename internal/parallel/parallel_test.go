package parallel

import (
	"sync/atomic"
	"testing"
	"time"
)

type count struct {
	seen    []int32
	workers int
	bad     atomic.Bool
}

func (c *count) Do(worker, lo, hi int) {
	if worker < 0 || worker >= c.workers {
		c.bad.Store(true)
	}
	for i := lo; i < hi; i++ {
		atomic.AddInt32(&c.seen[i], 1)
	}
}

func TestRunComputesEveryItemOnce(t *testing.T) {
	for _, workers := range []int{1, 2, 3, 128} {
		p := New(workers)
		for _, n := range []int{0, 1, 2, 7, 64, 1000} {
			for _, grain := range []int{-1, 1, 3, 64, 5000} {
				c := &count{seen: make([]int32, n), workers: workers}
				p.Run(n, grain, c)
				for i, k := range c.seen {
					if k != 1 {
						t.Fatalf("workers %d n %d grain %d: item %d computed %d times", workers, n, grain, i, k)
					}
				}
				if c.bad.Load() {
					t.Fatalf("workers %d: a worker index is out of range", workers)
				}
			}
		}
		p.Close()
	}
}

// firsts is a task in which every worker waits in its first range until all have one.
type firsts struct {
	at   []atomic.Int64 // by worker: its first range, counted from 1
	left atomic.Int64
}

func (f *firsts) Do(worker, lo, _ int) {
	if f.at[worker].CompareAndSwap(0, int64(lo+1)) {
		for f.left.Add(-1); f.left.Load() > 0; {
			time.Sleep(time.Microsecond)
		}
	}
}

// TestWorkersBeginWithTheirPart: in a task of many ranges the i-th worker begins with the i-th part of the items, so that it comes back to the memory that it wrote.
func TestWorkersBeginWithTheirPart(t *testing.T) {
	for _, workers := range []int{2, 3, 16} {
		p := New(workers)
		f := &firsts{at: make([]atomic.Int64, workers)}
		f.left.Store(int64(workers))
		p.Run(1000, 1, f)
		for i := range f.at {
			if got, want := f.at[i].Load()-1, int64(i*1000/workers); got != want {
				t.Errorf("worker %d of %d begins with item %d, want %d", i, workers, got, want)
			}
		}
		p.Close()
	}
}

// TestRunInTurn: every item is computed once, and the first ones are the workers' first, in their order.
func TestRunInTurn(t *testing.T) {
	for _, workers := range []int{1, 2, 3, 16} {
		p := New(workers)
		c := &count{seen: make([]int32, 1000), workers: workers}
		p.RunInTurn(1000, c)
		for i, k := range c.seen {
			if k != 1 {
				t.Fatalf("workers %d: item %d computed %d times", workers, i, k)
			}
		}
		f := &firsts{at: make([]atomic.Int64, workers)}
		f.left.Store(int64(workers))
		p.RunInTurn(1000, f)
		for i := range f.at {
			if got := f.at[i].Load() - 1; got < 0 || got >= int64(workers) {
				t.Errorf("worker %d of %d begins with item %d", i, workers, got)
			}
		}
		p.Close()
	}
}

func TestRunDoesNotAllocate(t *testing.T) {
	p := New(2)
	defer p.Close()
	c := &count{seen: make([]int32, 100), workers: 2}
	if a := testing.AllocsPerRun(100, func() { p.Run(100, 1, c) }); a != 0 {
		t.Errorf("Run allocates %v times", a)
	}
}

// TestRunInARow: tasks that follow each other at once, or after everyone sleeps, are computed alike.
func TestRunInARow(t *testing.T) {
	for _, workers := range []int{2, 3, 9} {
		p := New(workers)
		c := &count{seen: make([]int32, 40), workers: workers}
		for i := range 3000 {
			if i%1000 == 999 {
				time.Sleep(2 * time.Millisecond)
			}
			p.Run(2+i%39, 1, c)
		}
		want := int32(0)
		for i := 39; i >= 0; i-- {
			for j := range 3000 {
				if 2+j%39 == i+1 {
					want++
				}
			}
			if c.seen[i] != want {
				t.Fatalf("%d workers: item %d computed %d times, want %d", workers, i, c.seen[i], want)
			}
		}
		p.Close()
	}
}

// chain is a task whose ordered part tells whether it came in order.
type chain struct {
	count
	next  int // not atomic: the race detector sees what is not ordered
	wrong bool
}

func (c *chain) Then(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		c.wrong = c.wrong || c.next != i || atomic.LoadInt32(&c.seen[i]) == 0
		c.next++
	}
}

// TestRunOrdered: the ordered part follows the other and goes through the items in their order, also with more workers than CPUs.
func TestRunOrdered(t *testing.T) {
	for _, workers := range []int{1, 2, 3, 128} {
		p := New(workers)
		for _, n := range []int{0, 1, 7, 1000} {
			for _, grain := range []int{1, 3, 5000} {
				c := &chain{count: count{seen: make([]int32, n), workers: workers}}
				p.RunOrdered(n, grain, c)
				if c.wrong || c.next != n || c.bad.Load() {
					t.Errorf("workers %d n %d grain %d: the ordered part came to item %d, in order: %v", workers, n, grain, c.next, !c.wrong)
				}
			}
		}
		p.Close()
	}
}
