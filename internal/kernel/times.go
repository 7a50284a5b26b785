package kernel

import (
	"time"

	"mor/internal/parallel"
)

// times is what each worker spends on kernels whose items they take in turn, while calls are recorded.
type times struct {
	on   bool
	busy [][]time.Duration // [worker][kernel]
}

// begin makes the times of so many kernels zero.
func (t *times) begin(on bool, workers, kernels int) {
	if t.on = on; !on {
		return
	}
	if t.busy == nil {
		t.busy = make([][]time.Duration, workers)
	}
	for i := range t.busy {
		if len(t.busy[i]) < kernels {
			t.busy[i] = make([]time.Duration, kernels+16) // the times of workers in cache lines of their own
		}
		clear(t.busy[i])
	}
}

// do has a worker do the items [lo, hi) of the i-th kernel.
func (t *times) do(i int, task parallel.Task, worker, lo, hi int) {
	start := t.start()
	task.Do(worker, lo, hi)
	t.spend(i, worker, start)
}

func (t *times) start() time.Time {
	if !t.on {
		return time.Time{}
	}
	return time.Now()
}

// spend adds what a worker spent on the i-th kernel since start.
func (t *times) spend(i, worker int, start time.Time) {
	if t.on {
		t.busy[worker][i] += time.Since(start)
	}
}

// of is the time that all workers together spent on the i-th kernel, shared out among them; zero while nothing is recorded.
func (t *times) of(i int) time.Duration {
	if !t.on {
		return 0
	}
	total := time.Duration(0)
	for _, b := range t.busy {
		total += b[i]
	}
	return total / time.Duration(len(t.busy))
}
