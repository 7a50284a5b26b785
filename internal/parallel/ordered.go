package parallel

import (
	"runtime"
	"sync/atomic"
)

// OrderedTask is a Task of which a part must be done in the order of the ranges, as a sum that goes on from one to the next.
type OrderedTask interface {
	Task
	// Then is called behind Do with the same range and worker, when it has returned for all ranges before.
	Then(worker, lo, hi int)
}

// RunOrdered is Run for a task with an ordered part. The ranges are taken in their order, so that whoever waits for its turn waits for somebody who computes.
func (p *Pool) RunOrdered(n, grain int, t OrderedTask) {
	p.ordered.task = t
	p.ordered.turn.Store(0)
	p.run(n, max(grain, 1), 1, &p.ordered)
	p.ordered.task = nil
}

// ordered is an OrderedTask as a Task.
type ordered struct {
	task OrderedTask
	turn atomic.Int64 // first item whose ordered part is not done
}

func (o *ordered) Do(worker, lo, hi int) {
	o.task.Do(worker, lo, hi)
	for look := 1; o.turn.Load() != int64(lo); look++ {
		if look%looks == 0 {
			runtime.Gosched()
		}
	}
	o.task.Then(worker, lo, hi)
	o.turn.Store(int64(hi))
}
