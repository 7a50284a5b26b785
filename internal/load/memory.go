package load

import (
	"sync"
	"time"

	"mor/internal/memory"
)

// Memory is the resident memory of a server, in bytes.
type Memory struct {
	Before int64     `json:"before"`
	Warm   int64     `json:"warm"` // when a tenth of the run's time was over
	End    int64     `json:"end"`
	Peak   int64     `json:"peak"` // since the process began
	Times  []float64 `json:"-"`    // of the samples, in seconds
	Bytes  []float64 `json:"-"`
}

// sample is the memory at one time.
type sample struct {
	at       time.Duration
	resident int64
}

// sampleEvery is how often the memory is looked at.
const sampleEvery = 100 * time.Millisecond

func resident(pid int) int64 {
	r, _ := memory.OfProcess(pid)
	return r
}

// watch samples the memory of the server until the function that it returns is called.
func (r *Run) watch() (stop func()) {
	if r.Options.PID == 0 {
		return func() {}
	}
	take := func() {
		r.memory = append(r.memory, sample{time.Since(r.started), resident(r.Options.PID)})
	}
	take()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				take()
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
		take()
	}
}

// memoryOf sums up the samples; nil where there are none.
func (r *Run) memoryOf() *Memory {
	if len(r.memory) == 0 {
		return nil
	}
	m := &Memory{Before: r.memory[0].resident, End: r.memory[len(r.memory)-1].resident}
	_, m.Peak = memory.OfProcess(r.Options.PID)
	for _, s := range r.memory {
		if s.at >= r.elapsed/10 && m.Warm == 0 {
			m.Warm = s.resident
		}
		m.Peak = max(m.Peak, s.resident)
		m.Times, m.Bytes = append(m.Times, s.at.Seconds()), append(m.Bytes, float64(s.resident))
	}
	return m
}
