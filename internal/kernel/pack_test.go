package kernel

import (
	"math/rand/v2"
	"testing"
)

// TestPackTransposed: a panel holds the columns of what it packs, whatever its size, and what lies beside them stays.
func TestPackTransposed(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 1))
	for _, level := range Levels()[1:] {
		w := level.panel()
		for _, s := range [][2]int{{1, 1}, {w, 16}, {w, 48}, {w - 1, 33}, {w/2 + 3, 7}, {w, 8}, {w / 2, 31}} {
			cols, k := s[0], s[1]
			ld := k + 3
			src, dst := random(rng, cols*ld), make([]float32, k*w)
			level.packTransposed(dst, src, ld, w, cols, k)
			for i, got := range dst {
				p, j, want := i/w, i%w, float32(0)
				if j < cols {
					want = src[j*ld+p]
				}
				if got != want {
					t.Fatalf("%s, %d columns of %d: %v at (%d, %d), want %v", level, cols, k, got, p, j, want)
				}
			}
		}
	}
}
