// Package bench measures kernels and training steps against the peak that the same machine reached in the same minute.
package bench

import (
	"runtime"
	"slices"
	"time"

	"github.com/klauspost/cpuid/v2"

	"mor/internal/kernel"
	"mor/internal/memory"
)

// Machine says where a figure comes from.
type Machine struct {
	CPU     string   `json:"cpu"`
	System  string   `json:"system"` // operating system and architecture
	Cores   int      `json:"cores"`  // that the process may use
	Memory  int64    `json:"memory"` // bytes; 0 where the system does not say
	Level   string   `json:"level"`  // instruction set of the kernels
	Levels  []string `json:"levels"` // that the CPU has
	Threads int      `json:"threads"`
	Peak    float64  `json:"peak_flops"`      // measured fp32 peak of all threads, FLOP/s
	PeakOne float64  `json:"peak_flops_one"`  // of one thread
	BF16    float64  `json:"peak_bf16_flops"` // of multiply-adds of bfloat16 by all threads; that of fp32 where there are no units for them
	BF16One float64  `json:"peak_bf16_flops_one"`
	Go      string   `json:"go"`
	Time    string   `json:"time"` // when it was described, in UTC
}

// Describe measures the machine's peak.
func Describe(cpu *kernel.CPU) Machine {
	m := Machine{CPU: cpuid.CPU.BrandName, System: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.GOMAXPROCS(0), Memory: memory.Total(), Level: cpu.Level().String(),
		Threads: cpu.Pool().Workers(), Peak: cpu.Peak(), PeakOne: cpu.PeakOne(), BF16: cpu.PeakBF16(), BF16One: cpu.PeakOneBF16(), Go: runtime.Version(),
		Time: time.Now().UTC().Format(time.RFC3339)}
	for _, l := range kernel.Levels() {
		m.Levels = append(m.Levels, l.String())
	}
	return m
}

// Spread sums up repeated timings, in seconds.
type Spread struct {
	Repetitions int     `json:"repetitions"`
	Best        float64 `json:"best_s"`
	Median      float64 `json:"median_s"`
	Worst       float64 `json:"worst_s"`
}

func spread(seconds []float64) Spread {
	s := slices.Sorted(slices.Values(seconds))
	n := len(s)
	return Spread{n, s[0], (s[(n-1)/2] + s[n/2]) / 2, s[n-1]}
}

// elapsed times one call, in seconds.
func elapsed(f func()) float64 {
	start := time.Now()
	f()
	return time.Since(start).Seconds()
}
