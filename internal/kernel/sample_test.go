package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestDrawShares: near the definition at every level and length, exactly 1 for the best, 0 for what is impossible.
func TestDrawShares(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, level := range Levels() {
		for _, n := range []int{1, 7, 16, 31, 64, 1000} {
			for _, scale := range []float32{0.01, 1, 1.25, 1e30} {
				x := make([]float32, n)
				for i := range x {
					x[i] = float32(rng.NormFloat64() * 4)
				}
				best := rng.IntN(n)
				x[best] = 20
				if n > 1 {
					x[(best+1)%n] = float32(math.Inf(-1))
				}
				got, want := make([]float32, n+1), make([]float32, n)
				sum, wantSum := level.shares(got[:n], x, 20, scale), sharesGeneric(want, x, 20, scale)
				if math.Abs(sum-wantSum) > 1e-6*wantSum || got[best] != 1 || n > 1 && got[(best+1)%n] != 0 || got[n] != 0 {
					t.Errorf("%s, %d values, scale %v: the sum is %v, expected %v", level, n, scale, sum, wantSum)
				}
				for i := range want {
					if math.Abs(float64(got[i]-want[i])) > 1e-6*float64(want[i])+1e-40 {
						t.Errorf("%s, %d values, scale %v: share %d is %v, expected %v", level, n, scale, i, got[i], want[i])
					}
				}
			}
		}
	}
}

// TestTop: the largest number wherever it stands, and whether one is none, at every level and length.
func TestTop(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	inf := float32(math.Inf(1))
	for _, level := range Levels() {
		c, err := New(level, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for n := 1; n < 100; n++ {
			x := make([]float32, n)
			for i := range x {
				x[i] = -5 - rng.Float32()
				if rng.IntN(3) == 0 {
					x[i] = -inf
				}
			}
			for _, v := range []float32{-3, 0, 1e-40, 7, inf} {
				at := rng.IntN(n)
				old := x[at]
				x[at] = v
				if top, numbers := c.Top(x); top != v || !numbers {
					t.Errorf("%s: %v at %d of %d: %v, %v", level, v, at, n, top, numbers)
				}
				x[at] = math.Float32frombits(0xffc00000 | rng.Uint32N(2)<<31)
				if _, numbers := c.Top(x); numbers {
					t.Errorf("%s: a NaN at %d of %d was not seen", level, at, n)
				}
				x[at] = old
			}
			for i := range x {
				x[i] = -inf
			}
			if top, numbers := c.Top(x); top != -inf || !numbers {
				t.Errorf("%s: of %d times −∞: %v, %v", level, n, top, numbers)
			}
		}
	}
}
