package uptrain

import (
	"math"
	"math/rand/v2"
	"testing"
)

// product is Σ value·left·rightᵀ as a matrix [m,n].
func (l *lowRank) product(m, n int) []float64 {
	out := make([]float64, m*n)
	for p, s := range l.value {
		for i, u := range l.left[p] {
			axpy(out[i*n:(i+1)*n], s*u, l.right[p])
		}
	}
	return out
}

func distance(a []float32, b []float64) float64 {
	sum := 0.0
	for i, v := range a {
		sum += (float64(v) - b[i]) * (float64(v) - b[i])
	}
	return math.Sqrt(sum)
}

// TestTruncate checks the decomposition against what defines it: orthonormal factors, descending values, and an error no larger than that of the values
// left out (Eckart–Young), for every way of computing it.
func TestTruncate(t *testing.T) {
	cpu := testCPU(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct{ m, n, rank int }{
		{5, 9, 3}, {9, 5, 3}, {7, 7, 7}, {4, 6, 10}, {1, 8, 2}, {8, 1, 1}, // decomposed whole
		{70, 90, 70}, {90, 70, 66}, // near the full rank
		{120, 80, 5}, {80, 120, 16}, {65, 65, 1}, // by projection
	} {
		d := make([]float32, c.m*c.n)
		for i := range d {
			d[i] = float32(rng.NormFloat64() * math.Exp(-float64(i%c.n)/8)) // a spectrum that falls off
		}
		got, all := truncate(cpu, d, c.m, c.n, c.rank, "x"), truncate(cpu, d, c.m, c.n, max(c.m, c.n), "x")
		tail := 0.0
		for _, s := range all.value[min(c.rank, len(all.value)):] {
			tail += s * s
		}
		norm := distance(d, make([]float64, len(d)))
		if e := distance(d, got.product(c.m, c.n)); e > 1.001*math.Sqrt(tail)+1e-6*norm {
			t.Errorf("%v: error %g, the best is %g", c, e, math.Sqrt(tail))
		}
		for i, s := range got.value {
			if i > 0 && s > got.value[i-1]*(1+1e-12) {
				t.Errorf("%v: value %d is %g behind %g", c, i, s, got.value[i-1])
			}
			for j := range i + 1 {
				want := 0.0
				if i == j && s > 0 {
					want = 1
				}
				if u, v := dot(got.left[i], got.left[j]), dot(got.right[i], got.right[j]); math.Abs(u-want) > 1e-5 || math.Abs(v-want) > 1e-5 {
					t.Errorf("%v: directions %d and %d: products %g and %g, want %g", c, i, j, u, v, want)
				}
			}
		}
	}
}

// TestTruncateDegenerate meets matrices with fewer directions than asked for.
func TestTruncateDegenerate(t *testing.T) {
	cpu := testCPU(t)
	const m, n = 90, 80
	zero, one := make([]float32, m*n), make([]float32, m*n)
	for i := range m {
		for j := range n {
			one[i*n+j] = float32((i - 40) * (j + 1))
		}
	}
	if l := truncate(cpu, zero, m, n, 4, "zero"); l.value[0] != 0 || dot(l.left[0], l.left[0]) != 0 {
		t.Errorf("of zero: %v", l.value)
	}
	l := truncate(cpu, one, m, n, 4, "one")
	if e, norm := distance(one, l.product(m, n)), distance(one, make([]float64, m*n)); e > 1e-5*norm || l.value[1] > 1e-5*norm {
		t.Errorf("of rank 1: error %g of %g, values %v", e, norm, l.value)
	}
}
