package bench

import (
	"fmt"
	"math/rand/v2"

	"mor/internal/kernel"
	"mor/internal/memory"
	"mor/internal/model"
)

// Product is one matrix product, measured.
type Product struct {
	Name    string  `json:"name"` // linear, dx or dw
	Dtype   string  `json:"dtype"`
	Shape   [3]int  `json:"shape"`
	Threads int     `json:"threads"`
	Spread  Spread  `json:"time"`
	FLOPS   float64 `json:"flops"`         // per second, of the median
	Share   float64 `json:"share_of_peak"` // median of the ratios to the peak measured beside each repetition
}

// Shapes are rows, in and out of the products that are measured by default: the FFN of the 135M model first.
var Shapes = [][3]int{{2048, 576, 1536}, {2048, 1536, 576}, {2048, 576, 960}, {2048, 576, 3072}, {2048, 192, 1024}, {256, 576, 49152}}

// Products measures the three products of each shape with each number of threads, those of bfloat16 with weights laid out ahead. Each repetition measures the peak again beside
// the product, because other load comes and goes.
func Products(level kernel.Level, threads []int, shapes [][3]int, repetitions int, dtype model.Dtype, each func(Product)) error {
	for _, n := range threads {
		cpu, err := kernel.New(level, n)
		if err != nil {
			return err
		}
		for _, s := range shapes {
			for _, p := range []string{"linear", "dx", "dw"} {
				each(product(cpu, p, s, repetitions, dtype))
			}
		}
		cpu.Close()
	}
	return nil
}

func product(cpu *kernel.CPU, name string, s [3]int, repetitions int, dtype model.Dtype) Product {
	n, in, out := s[0], s[1], s[2]
	x, w, y := values(n*in), values(in*out), values(n*out)
	run := map[string]func(){
		"linear": func() { cpu.Linear(y, x, w, n, in, out, false) },
		"dx":     func() { cpu.LinearBackwardInput(x, y, w, n, in, out, false) },
		"dw":     func() { cpu.LinearBackwardWeight(w, y, x, n, in, out) },
	}[name]
	if dtype == model.BF16 && cpu.HasBF16() {
		forward, backward := cpu.PackBF16(nil, w, in, out), cpu.PackTransposedBF16(nil, w, in, out)
		run = map[string]func(){
			"linear": func() { cpu.LinearBF16(y, x, forward, n, false) },
			"dx":     func() { cpu.LinearBackwardInputBF16(x, y, backward, n, false) },
			"dw":     func() { cpu.LinearBackwardWeightBF16(w, y, x, n, in, out) },
		}[name]
	}
	work := 2 * float64(n) * float64(in) * float64(out)
	run()
	var times, shares []float64
	for range repetitions {
		peak := peakOf(cpu, dtype)
		t := min(elapsed(run), elapsed(run), elapsed(run)) // what the product can do while the peak is what it is
		times, shares = append(times, t), append(shares, work/t/peak)
		clear(w)
	}
	sp := spread(times)
	return Product{name, dtype.String(), s, cpu.Pool().Workers(), sp, work / sp.Median, spread(shares).Median}
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
func (p Product) String() string {
	return fmt.Sprintf("%-7s %5d × %5d × %5d   %d threads   %8.2f ms   %7.1f GFLOP/s   %5.1f %% of peak", p.Name, p.Shape[0], p.Shape[1], p.Shape[2],
		p.Threads, 1000*p.Spread.Median, p.FLOPS/1e9, 100*p.Share)
}
