package parallel

import (
	"sync/atomic"
	"testing"
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

func TestRunDoesNotAllocate(t *testing.T) {
	p := New(2)
	defer p.Close()
	c := &count{seen: make([]int32, 100), workers: 2}
	if a := testing.AllocsPerRun(100, func() { p.Run(100, 1, c) }); a != 0 {
		t.Errorf("Run allocates %v times", a)
	}
}
