package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func random(rng *rand.Rand, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(rng.NormFloat64())
	}
	return out
}

func mustCPU(t testing.TB, level Level, workers int) *CPU {
	c, err := New(level, workers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// form is one of the three products, with the shapes of its result and operands for n rows, in and out.
type form struct {
	name string
	run  func(c *CPU, dst, a, b []float32, n, in, out int, acc bool)
	dst  func(n, in, out int) int
	a, b func(n, in, out int) int
	// term is the p-th factor pair of element e of the result, and terms how many there are.
	term  func(a, b []float32, e, p, n, in, out int) (float32, float32)
	terms func(n, in, out int) int
}

var forms = []form{
	{"Linear", func(c *CPU, y, x, w []float32, n, in, out int, acc bool) { c.Linear(y, x, w, n, in, out, acc) },
		func(n, in, out int) int { return n * out }, func(n, in, out int) int { return n * in }, func(n, in, out int) int { return out * in },
		func(x, w []float32, e, p, n, in, out int) (float32, float32) { return x[e/out*in+p], w[e%out*in+p] },
		func(n, in, out int) int { return in }},
	{"LinearBackwardInput", func(c *CPU, dx, dy, w []float32, n, in, out int, acc bool) {
		c.LinearBackwardInput(dx, dy, w, n, in, out, acc)
	},
		func(n, in, out int) int { return n * in }, func(n, in, out int) int { return n * out }, func(n, in, out int) int { return out * in },
		func(dy, w []float32, e, p, n, in, out int) (float32, float32) { return dy[e/in*out+p], w[p*in+e%in] },
		func(n, in, out int) int { return out }},
	{"LinearBackwardWeight", func(c *CPU, dw, dy, x []float32, n, in, out int, acc bool) {
		if !acc {
			clear(dw)
		}
		c.LinearBackwardWeight(dw, dy, x, n, in, out)
	},
		func(n, in, out int) int { return out * in }, func(n, in, out int) int { return n * out }, func(n, in, out int) int { return n * in },
		func(dy, x []float32, e, p, n, in, out int) (float32, float32) { return dy[p*out+e/in], x[p*in+e%in] },
		func(n, in, out int) int { return n }},
}

var shapes = [][3]int{{1, 1, 1}, {1, 7, 3}, {2, 16, 16}, {3, 31, 33}, {5, 8, 1}, {6, 64, 17}, {7, 300, 5}, {13, 33, 65}, {14, 32, 32}, {15, 9, 31},
	{23, 257, 40}, {29, 48, 515}, {113, 40, 70}, {130, 513, 31}, {17, 1200, 40}, {5, 40, 1250}, {1030, 37, 99}, {30, 2048, 33}, {9, 35, 1024}}

// TestLinear compares the products with float64 sums at every level.
func TestLinear(t *testing.T) {
	for _, level := range Levels() {
		c := mustCPU(t, level, 2)
		for _, f := range forms {
			for _, s := range shapes {
				for _, acc := range []bool{false, true} {
					t.Run(fmt.Sprint(level, "/", f.name, s, acc), func(t *testing.T) { checkForm(t, c, f, s[0], s[1], s[2], acc) })
				}
			}
		}
	}
}

func checkForm(t *testing.T, c *CPU, f form, n, in, out int, acc bool) {
	rng := rand.New(rand.NewPCG(uint64(n), uint64(in*1000+out)))
	a, b, start := random(rng, f.a(n, in, out)), random(rng, f.b(n, in, out)), random(rng, f.dst(n, in, out))
	const guard = 64 // values behind the result that must stay
	got := append(slices.Clone(start), make([]float32, guard)...)
	for i := range guard {
		got[len(start)+i] = 7
	}
	f.run(c, got[:len(start)], a, b, n, in, out, acc)
	for e, v := range got[:len(start)] {
		sum, size := 0.0, 1e-3
		if acc {
			sum = float64(start[e])
			size += math.Abs(sum)
		}
		for p := range f.terms(n, in, out) {
			x, y := f.term(a, b, e, p, n, in, out)
			sum += float64(x) * float64(y)
			size += math.Abs(float64(x) * float64(y))
		}
		if d := math.Abs(float64(v) - sum); !(d <= 2e-6*size) {
			t.Fatalf("element %d is %v, want %v", e, v, sum)
		}
	}
	for i, v := range got[len(start):] {
		if v != 7 {
			t.Fatalf("value %d behind the result was written", i)
		}
	}
}

// TestLinearBits: neither workers, nor other rows, nor packing ahead, nor calls in parts show in the result.
func TestLinearBits(t *testing.T) {
	for _, level := range Levels() {
		c := mustCPU(t, level, 1)
		rng := rand.New(rand.NewPCG(1, 2))
		n, in, out := 131, 300, 97
		x, w, dy := random(rng, n*in), random(rng, out*in), random(rng, n*out)
		y, dw, dx := make([]float32, n*out), random(rng, out*in), make([]float32, n*in)
		dwStart := slices.Clone(dw)
		c.Linear(y, x, w, n, in, out, false)
		c.LinearBackwardWeight(dw, dy, x, n, in, out)
		c.LinearBackwardInput(dx, dy, w, n, in, out, false)
		for _, workers := range []int{2, 3, 5, 128} {
			p := mustCPU(t, level, workers)
			y2, dw2, dx2 := make([]float32, n*out), slices.Clone(dwStart), make([]float32, n*in)
			p.Linear(y2, x, w, n, in, out, false)
			p.LinearBackwardWeight(dw2, dy, x, n, in, out)
			p.LinearBackwardInput(dx2, dy, w, n, in, out, false)
			if !slices.Equal(y, y2) || !slices.Equal(dw, dw2) || !slices.Equal(dx, dx2) {
				t.Errorf("%s: %d workers give other bits than one", level, workers)
			}
		}
		packed, transposed := c.Pack(nil, w, in, out), c.PackTransposed(nil, w, in, out)
		for _, part := range []int{1, 2, 3, 4, 9, 20} { // rows at once
			y2, dw2, dx2 := make([]float32, n*out), slices.Clone(dwStart), make([]float32, n*in)
			for i := 0; i < n; i += part {
				m := min(part, n-i)
				c.LinearPacked(y2[i*out:], x[i*in:], packed, m, false)
				c.LinearBackwardInputPacked(dx2[i*in:], dy[i*out:], transposed, m, false)
				c.LinearBackwardWeight(dw2, dy[i*out:], x[i*in:], m, in, out)
			}
			if !slices.Equal(y, y2) || !slices.Equal(dw, dw2) || !slices.Equal(dx, dx2) {
				t.Errorf("%s: %d rows at a time give other bits than all", level, part)
			}
		}
	}
}

// TestLevelsAgree: the vector levels compute the same chains, so the same bits.
func TestLevelsAgree(t *testing.T) {
	if !Has(AVX512) {
		t.Skip("this CPU lacks avx512")
	}
	rng := rand.New(rand.NewPCG(3, 4))
	n, in, out := 37, 290, 71
	x, w := random(rng, n*in), random(rng, out*in)
	a, b := make([]float32, n*out), make([]float32, n*out)
	mustCPU(t, AVX2, 1).Linear(a, x, w, n, in, out, false)
	mustCPU(t, AVX512, 1).Linear(b, x, w, n, in, out, false)
	if !slices.Equal(a, b) {
		t.Error("avx2 and avx512 differ")
	}
}

func TestLinearDoesNotAllocate(t *testing.T) {
	for _, level := range Levels() {
		c := mustCPU(t, level, 2)
		x, w, y := make([]float32, 40*70), make([]float32, 70*50), make([]float32, 40*50)
		step := func() {
			c.Linear(y, x, w, 40, 70, 50, false)
			c.LinearBackwardInput(x, y, w, 40, 70, 50, true)
			c.LinearBackwardWeight(w, y, x, 40, 70, 50)
		}
		step()
		if a := testing.AllocsPerRun(10, step); a != 0 {
			t.Errorf("%s: %v allocations", level, a)
		}
	}
}

func FuzzLinear(f *testing.F) {
	f.Add(uint8(3), uint16(31), uint16(33), true)
	f.Fuzz(func(t *testing.T, n uint8, in, out uint16, acc bool) {
		for _, level := range Levels() {
			c := mustCPU(t, level, 2)
			for _, form := range forms {
				checkForm(t, c, form, int(n%40)+1, int(in%400)+1, int(out%100)+1, acc)
			}
		}
	})
}

// TestLinearInParts: a matrix too large to be packed at once gives the same bits as its halves.
func TestLinearInParts(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	const n, in, out = 3, 40, partN / 40 * 3 / 2
	x, w, dy := random(rng, n*in), random(rng, out*in), random(rng, n*out)
	for _, level := range Levels() {
		c := mustCPU(t, level, 2)
		y, half := make([]float32, n*out), make([]float32, n*out/2)
		c.Linear(y, x, w, n, in, out, false)
		dx, dx2 := make([]float32, n*in), make([]float32, n*in)
		c.LinearBackwardInput(dx, dy, w, n, in, out, false)
		part := make([]float32, n*out/2) // half of the columns of dy
		for h := range 2 {
			c.Linear(half, x, w[h*out/2*in:], n, in, out/2, false)
			for i := range n {
				at := i*out + h*out/2
				if !slices.Equal(y[at:at+out/2], half[i*out/2:(i+1)*out/2]) {
					t.Errorf("%s: row %d differs", level, i)
				}
				copy(part[i*out/2:(i+1)*out/2], dy[at:])
			}
			c.LinearBackwardInput(dx2, part, w[h*out/2*in:], n, in, out/2, h > 0)
		}
		if !slices.Equal(dx, dx2) {
			t.Errorf("%s: the gradient of the input differs", level)
		}
	}
}

// TestTaskHeight: tasks are whole tiles of at most tall rows, and few rows are shared out to all workers.
func TestTaskHeight(t *testing.T) {
	for _, l := range Levels()[1:] {
		for _, m := range []int{1, 33, 512, 576, 960, 2048, 3072} {
			for _, across := range []int{1, 2, 3, 6} {
				for _, workers := range []int{1, 2, 3, 64} {
					if h := l.taskHeight(m, across, workers); h < 1 || h > l.tall() || h%l.tallest() != 0 {
						t.Errorf("%s: %d rows, %d across, %d workers: %d", l, m, across, workers, h)
					}
				}
			}
		}
		if h := l.taskHeight(6*l.tall()/8*6, 1, 2); h != l.tall()/8*6 {
			t.Errorf("%s: 2 workers would be done soonest with three quarters of the tallest task, not with %d rows", l, h)
		}
	}
}
