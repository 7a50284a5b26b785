package kernel

import (
	"sync"
	"sync/atomic"
	"testing"
)

// TestSweep: every item is taken once, whoever comes and whoever stays away.
func TestSweep(t *testing.T) {
	for _, c := range []struct{ items, workers, come int }{{1, 1, 1}, {1, 4, 1}, {3, 4, 3}, {30, 2, 1}, {30, 2, 2}, {1536, 2, 2}, {1000, 7, 3}, {5, 3, 3}} {
		var s sweep
		for round := range 2 {
			if parts := s.begin(c.items, c.workers); parts != min(c.items, c.workers) {
				t.Errorf("%+v: %d parts", c, parts)
			}
			taken := make([]atomic.Int32, c.items)
			var wg sync.WaitGroup
			for part := range c.come {
				wg.Go(func() {
					for lo, hi := s.take(part); lo < hi; lo, hi = s.take(part) {
						for i := lo; i < hi; i++ {
							taken[i].Add(1)
						}
					}
				})
			}
			wg.Wait()
			for i := range taken {
				if n := taken[i].Load(); n != 1 {
					t.Fatalf("%+v: round %d: item %d was taken %d times", c, round, i, n)
				}
			}
		}
	}
}

// TestSweepInOrder: a worker that meets no other goes through its own part first, and in order.
func TestSweepInOrder(t *testing.T) {
	var s sweep
	s.begin(100, 4)
	at := 25
	for lo, hi := s.take(1); lo < hi; lo, hi = s.take(1) {
		if lo != at%100 {
			t.Fatalf("item %d came, expected %d", lo, at%100)
		}
		at += hi - lo
	}
	if at != 125 {
		t.Errorf("%d items", at-25)
	}
}
