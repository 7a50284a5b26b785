package kernel

import (
	"fmt"
	"testing"
)

// BenchmarkAttentionPaged is one token that attends to so many keys, again and again in one layer, whose keys stay in the caches, and in many layers in turn,
// whose keys do not.
func BenchmarkAttentionPaged(b *testing.B) {
	const size, most = 16, 1024
	a := Heads{9, 3, 64}
	levels := Levels()
	for _, workers := range []int{1, 2} {
		c := attentionCPU(b, levels[len(levels)-1], workers)
		for _, layers := range []int{1, 100} {
			pages := c.NewPages(layers*most/size, size, PageFP32, a)
			row := make([]float32, a.K*a.E)
			for p := range int32(layers * most / size) {
				for i := range size {
					pages.Put(p, i, row, row)
				}
			}
			for _, keys := range []int{48, 1024} {
				b.Run(fmt.Sprintf("keys=%d/layers=%d/workers=%d", keys, layers, workers), func(b *testing.B) {
					q, o, table := make([]float32, a.H*a.E), make([]float32, a.H*a.E), make([]int32, most/size)
					for i := range b.N {
						for j := range table {
							table[j] = int32(j*layers + i%layers)
						}
						c.AttentionPaged(o, q, a.H*a.E, pages, []PagedRows{{0, 1, table}}, []int32{int32(keys)})
					}
				})
			}
		}
	}
}
