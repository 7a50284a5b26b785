package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkLinear reports GFLOP/s and the share of the FMA peak measured in the same process.
func BenchmarkLinear(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, level := range Levels()[1:] {
		for _, workers := range []int{1, 2} {
			c := mustCPU(b, level, workers)
			peak := c.Peak()
			for _, s := range [][3]int{{2048, 576, 1536}, {2048, 1536, 576}, {2048, 576, 960}, {2048, 256, 1408}, {4096, 256, 512}, {256, 576, 49152}, {1, 576, 1536}} {
				n, in, out := s[0], s[1], s[2]
				for _, f := range forms {
					b.Run(fmt.Sprintf("%s/%d/%s/%dx%dx%d", level, workers, f.name, n, in, out), func(b *testing.B) {
						x, w, dst := random(rng, f.a(n, in, out)), random(rng, f.b(n, in, out)), make([]float32, f.dst(n, in, out))
						for b.Loop() {
							f.run(c, dst, x, w, n, in, out, true)
						}
						rate := 2 * float64(n) * float64(in) * float64(out) * float64(b.N) / b.Elapsed().Seconds()
						b.ReportMetric(rate/1e9, "GFLOP/s")
						b.ReportMetric(100*rate/peak, "%peak")
					})
				}
			}
		}
	}
}
