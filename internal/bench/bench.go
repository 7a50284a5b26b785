// Package bench measures kernels and training steps against the peak that the same machine reached in the same minute.
package bench

import (
	"runtime"
	"slices"
	"time"

	"github.com/klauspost/cpuid/v2"

	"mor/internal/kernel"
)

// Machine says where a figure comes from.
type Machine struct {
	CPU     string  `json:"cpu"`
	Cores   int     `json:"cores"` // that the process may use
	Level   string  `json:"level"` // instruction set of the kernels
	Threads int     `json:"threads"`
	Peak    float64 `json:"peak_flops"`      // measured fp32 peak of all threads, FLOP/s
	PeakOne float64 `json:"peak_flops_one"`  // of one thread
	BF16    float64 `json:"peak_bf16_flops"` // of multiply-adds of bfloat16 by all threads; that of fp32 where there are no units for them
	BF16One float64 `json:"peak_bf16_flops_one"`
	Go      string  `json:"go"`
	Time    string  `json:"time"`
}

// Describe measures the machine's peak.
func Describe(cpu *kernel.CPU) Machine {
	return Machine{cpuid.CPU.BrandName, runtime.GOMAXPROCS(0), cpu.Level().String(), cpu.Pool().Workers(), cpu.Peak(), cpu.PeakOne(), cpu.PeakBF16(), cpu.PeakOneBF16(), runtime.Version(),
		time.Now().UTC().Format(time.RFC3339)}
}

// Spread sums up repeated timings, in seconds.
type Spread struct {
	Best   float64 `json:"best_s"`
	Median float64 `json:"median_s"`
	Worst  float64 `json:"worst_s"`
}

func spread(seconds []float64) Spread {
	s := slices.Sorted(slices.Values(seconds))
	return Spread{s[0], s[len(s)/2], s[len(s)-1]}
}

// elapsed times one call.
func elapsed(f func()) float64 {
	start := time.Now()
	f()
	return time.Since(start).Seconds()
}
