package kernel

import "sync/atomic"

// sweep is items that lie in memory one behind the other. Each worker has a part of neighbours, so that it reads memory in order and what is fetched ahead
// is its own; a worker whose part is done takes from the others' parts.
type sweep struct {
	parts []sweepPart
	items int
	step  int // items that are taken at once
}

// sweepPart counts the items of a part that were taken.
type sweepPart struct {
	taken atomic.Int64
	_     [cacheLine - 8]byte // what one worker counts, others must not count beside
}

// begin starts over with so many items. It returns the number of parts, each of which is an item of the task that calls take.
func (s *sweep) begin(items, workers int) int {
	if s.parts == nil {
		s.parts = make([]sweepPart, workers)
	}
	s.items, s.step = items, max(1, items/(workers*16))
	for i := range s.parts {
		s.parts[i].taken.Store(0)
	}
	return min(items, workers)
}

// take returns the next items [lo, hi) for a worker whose own part is the given one. There are none left when lo is hi.
func (s *sweep) take(own int) (lo, hi int) {
	n := len(s.parts)
	for i := range n {
		part := (own + i) % n
		first, end := part*s.items/n, (part+1)*s.items/n
		if s.parts[part].taken.Load() >= int64(end-first) {
			continue
		}
		lo = first + int(s.parts[part].taken.Add(int64(s.step))) - s.step
		if lo < end {
			return lo, min(lo+s.step, end)
		}
	}
	return 0, 0
}
