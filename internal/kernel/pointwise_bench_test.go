package kernel

import (
	"fmt"
	"testing"
)

// BenchmarkPointwise reports GB/s, counting each operand once for a read and once for a write.
func BenchmarkPointwise(b *testing.B) {
	const n, d, f, v = 2048, 576, 1536, 49152
	x, y, z, gu, logits := make([]float32, n*2*f), make([]float32, n*2*f), make([]float32, n*2*f), make([]float32, n*2*f), make([]float32, 64*v)
	w, dw, rstd, g, table := make([]float32, d), make([]float32, d), make([]float32, n), make([]float32, n), make([]float32, n*64)
	rows := make([]int32, n)
	for i := range rows {
		rows[i] = int32(i)
	}
	for i := range gu {
		gu[i], x[i] = float32(i%17)/4-2, float32(i%13)/4-1
	}
	adam := &AdamW{0.5, 0.999, 0.95, 0.1, 0.05, 3, 1e-8, 0}
	kernels := []struct {
		name   string
		floats int
		run    func(c *CPU)
	}{
		{"RMSNorm", 2 * n * d, func(c *CPU) { c.RMSNorm(y, rstd, x, w, n, d, 1e-5) }},
		{"RMSNormBackward", 4 * n * d, func(c *CPU) { c.RMSNormBackward(z, dw, nil, y, x, w, rstd, n, d) }},
		{"RoPE", 2 * n * 12 * 64, func(c *CPU) { c.RoPE(x, table, rows, 12, 64, 15*64, false) }},
		{"SwiGLU", 3 * n * f, func(c *CPU) { c.SwiGLU(y, gu, n, f) }},
		{"SwiGLUBackward", 6 * n * f, func(c *CPU) { c.SwiGLUBackward(z, y, y, gu, n, f) }},
		{"CrossEntropy", 2 * 64 * v, func(c *CPU) { c.CrossEntropy(rstd, logits, rows[:64], v, 1) }},
		{"Add", 3 * n * d, func(c *CPU) { c.Add(y[:n*d], x) }},
		{"GatherRows", 2 * n * d, func(c *CPU) { c.GatherRows(y, x, rows, d) }},
		{"ScatterAddScaled", 3 * n * d, func(c *CPU) { c.ScatterAddScaled(y, x, g, rows, d) }},
		{"DotRows", 2 * n * d, func(c *CPU) { c.DotRows(rstd, x, y, n, d) }},
		{"MulVecBackwardWeight", 2 * n * d, func(c *CPU) { c.MulVecBackwardWeight(dw, y, x, n, d) }},
		{"EmbedBackward", 3 * n * d, func(c *CPU) { c.EmbedBackward(z, y, rows, d) }},
		{"AdamW", 7 * n * f, func(c *CPU) { adam.Update(c.Level(), x[:n*f], y[:n*f], z[:n*f], gu) }},
		{"SumSquares", 2 * n * f, func(c *CPU) { SumSquares(c.Level(), x) }},
	}
	for _, k := range kernels {
		for _, level := range Levels() {
			c := pointwiseCPU(b, level, 1)
			b.Run(fmt.Sprint(k.name, "/", level), func(b *testing.B) {
				b.SetBytes(int64(4 * k.floats))
				for range b.N {
					k.run(c)
				}
			})
		}
	}
}
