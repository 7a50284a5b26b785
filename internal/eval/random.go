package eval

import (
	"math/bits"

	"gonum.org/v1/gonum/mathext/prng"
)

// pythonRandom draws what random.Random of CPython draws, with which the harness picks few-shot examples and resamples for standard errors.
type pythonRandom struct{ mt *prng.MT19937 }

func newPythonRandom(seed uint32) *pythonRandom {
	r := &pythonRandom{prng.NewMT19937()}
	r.mt.SeedFromKeys([]uint32{seed})
	return r
}

// float is uniform in [0,1), of 53 bits.
func (r *pythonRandom) float() float64 {
	a, b := r.mt.Uint32()>>5, r.mt.Uint32()>>6
	return (float64(a)*(1<<26) + float64(b)) / (1 << 53)
}

// below is uniform in [0,n), n at least 1.
func (r *pythonRandom) below(n int) int {
	shift := 32 - bits.Len(uint(n))
	for {
		if v := int(r.mt.Uint32() >> shift); v < n {
			return v
		}
	}
}

// sample draws k of [0,n) without replacement: by moving the last into the place of the drawn, or where k is small against n by drawing again.
func (r *pythonRandom) sample(n, k int) []int {
	out := make([]int, k)
	if n <= sampleListed(k) {
		pool := make([]int, n)
		for i := range pool {
			pool[i] = i
		}
		for i := range out {
			j := r.below(n - i)
			out[i], pool[j] = pool[j], pool[n-i-1]
		}
		return out
	}
	drawn := map[int]bool{}
	for i := range out {
		j := r.below(n)
		for drawn[j] {
			j = r.below(n)
		}
		drawn[j], out[i] = true, j
	}
	return out
}

// sampleListed is the largest n for which CPython lists all candidates: 21, and the next power of 4 above 3k where k passes 5.
func sampleListed(k int) int {
	size := 21
	if k > 5 {
		power := 1
		for power < 3*k {
			power *= 4
		}
		size += power
	}
	return size
}
