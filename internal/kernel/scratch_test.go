package kernel

import (
	"fmt"
	"testing"
)

// TestScratch: products lay out what is predicted.
func TestScratch(t *testing.T) {
	for _, level := range Levels() {
		for _, s := range []Shape{{512, 96, 256}, {2048, 192, 1024}, {4096, 40, 1100}, {100, 1500, 40}, {64, 96, 30000}, {1, 64, 64}} {
			for _, o := range []Operands{FloatOperands, RoundedOperands, RowOperands} {
				c := mustCPU(t, level, 2)
				if o != FloatOperands && !c.HasBF16() || level == Generic && s.N*s.In*s.Out > 1<<24 { // plain Go would take seconds
					continue
				}
				t.Run(fmt.Sprint(level, s, o), func(t *testing.T) {
					got := [4]int{}
					for _, run := range scratchProducts(c, s, o) {
						run()
						for i, b := range [][]float32{c.task.packed, c.task.packedA, c.task.rowsA, c.task.rowsB} {
							got[i] = max(got[i], len(b))
						}
					}
					want := int64(0)
					if level != Generic {
						want = 4 * int64(got[0]+got[1]+got[2]+got[3]+c.pool.Workers()*c.level.copyLen())
					}
					if predicted := c.Scratch(o, s); predicted != want {
						t.Errorf("%d values, %d bytes in all, predicted %d", got, want, predicted)
					}
				})
			}
		}
	}
}

// scratchProducts are what a training step does with a weight.
func scratchProducts(c *CPU, s Shape, o Operands) []func() {
	x, w, y := make([]float32, s.N*s.In), make([]float32, s.In*s.Out), make([]float32, s.N*s.Out)
	if o == FloatOperands {
		return []func(){
			func() { c.Linear(y, x, w, s.N, s.In, s.Out, false) },
			func() { c.LinearBackwardInput(x, y, w, s.N, s.In, s.Out, false) },
			func() { c.LinearBackwardWeight(w, y, x, s.N, s.In, s.Out) },
		}
	}
	var p, q *Packed
	products := []func(){
		func() { p, q = c.PackBF16(nil, w, s.In, s.Out), c.PackTransposedBF16(nil, w, s.In, s.Out) },
		func() { c.LinearBF16(y, x, p, s.N, false) },
		func() { c.LinearBackwardInputBF16(x, y, q, s.N, false) },
		func() { c.LinearBackwardWeightBF16(w, y, x, s.N, s.In, s.Out) },
	}
	if o == RowOperands {
		rx, ry := make([]float32, words(s.N, s.In)), make([]float32, words(s.N, s.Out))
		products = append(products[:1], func() { c.LinearBF16Rows(y, rx, p, s.N, false) },
			func() { c.LinearBackwardInputBF16Rows(x, ry, q, s.N, false) }, func() { c.LinearBackwardWeightBF16Rows(w, ry, rx, s.N, s.In, s.Out) })
	}
	return products
}

// TestAttentionScratch: attention takes what is predicted, for sequences of one part and of several.
func TestAttentionScratch(t *testing.T) {
	a := Heads{6, 2, 16}
	for _, level := range Levels()[1:] {
		for _, lengths := range [][]int{{900}, {600, 600, 600}, {400, 400, 400}, {40, 40}} {
			c := mustCPU(t, level, 2)
			span := causal(lengths...)
			n := len(span.Lo)
			q, kv, o, lse, dq, dkv := make([]float32, n*a.H*a.E), make([]float32, n*a.K*a.E), make([]float32, n*a.H*a.E), make([]float32, n*a.H), make([]float32, n*a.H*a.E), make([]float32, n*a.K*a.E)
			c.Attention(o, lse, q, kv, kv, a.H*a.E, a.K*a.E, a, span)
			c.AttentionBackward(dq, dkv, dkv, o, o, lse, q, kv, kv, a.H*a.E, a.K*a.E, a.H*a.E, a.K*a.E, a, span)
			b := &c.task.attn
			got := 4 * int64(len(b.partial)+len(b.workers)*(scratchValues(b.workers[0].pad)+len(b.workers[0].sums)))
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
