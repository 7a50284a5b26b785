package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"mor/internal/memory"
)

// BenchmarkProject multiplies rows with a set of matrices that no cache holds. MB/s counts the weights; op/s two for each multiply-add.
func BenchmarkProject(b *testing.B) {
	const in, out, copies = 768, 3072, 48
	levels := Levels()
	for _, workers := range []int{1, 2} {
		c := mustCPU(b, levels[len(levels)-1], workers)
		for _, q := range types {
			rng := rand.New(rand.NewPCG(1, 2))
			raw, _ := randomBlocks(rng, q, out, in)
			var arena memory.Arena
			ws := make([]*Matrix, copies)
			for i := range ws {
				if i == 0 {
					ws[0] = matrixOf(b, c, q, in, raw)
					continue
				}
				var err error
				if ws[i], err = c.NewMatrix(&arena, q, in, out); err != nil {
					b.Fatal(err)
				}
				if copy(ws[i].data, ws[0].data) == 0 {
					copy(ws[i].packed.panels, ws[0].packed.panels)
				}
			}
			for _, n := range []int{1, 8, 32, 512} {
				x, y := random(rng, n*in), make([]float32, n*out)
				b.Run(fmt.Sprintf("%s/rows=%d/workers=%d", q, n, workers), func(b *testing.B) {
					b.SetBytes(int64(ws[0].Size()))
					for i := range b.N {
						c.Project(y, x, ws[i%copies:i%copies+1], n, false)
					}
					b.ReportMetric(2*float64(n*in*out)*float64(b.N)/1e9/b.Elapsed().Seconds(), "Gop/s")
				})
			}
		}
	}
}
