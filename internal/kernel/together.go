package kernel

import (
	"cmp"
	"math"
	"slices"
	"time"

	"mor/internal/parallel"
)

// together is kernels that do not wait for one another: the gradients of weights, and attention backward. Their items are taken in one go, so that the workers
// wait for the last item of all of them, not for that of each.
type together struct {
	open  bool
	jobs  []job
	times times // of the jobs
}

// job is a kernel of them.
type job struct {
	task  parallel.Task
	items int
	work  Work
	ahead time.Duration // what its call took, and of that, laying out operands
	pack  time.Duration
}

// BeginTogether has the gradients of weights and attention backward that are called next, until EndTogether, only note down what they have to do. What they read
// must stay, and what they write is not there, until then; no two of them may write the same.
func (c *CPU) BeginTogether() {
	if c.together.open {
		panic("kernel: kernels together within others")
	}
	c.together.open = true
}

// EndTogether runs the kernels since BeginTogether, if there are any. The bits are those of the kernels run one after the other.
func (c *CPU) EndTogether() {
	t := &c.together
	t.open = false
	if len(t.jobs) == 0 {
		return
	}
	items := t.arrange()
	t.times.begin(c.profile.on, c.pool.Workers(), len(t.jobs))
	start := c.Start()
	c.pool.RunInTurn(items, t)
	wall := c.since(start)
	for i, j := range t.jobs {
		took := t.times.of(i)
		if len(t.jobs) == 1 {
			took = wall // with what the workers waited for one another
		}
		c.endJob(j, took)
	}
	clear(t.jobs)
	t.jobs = t.jobs[:0]
	c.task.outer.release()
	c.task.dattn = dattentionTask{}
}

// arrange puts the jobs in their order and returns how many items they have: attention, then the largest items first, so that the workers are done at nearly the
// same time.
func (t *together) arrange() (items int) {
	slices.SortStableFunc(t.jobs, func(a, b job) int { return cmp.Compare(b.large(), a.large()) })
	for _, j := range t.jobs {
		items += j.items
	}
	return items
}

// large is how large an item is.
func (j *job) large() float64 {
	if _, ok := j.task.(*dattentionTask); ok {
		return math.Inf(1)
	}
	return j.work.FLOPs / float64(j.items)
}

// endJob does what is left of a kernel when its items are done, and records it.
func (c *CPU) endJob(j job, took time.Duration) {
	start := c.Start()
	if d, ok := j.task.(*dattentionTask); ok {
		d.sum(c)
	}
	c.profile.pack = j.pack
	c.profile.record(j.work, j.ahead+took+c.since(start))
}

// runItems runs a task whose items may be taken one by one, or adds it to the kernels that are to run together. Its call began at start.
func (c *CPU) runItems(start time.Time, t parallel.Task, items int, w Work) {
	alone := !c.together.open
	if alone {
		c.BeginTogether()
	}
	c.together.jobs = append(c.together.jobs, job{t, items, w, c.since(start), c.profile.pack})
	c.profile.pack = 0
	if alone {
		c.EndTogether()
	}
}

func (t *together) Do(worker, lo, hi int) {
	for item := lo; item < hi; item++ {
		i, at := 0, item
		for at >= t.jobs[i].items {
			at -= t.jobs[i].items
			i++
		}
		t.times.do(i, t.jobs[i].task, worker, at, at+1)
	}
}
