package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// runBF16 computes forward and backward in bfloat16.
func (d *attentionData) runBF16(c *CPU) {
	d.dk, d.dv = append([]float32(nil), d.dk0...), append([]float32(nil), d.dv0...)
	c.AttentionBF16(d.o, d.lse, d.q, d.k, d.v, d.qs, d.kvs, d.a, d.span)
	c.AttentionBackwardBF16(d.dq, d.dk, d.dv, d.do, d.o, d.lse, d.q, d.k, d.v, d.dqs, d.dkvs, d.qs, d.kvs, d.a, d.span)
}

// roughly fails unless the root of the mean squared error of got is below a hundredth, relative for large values of want and absolute for small ones; NaN is
// only near NaN.
func roughly(t *testing.T, what string, got []float32, want []float64) {
	t.Helper()
	var diff, size float64
	for i, w := range want {
		g := float64(got[i])
		if math.IsNaN(w) && math.IsNaN(g) {
			continue
		}
		diff += (g - w) * (g - w)
		size += w * w
	}
	if !(math.Sqrt(diff) <= 0.01*(math.Sqrt(size)+math.Sqrt(float64(len(want))))) {
		t.Fatalf("%s: an error of %.3g of a size of %.3g", what, math.Sqrt(diff), math.Sqrt(size))
	}
}

func (d *attentionData) checkBF16(t *testing.T) {
	t.Helper()
	roughly(t, "o", d.o, d.oWant)
	roughly(t, "lse", d.lse, d.lseWant)
	roughly(t, "dq", d.dq, d.dqWant)
	roughly(t, "dk", d.dk, d.dkWant)
	roughly(t, "dv", d.dv, d.dvWant)
}

func TestAttentionBF16IsNearItsDefinition(t *testing.T) {
	if !Has(AVX512BF16) {
		t.Skip("this CPU lacks avx512bf16")
	}
	c := attentionCPU(t, AVX512BF16, 2)
	for _, tc := range attentionCases() {
		t.Run(tc.name, func(t *testing.T) {
			d := newAttentionData(tc, 1, 1)
			d.oracle()
			d.runBF16(c)
			d.checkBF16(t)
		})
	}
}

// TestAttentionBF16Elsewhere: where the CPU lacks the units it is attention in float32.
func TestAttentionBF16Elsewhere(t *testing.T) {
	tc := attentionCase{"", Heads{4, 2, 16}, causal(40, 3)}
	for _, level := range Levels() {
		if level == AVX512BF16 {
			continue
		}
		c, got, want := attentionCPU(t, level, 1), newAttentionData(tc, 1, 3), newAttentionData(tc, 1, 3)
		got.runBF16(c)
		want.run(c)
		for name, x := range map[string][2][]float32{"o": {got.o, want.o}, "dq": {got.dq, want.dq}, "dk": {got.dk, want.dk}, "dv": {got.dv, want.dv}} {
			same(t, fmt.Sprint(level, " ", name), x[0], x[1])
		}
	}
}

// TestAttentionBF16Bits: neither workers, nor other rows, nor other sequences show in the result.
func TestAttentionBF16Bits(t *testing.T) {
	if !Has(AVX512BF16) {
		t.Skip("this CPU lacks avx512bf16")
	}
	one := attentionCPU(t, AVX512BF16, 1)
	for _, tc := range attentionCases() {
		d := newAttentionData(tc, 1, 2)
		d.runBF16(one)
		for _, workers := range []int{2, 3, 128} {
			e := newAttentionData(tc, 1, 2)
			e.runBF16(attentionCPU(t, AVX512BF16, workers))
			for name, x := range map[string][2][]float32{"o": {e.o, d.o}, "lse": {e.lse, d.lse}, "dq": {e.dq, d.dq}, "dk": {e.dk, d.dk}, "dv": {e.dv, d.dv}} {
				same(t, fmt.Sprint(tc.name, " workers ", workers, " ", name), x[0], x[1])
			}
		}
		width := tc.a.H * tc.a.E
		o, lse, dq := make([]float32, width), make([]float32, tc.a.H), make([]float32, width)
		for i := 0; i < len(tc.span.Lo); i += 1 + i/8 {
			name, span := fmt.Sprint(tc.name, " row ", i), Range{tc.span.Lo[i : i+1], tc.span.Hi[i : i+1]}
			one.AttentionBF16(o, lse, d.q[i*d.qs:], d.k, d.v, d.qs, d.kvs, tc.a, span)
			same(t, name+" o", o, d.o[i*width:][:width])
			same(t, name+" lse", lse, d.lse[i*tc.a.H:][:tc.a.H])
			one.AttentionBackwardBF16(dq, append([]float32(nil), d.dk...), append([]float32(nil), d.dv...), d.do[i*width:], o, lse, d.q[i*d.qs:], d.k, d.v, width, d.dkvs, d.qs, d.kvs, tc.a, span)
			same(t, name+" dq", dq, d.dq[i*d.dqs:][:width])
		}
	}
	all := newAttentionData(attentionCase{"", Heads{4, 1, 16}, causal(31, 700, 90)}, 1, 4)
	all.runBF16(one)
	part := *all
	part.dk, part.dv = append([]float32(nil), all.dk0...), append([]float32(nil), all.dv0...)
	for i, w := 0, all.a.H*all.a.E; i < len(all.span.Lo); {
		end := i
		for end < len(all.span.Lo) && all.span.Lo[end] == all.span.Lo[i] {
			end++
		}
		one.AttentionBackwardBF16(all.dq[i*all.dqs:], part.dk, part.dv, all.do[i*w:], all.o[i*w:], all.lse[i*all.a.H:], all.q[i*all.qs:], all.k, all.v,
			all.dqs, all.dkvs, all.qs, all.kvs, all.a, Range{all.span.Lo[i:end], all.span.Hi[i:end]})
		i = end
	}
	same(t, "dk", part.dk, all.dk)
	same(t, "dv", part.dv, all.dv)
}

func TestAttentionBF16DoesNotAllocate(t *testing.T) {
	for _, level := range Levels() {
		c := attentionCPU(t, level, 2)
		d := newAttentionData(attentionCase{"", Heads{3, 1, 16}, causal(64, 20)}, 1, 7)
		d.runBF16(c)
		if n := testing.AllocsPerRun(10, func() {
			c.AttentionBF16(d.o, d.lse, d.q, d.k, d.v, d.qs, d.kvs, d.a, d.span)
			c.AttentionBackwardBF16(d.dq, d.dk, d.dv, d.do, d.o, d.lse, d.q, d.k, d.v, d.dqs, d.dkvs, d.qs, d.kvs, d.a, d.span)
		}); n != 0 {
			t.Errorf("%s: %v allocations", level, n)
		}
	}
}

func FuzzAttentionBF16(f *testing.F) {
	f.Add(uint64(1), uint8(9), uint8(3), uint8(64), uint16(70))
	f.Add(uint64(2), uint8(1), uint8(1), uint8(1), uint16(1))
	f.Add(uint64(3), uint8(7), uint8(0), uint8(5), uint16(200))
	c, err := New(Levels()[len(Levels())-1], 2)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(c.Close)
	f.Fuzz(func(t *testing.T, seed uint64, group, kv, e uint8, rows uint16) {
		rng := rand.New(rand.NewPCG(seed, 2))
		k := 1 + int(kv)%4
		tc := attentionCase{"", Heads{k * (1 + int(group)%10), k, 1 + int(e)%128}, Range{}}
		lo, hi := int32(rng.IntN(5)), int32(0)
		for range 1 + int(rows)%300 {
			if rng.IntN(20) == 0 {
				lo += int32(rng.IntN(60))
			}
			hi = max(hi+int32(rng.IntN(3)), lo+1)
			tc.span.Lo, tc.span.Hi = append(tc.span.Lo, lo), append(tc.span.Hi, hi)
		}
		d := newAttentionData(tc, 1, seed)
		d.oracle()
		d.runBF16(c)
		d.checkBF16(t)
	})
}
