package kernel_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"mor/internal/kernel"
)

// TestAttentionPagedIsAttention: over pages of any size, in any order, whatever rows are computed together, with one worker or two, the bits are those of
// Attention over the same entries; in the formats of fewer bits they are near.
func TestAttentionPagedIsAttention(t *testing.T) {
	shapes := []kernel.Heads{{H: 9, K: 3, E: 64}, {H: 4, K: 2, E: 8}, {H: 2, K: 1, E: 20}, {H: 8, K: 8, E: 16}, {H: 8, K: 2, E: 32}, {H: 7, K: 1, E: 48}, {H: 4, K: 2, E: 96}}
	for _, level := range kernel.Levels() {
		for _, a := range shapes {
			for _, size := range []int{1, 5, 16, 48, 100} {
				t.Run(fmt.Sprintf("%s/%v/%d", level, a, size), func(t *testing.T) {
					rng := rand.New(rand.NewPCG(uint64(a.H), uint64(size)))
					cpu, one := newCPU(t, level, 2), newCPU(t, level, 1)
					qs := (a.H + 2*a.K) * a.E
					draw := func(n int) []float32 {
						x := make([]float32, n)
						for i := range x {
							x[i] = float32(rng.NormFloat64())
						}
						return x
					}
					var rows []kernel.PagedRows
					var keys []int32
					var q, want []float32
					pages := map[kernel.PageFormat]*kernel.Pages{}
					for _, f := range kernel.PageFormats() {
						pages[f] = cpu.NewPages(600, size, f, a)
					}
					free := rng.Perm(600)
					for _, s := range [][2]int{{1, 1}, {1, 49}, {7, 130}, {1, 96}, {2, 77}, {40, 40}, {3, 60}} {
						n, total := s[0], s[1]
						k, v, query := draw(total*a.K*a.E), draw(total*a.K*a.E), draw(n*qs)
						r := kernel.PagedRows{Row: len(keys), Rows: n}
						for at := range total {
							if at%size == 0 {
								r.Table, free = append(r.Table, int32(free[0])), free[1:]
							}
							for _, p := range pages {
								w := a.K * a.E
								p.Put(r.Table[at/size], at%size, k[at*w:], v[at*w:])
							}
						}
						span := kernel.Range{Lo: make([]int32, n)}
						for i := range n {
							span.Hi = append(span.Hi, int32(total-n+i+1))
						}
						o, lse := make([]float32, n*a.H*a.E), make([]float32, n*a.H)
						cpu.Attention(o, lse, query, k, v, qs, a.K*a.E, a, span)
						rows, keys, q, want = append(rows, r), append(keys, span.Hi...), append(q, query...), append(want, o...)
					}
					got := make([]float32, len(want))
					for _, c := range []*kernel.CPU{cpu, one} {
						clear(got)
						c.AttentionPaged(got, q, qs, pages[kernel.PageFP32], rows, keys)
						if !slices.Equal(got, want) {
							t.Errorf("%d workers: the bits differ", c.Pool().Workers())
						}
					}
					for f, limit := range map[kernel.PageFormat]float64{kernel.PageBF16: 0.03, kernel.PageInt8: 0.06} {
						cpu.AttentionPaged(got, q, qs, pages[f], rows, keys)
						for i, v := range got {
							if d := math.Abs(float64(v - want[i])); !(d < limit) {
								t.Fatalf("%s: value %d is %v, want %v", f, i, v, want[i])
							}
						}
					}
				})
			}
		}
	}
}

func newCPU(t testing.TB, level kernel.Level, workers int) *kernel.CPU {
	cpu, err := kernel.New(level, workers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cpu.Close)
	return cpu
}
