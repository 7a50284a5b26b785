package kernel

import (
	"fmt"
	"testing"
)

// benchmarkAttention runs f for problems of 2048 rows and reports GFLOP/s, counting so many operations for each query, key that it sees, head, and value
// of the head.
func benchmarkAttention(b *testing.B, flops float64, f func(c *CPU, d *attentionData)) {
	problems := []attentionCase{
		{"1x2048", Heads{9, 3, 64}, causal(2048)},
		{"4x512", Heads{9, 3, 64}, causal(512, 512, 512, 512)},
		{"16x128", Heads{9, 3, 64}, causal(128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128)},
		{"shared", Heads{9, 3, 64}, sparse(3, 2048)},
	}
	for _, level := range Levels() {
		if level == Generic {
			continue
		}
		for _, workers := range []int{1, 2} {
			c := attentionCPU(b, level, workers)
			for _, p := range problems {
				b.Run(fmt.Sprintf("%s/%s/workers=%d", level, p.name, workers), func(b *testing.B) {
					d := newAttentionData(p, 0, 1)
					d.run(c)
					pairs := 0
					for i := range p.span.Lo {
						pairs += int(p.span.Hi[i] - p.span.Lo[i])
					}
					b.ResetTimer()
					for range b.N {
						f(c, d)
					}
					b.ReportMetric(flops*float64(pairs*p.a.H*p.a.E)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
				})
			}
		}
	}
}

func BenchmarkAttention(b *testing.B) {
	benchmarkAttention(b, 4, func(c *CPU, d *attentionData) {
		c.Attention(d.o, d.lse, d.q, d.k, d.v, d.qs, d.kvs, d.a, d.span)
	})
}

func BenchmarkAttentionBackward(b *testing.B) {
	benchmarkAttention(b, 10, func(c *CPU, d *attentionData) {
		c.AttentionBackward(d.dq, d.dk, d.dv, d.do, d.o, d.lse, d.q, d.k, d.v, d.dqs, d.dkvs, d.qs, d.kvs, d.a, d.span)
	})
}

func BenchmarkAttentionBF16(b *testing.B) {
	benchmarkAttention(b, 4, func(c *CPU, d *attentionData) {
		c.AttentionBF16(d.o, d.lse, d.q, d.k, d.v, d.qs, d.kvs, d.a, d.span)
	})
}

func BenchmarkAttentionBackwardBF16(b *testing.B) {
	benchmarkAttention(b, 10, func(c *CPU, d *attentionData) {
		c.AttentionBackwardBF16(d.dq, d.dk, d.dv, d.do, d.o, d.lse, d.q, d.k, d.v, d.dqs, d.dkvs, d.qs, d.kvs, d.a, d.span)
	})
}

// BenchmarkAttentionDecode reports the bandwidth at which one row of every head reads a long cache.
func BenchmarkAttentionDecode(b *testing.B) {
	for _, level := range Levels() {
		c := attentionCPU(b, level, 1)
		for _, rows := range []int{1, 4} {
			b.Run(fmt.Sprintf("%s/rows=%d", level, rows), func(b *testing.B) {
				const keys = 8192
				var span Range
				for i := range rows {
					span.Lo, span.Hi = append(span.Lo, 0), append(span.Hi, int32(keys-rows+i+1))
				}
				d := newAttentionData(attentionCase{"", Heads{9, 3, 64}, span}, 0, 1)
				b.ResetTimer()
				for range b.N {
					c.Attention(d.o, d.lse, d.q, d.k, d.v, d.qs, d.kvs, d.a, d.span)
				}
				b.ReportMetric(float64(2*4*keys*d.a.K*d.a.E)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GB/s")
			})
		}
	}
}
