package kernel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// weightGradients is two gradients of weights and an attention backward, none of which waits for another.
type weightGradients struct {
	attention    *attentionData
	x, dy        []float32 // [n,in] and [n,out]
	dw, dw2      []float32
	n, in, out   int
	half         bool
	halfX, half2 []float32
}

func newWeightGradients(c *CPU, half bool) *weightGradients {
	const n, in, out = 150, 70, 90
	rng := rand.New(rand.NewPCG(5, 6))
	w := &weightGradients{attention: newAttentionData(attentionCase{"two", Heads{4, 2, 16}, causal(70, 80)}, 0, 1), x: random(rng, n*in), dy: random(rng, n*out),
		dw: random(rng, out*in), dw2: random(rng, in*in), n: n, in: in, out: out, half: half}
	w.attention.run(c)
	w.halfX, w.half2 = make([]float32, words(n, in)), make([]float32, words(n, out))
	c.RoundRows(w.halfX, w.x, n, in)
	c.RoundRows(w.half2, w.dy, n, out)
	return w
}

func (w *weightGradients) run(c *CPU) {
	d := w.attention
	if w.half {
		c.LinearBackwardWeightBF16Rows(w.dw, w.half2, w.halfX, w.n, w.in, w.out)
		c.LinearBackwardWeightBF16Rows(w.dw2, w.halfX, w.halfX, w.n, w.in, w.in)
		c.AttentionBackwardBF16(d.dq, d.dk, d.dv, d.do, d.o, d.lse, d.q, d.k, d.v, d.dqs, d.dkvs, d.qs, d.kvs, d.a, d.span)
		return
	}
	c.LinearBackwardWeight(w.dw, w.dy, w.x, w.n, w.in, w.out)
	c.LinearBackwardWeight(w.dw2, w.x, w.x, w.n, w.in, w.in)
	c.AttentionBackward(d.dq, d.dk, d.dv, d.do, d.o, d.lse, d.q, d.k, d.v, d.dqs, d.dkvs, d.qs, d.kvs, d.a, d.span)
}

func (w *weightGradients) results() []float32 {
	return slices.Concat(w.dw, w.dw2, w.attention.dq, w.attention.dk, w.attention.dv)
}

// TestTogetherBits: kernels together give the bits of one after the other, for any number of workers, and again after others.
func TestTogetherBits(t *testing.T) {
	for _, level := range Levels() {
		plain := mustCPU(t, level, 1)
		for _, half := range []bool{false, true} {
			if half && !plain.bf16 && level != Generic {
				continue // products of bfloat16 are of the level with units for them, and of the oracle
			}
			for _, workers := range []int{1, 2, 3, 128} {
				t.Run(fmt.Sprint(level, "/", half, "/", workers), func(t *testing.T) {
					c := mustCPU(t, level, workers)
					for range 2 {
						want, got := newWeightGradients(plain, half), newWeightGradients(c, half)
						want.run(plain)
						c.BeginTogether()
						got.run(c)
						c.EndTogether()
						same(t, "together", got.results(), want.results())
					}
				})
			}
		}
	}
}

// TestTogetherProfile: kernels together are recorded as those by themselves are, each once, and their operands' laying out with each.
func TestTogetherProfile(t *testing.T) {
	for _, level := range Levels() {
		c := mustCPU(t, level, 2)
		w := newWeightGradients(c, c.HasBF16())
		c.Profile(true)
		w.run(c)
		want := slices.Clone(c.Usages())
		c.Profile(true)
		c.BeginTogether()
		w.run(c)
		c.EndTogether()
		got := c.Usages()
		if len(got) != len(want) {
			t.Fatalf("%s: %v, want %v", level, got, want)
		}
		for _, u := range want {
			i := slices.IndexFunc(got, func(v Usage) bool { return v.Work == u.Work })
			if i < 0 {
				t.Errorf("%s: %+v is missing", level, u)
			} else if v := got[i]; v.Calls != u.Calls || v.Time <= 0 || v.Packing > v.Time || (v.Packing > 0) != (u.Packing > 0) {
				t.Errorf("%s: %+v, want %+v", level, v, u)
			}
		}
	}
}

// TestTogetherDoesNotAllocate: what ran together before does so again without allocating, recorded or not.
func TestTogetherDoesNotAllocate(t *testing.T) {
	for _, level := range Levels()[1:] {
		c := mustCPU(t, level, 2)
		w := newWeightGradients(c, c.HasBF16())
		for _, recorded := range []bool{false, true} {
			c.Profile(recorded)
			if a := testing.AllocsPerRun(10, func() { c.BeginTogether(); w.run(c); c.EndTogether() }); a != 0 {
				t.Errorf("%s, recorded %v: %v allocations", level, recorded, a)
			}
		}
	}
}
