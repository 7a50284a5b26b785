package optim

import (
	"math"
	"slices"
	"testing"

	"mor/internal/kernel"
)

// TestRoundBF16: a value becomes one of its two neighbours and is right on average; what is a bfloat16 already stays.
func TestRoundBF16(t *testing.T) {
	for _, x := range []float32{0, 1, -1, 1.001, -3.14159, 1e-30, 7.5e-41, 3.3e38, math.MaxFloat32} {
		const n = 1 << 16
		sum := 0.0
		for i := range n {
			y := math.Float32frombits(uint32(roundBF16(x, uint32(scramble(uint64(i)*rounds)))) << 16)
			if math.IsInf(float64(y), 0) || math.Abs(float64(y)-float64(x)) > math.Abs(float64(x))/128+1e-40 {
				t.Fatalf("%v became %v", x, y)
			}
			sum += float64(y) / n
		}
		if x != math.MaxFloat32 && math.Abs(sum-float64(x)) > math.Abs(float64(x))/128/64+2e-42 { // a 64th of the distance between neighbours
			t.Errorf("%v is %v on average", x, sum)
		}
	}
	for _, x := range []float32{0, 1, -1.5, 0x1p-120} {
		if y := math.Float32frombits(uint32(roundBF16(x, math.MaxUint32)) << 16); y != x {
			t.Errorf("%v became %v", x, y)
		}
	}
}

// TestBF16Moments: steps do not depend on workers, go on from saved moments as if they had not stopped, and stay near those of float32 moments.
func TestBF16Moments(t *testing.T) {
	const size, steps = 3*blockLen + 77, 40
	segments := []Segment{{0, 2*blockLen + 13, true, 1, 0}, {2*blockLen + 13, blockLen + 64, false, 1, 0}}
	run := func(bf16 bool, workers, stop int) []float32 {
		cpu, err := kernel.New(kernel.Levels()[len(kernel.Levels())-1], workers)
		if err != nil {
			t.Fatal(err)
		}
		defer cpu.Close()
		c := Config{Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, WeightDecay: 0.1, BF16: bf16, Seed: 5}
		a, err := NewAdamW(c, segments, size)
		if err != nil {
			t.Fatal(err)
		}
		p, g := make([]float32, size), make([]float32, size)
		for step := range steps {
			if step == stop {
				b, _ := NewAdamW(c, segments, size)
				copy(b.M16, a.M16)
				copy(b.V16, a.V16)
				b.Steps, a = a.Steps, b
			}
			for i := range g {
				g[i] = float32(math.Sin(float64(i+1)*0.37) + 0.5*math.Sin(float64(step*i)))
			}
			a.Update(cpu, p, g, []float64{1}, 0.01)
		}
		return p
	}
	want := run(true, 1, -1)
	for _, workers := range []int{2, 5, 128} {
		if !slices.Equal(run(true, workers, -1), want) {
			t.Errorf("%d workers: another result than with one", workers)
		}
	}
	if !slices.Equal(run(true, 2, 17), want) {
		t.Error("another result behind a stop")
	}
	worst, exact := 0.0, run(false, 2, -1)
	for i := range want {
		worst = max(worst, math.Abs(float64(want[i]-exact[i])))
	}
	if worst == 0 || worst > 0.1*0.01*steps {
		t.Errorf("parameters are up to %v from those of float32 moments, which moved by %v", worst, 0.01*steps)
	}
}
