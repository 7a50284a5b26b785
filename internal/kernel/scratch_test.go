package kernel

import (
	"fmt"
	"testing"
)

// TestScratch: products lay out what is predicted, or a little less.
func TestScratch(t *testing.T) {
	for _, level := range Levels() {
		c := mustCPU(t, level, 2)
		for _, s := range []Shape{{512, 96, 256}, {2048, 192, 1024}, {100, 1500, 40}, {64, 96, 30000}, {1, 64, 64}} {
			for _, bf16 := range []bool{false, true} {
				if bf16 && !c.HasBF16() {
					continue
				}
				t.Run(fmt.Sprint(level, s, bf16), func(t *testing.T) {
					c.task.packed, c.task.packedA, c.task.copied = nil, nil, nil
					x, w, y := make([]float32, s.N*s.In), make([]float32, s.In*s.Out), make([]float32, s.N*s.Out)
					packed, packedA := 0, 0
					forward := func() { c.Linear(y, x, w, s.N, s.In, s.Out, false) }
					input := func() { c.LinearBackwardInput(x, y, w, s.N, s.In, s.Out, false) }
					weight := func() { c.LinearBackwardWeight(w, y, x, s.N, s.In, s.Out) }
					if bf16 {
						p, q := c.PackBF16(nil, w, s.In, s.Out), c.PackTransposedBF16(nil, w, s.In, s.Out)
						forward = func() { c.LinearBF16(y, x, p, s.N, false) }
						input = func() { c.LinearBackwardInputBF16(x, y, q, s.N, false) }
						weight = func() { c.LinearBackwardWeightBF16(w, y, x, s.N, s.In, s.Out) }
					}
					for _, run := range []func(){forward, input, weight} {
						run()
						packed, packedA = max(packed, len(c.task.packed)), max(packedA, len(c.task.packedA))
					}
					got, copies := 4*int64(packed+packedA), 4*int64(c.pool.Workers()*c.level.tall()*(blockK+align))
					if want := c.Scratch(bf16, s); level == Generic && got != want || level != Generic && (got+copies > want || got+copies < want*9/10) {
						t.Errorf("%d and %d values, expected %d bytes", packed, packedA, want)
					}
				})
			}
		}
	}
}

// TestAttentionScratch: attention takes what is predicted, for sequences of one part and of several.
func TestAttentionScratch(t *testing.T) {
	a := Heads{6, 2, 16}
	for _, level := range Levels()[1:] {
		for _, lengths := range [][]int{{600}, {400, 400, 400}, {40, 40}} {
			c := mustCPU(t, level, 2)
			span := causal(lengths...)
			n := len(span.Lo)
			q, kv, o, lse, dq, dkv := make([]float32, n*a.H*a.E), make([]float32, n*a.K*a.E), make([]float32, n*a.H*a.E), make([]float32, n*a.H), make([]float32, n*a.H*a.E), make([]float32, n*a.K*a.E)
			c.Attention(o, lse, q, kv, kv, a.H*a.E, a.K*a.E, a, span)
			c.AttentionBackward(dq, dkv, dkv, o, o, lse, q, kv, kv, a.H*a.E, a.K*a.E, a.H*a.E, a.K*a.E, a, span)
			b := &c.task.attn
			got := 4 * int64(len(b.partial)+len(b.workers)*scratchValues(b.workers[0].pad))
			if want := c.AttentionScratch(false, len(lengths), lengths[0], a); got != want {
				t.Errorf("%s %v: %d bytes, expected %d", level, lengths, got, want)
			}
			c.AttentionBF16(o, lse, q, kv, kv, a.H*a.E, a.K*a.E, a, span)
			c.AttentionBackwardBF16(dq, dkv, dkv, o, o, lse, q, kv, kv, a.H*a.E, a.K*a.E, a.H*a.E, a.K*a.E, a, span)
			h := &b.bf16
			got += 4 * int64(len(h.k)+len(h.v)+len(h.kPairs)+len(h.vPairs)+len(h.workers)*bf16ScratchValues(h.pad))
			if want := c.AttentionScratch(true, len(lengths), lengths[0], a); got != want {
				t.Errorf("%s %v in bf16: %d bytes, expected %d", level, lengths, got, want)
			}
		}
	}
}
