package bench

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"mor/internal/kernel"
	"mor/internal/memory"
	"mor/internal/model"
)

// Kernel is one kernel at one size, measured.
type Kernel struct {
	Name    string  `json:"name"`
	Dtype   string  `json:"dtype"`
	Shape   []int   `json:"shape"` // of a product rows, in, out; of attention sequences, tokens; otherwise rows, values of a row
	Threads int     `json:"threads"`
	Spread  Spread  `json:"time"`
	FLOPS   float64 `json:"flops"`         // per second, of the median; 0 for what memory decides
	Bytes   float64 `json:"bytes_per_s"`   // of the median, every operand and result counted once
	Share   float64 `json:"share_of_peak"` // median of the ratios to the peak measured beside each repetition
	Against string  `json:"peak"`          // which peak: fma, bf16 or memory
}

// Kernels is what to measure.
type Kernels struct {
	Groups      []string // of Groups
	Shapes      [][3]int // rows, in and out of the products of training
	Threads     []int
	Repetitions int
	Dtype       model.Dtype // of the products of training
}

// Shapes are the products that are measured by default: the FFN of the 135M model first.
var Shapes = [][3]int{{2048, 576, 1536}, {2048, 1536, 576}, {2048, 576, 960}, {2048, 576, 3072}, {2048, 192, 1024}, {256, 576, 49152}}

// Bytes is what the largest shape takes: the operands, and what is laid out of them.
func (k *Kernels) Bytes() int64 {
	most := 0.0
	for _, s := range k.Shapes {
		n, in, out := float64(s[0]), float64(s[1]), float64(s[2])
		most = max(most, 4*(n*in+in*out+n*out)*3)
	}
	return int64(min(most, 1<<62))
}

// Run measures every kernel with each number of threads.
func (k *Kernels) Run(level kernel.Level, each func(Kernel)) error {
	for _, n := range k.Threads {
		cpu, err := kernel.New(level, n)
		if err != nil {
			return err
		}
		top := peaks{bytes: cpu.Bandwidth()}
		for _, g := range k.Groups {
			if err := k.group(cpu, g, func(c kernelCase) { each(c.measure(cpu, k.Repetitions, top)) }); err != nil {
				return err
			}
		}
		cpu.Close()
	}
	return nil
}

// kernelCase is a kernel with its operands.
type kernelCase struct {
	name  string
	dtype string
	shape []int
	run   func()
}

// measure runs a kernel some times. Each repetition measures the peak of its kind again beside the kernel, because other load comes and goes; the
// best of three runs is what the kernel can do while the peak is what it is.
func (k kernelCase) measure(cpu *kernel.CPU, repetitions int, top peaks) Kernel {
	cpu.Profile(true)
	k.run()
	work := cpu.Usages()[0].Work
	cpu.Profile(false)
	var times, shares []float64
	var against string
	for range repetitions {
		if work.FLOPs > 0 {
			top.flops, top.bf16 = cpu.Peak(), cpu.PeakBF16()
		}
		t := min(elapsed(k.run), elapsed(k.run), elapsed(k.run))
		share, peak := top.share(work, t)
		times, shares, against = append(times, t), append(shares, share), peak
	}
	sp := spread(times)
	return Kernel{k.name, k.dtype, k.shape, cpu.Pool().Workers(), sp, work.FLOPs / sp.Median, work.Bytes / sp.Median, spread(shares).Median, against}
}

// values draws numbers around zero.
func values(n int) []float32 {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	out := memory.Make[float32](n)
	for i := range out {
		out[i] = rng.Float32() - 0.5
	}
	return out
}

// String is a row of the table.
func (k Kernel) String() string {
	shape := strings.Trim(strings.ReplaceAll(fmt.Sprint(k.Shape), " ", " × "), "[]")
	head := fmt.Sprintf("%-18s %-5s %20s   %d threads   %8.3f ms", k.Name, k.Dtype, shape, k.Threads, 1000*k.Spread.Median)
	if k.Against == "memory" {
		return fmt.Sprintf("%s   %7.1f GB/s      %5.1f %% of memory", head, k.Bytes/1e9, 100*k.Share)
	}
	return fmt.Sprintf("%s   %7.1f GFLOP/s   %5.1f %% of %s peak", head, k.FLOPS/1e9, 100*k.Share, k.Against)
}
