package parallel

import "sync/atomic"

// OrderedTask is a Task of which a part must be done in the order of the ranges, as a sum that goes on from one to the next.
type OrderedTask interface {
	Task
	// Then is called with each range that Do has returned for, by any worker, one range after the other in their order.
	Then(worker, lo, hi int)
}

// RunOrdered is Run for a task with an ordered part. The ranges are taken in their order. Nobody waits for a turn: who has done a range goes on with the
// next one, and the ordered part of those that are done is up to whoever finds it free.
func (p *Pool) RunOrdered(n, grain int, t OrderedTask) {
	grain = max(grain, 1)
	p.ordered.begin(n, grain, t)
	p.run(n, grain, 1, &p.ordered)
	p.ordered.task = nil
}

// ordered is an OrderedTask as a Task.
type ordered struct {
	task     OrderedTask
	n, grain int
	done     []atomic.Bool // by range: Do has returned
	next     atomic.Int64  // the range that is due
	busy     atomic.Bool   // somebody is at the ordered part
}

func (o *ordered) begin(n, grain int, t OrderedTask) {
	o.task, o.n, o.grain = t, n, grain
	count := max(ranges(n, grain), 0)
	if len(o.done) < count {
		o.done = make([]atomic.Bool, count)
	}
	for i := range o.done[:count] {
		o.done[i].Store(false)
	}
	o.next.Store(0)
}

func (o *ordered) Do(worker, lo, hi int) {
	o.task.Do(worker, lo, hi)
	o.done[lo/o.grain].Store(true)
	for o.due() && o.busy.CompareAndSwap(false, true) {
		o.goOn(worker)
		o.busy.Store(false) // what was done meanwhile is seen by due, or by who did it
	}
}

// due tells whether the ordered part can go on.
func (o *ordered) due() bool {
	next := int(o.next.Load())
	return next*o.grain < o.n && o.done[next].Load()
}

// goOn does the ordered part of all ranges up to the first that is not done.
func (o *ordered) goOn(worker int) {
	for o.due() {
		next := int(o.next.Load())
		o.task.Then(worker, next*o.grain, min((next+1)*o.grain, o.n))
		o.next.Store(int64(next + 1))
	}
}
