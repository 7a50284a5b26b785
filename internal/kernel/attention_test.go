package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// attentionCase is one problem: its strides are larger than the rows, and every value between them is NaN.
type attentionCase struct {
	name string
	a    Heads
	span Range
}

// causal is the ranges of causal sequences of so many rows, one behind the other.
func causal(lengths ...int) Range {
	var r Range
	start := int32(0)
	for _, n := range lengths {
		for i := range int32(n) {
			r.Lo, r.Hi = append(r.Lo, start), append(r.Hi, start+i+1)
		}
		start += int32(n)
	}
	return r
}

// sparse is every step'th row of causal sequences: as where keys of the rows that have left are shared.
func sparse(step int, lengths ...int) Range {
	all := causal(lengths...)
	var r Range
	for i := step / 2; i < len(all.Lo); i += step {
		r.Lo, r.Hi = append(r.Lo, all.Lo[i]), append(r.Hi, all.Hi[i])
	}
	return r
}

// sliding is a window of at most so many keys.
func sliding(n, window int) Range {
	r := causal(n)
	for i := range r.Lo {
		r.Lo[i] = max(0, r.Hi[i]-int32(window))
	}
	return r
}

// offset moves all key rows on.
func (r Range) offset(by int32) Range {
	for i := range r.Lo {
		r.Lo[i] += by
		r.Hi[i] += by
	}
	return r
}

func attentionCases() []attentionCase {
	decode := Range{[]int32{0, 300, 301, 301, 340}, []int32{300, 301, 307, 330, 1000}}
	cases := []attentionCase{
		{"one", Heads{1, 1, 2}, causal(1)},
		{"decode", Heads{9, 3, 64}, decode},
		{"decode a group of 32", Heads{32, 1, 16}, decode},
		{"135m", Heads{9, 3, 64}, causal(150)},
		{"sequences", Heads{6, 2, 64}, causal(1, 2, 47, 48, 49, 96, 5, 130).offset(3)},
		{"shared keys", Heads{9, 3, 64}, sparse(3, 200, 90)},
		{"window", Heads{4, 2, 16}, sliding(120, 50)},
		{"without groups", Heads{3, 3, 32}, causal(33, 70)},
		{"long enough to cut", Heads{4, 1, 16}, causal(700)},
	}
	for _, e := range []int{1, 2, 3, 6, 16, 40, 64, 80, 96, 128} {
		cases = append(cases, attentionCase{fmt.Sprintf("e %d", e), Heads{5, 1, e}, causal(60, 3, 9)})
	}
	return cases
}

// attentionData is the arguments of one case.
type attentionData struct {
	attentionCase
	keys, qs, kvs, dqs, dkvs               int
	q, k, v, do, o, lse, dq, dk, dv        []float32
	dk0, dv0                               []float32
	oWant, lseWant, dqWant, dkWant, dvWant []float64
}

// newAttentionData makes the arguments of a case, with so many values more than needed between the rows.
func newAttentionData(c attentionCase, gap int, seed uint64) *attentionData {
	rng := rand.New(rand.NewPCG(seed, 1))
	n, a := len(c.span.Lo), c.a
	d := &attentionData{attentionCase: c, keys: int(c.span.Hi[n-1])}
	d.qs, d.kvs, d.dqs, d.dkvs = a.H*a.E+3*gap, 2*a.K*a.E+gap, a.H*a.E+2*gap, a.K*a.E+5*gap
	rows := func(n, width, stride int, scale float32) []float32 {
		x := make([]float32, max(0, (n-1)*stride+width))
		for i := range x {
			x[i] = float32(math.NaN())
			if i%stride < width {
				x[i] = scale * float32(rng.NormFloat64())
			}
		}
		return x
	}
	d.q, d.k, d.v = rows(n, a.H*a.E, d.qs, 2), rows(d.keys, a.K*a.E, d.kvs, 1), rows(d.keys, a.K*a.E, d.kvs, 1)
	d.do, d.o, d.lse = rows(n, a.H*a.E, a.H*a.E, 1), make([]float32, n*a.H*a.E), make([]float32, n*a.H)
	d.dq = rows(n, a.H*a.E, d.dqs, 1)
	d.dk0, d.dv0 = rows(d.keys, a.K*a.E, d.dkvs, 1), rows(d.keys, a.K*a.E, d.dkvs, 1)
	return d
}

// run computes forward and backward.
func (d *attentionData) run(c *CPU) {
	d.dk, d.dv = append([]float32(nil), d.dk0...), append([]float32(nil), d.dv0...)
	c.Attention(d.o, d.lse, d.q, d.k, d.v, d.qs, d.kvs, d.a, d.span)
	c.AttentionBackward(d.dq, d.dk, d.dv, d.do, d.o, d.lse, d.q, d.k, d.v, d.dqs, d.dkvs, d.qs, d.kvs, d.a, d.span)
}

// oracle computes what run has to give in float64, from the definition.
func (d *attentionData) oracle() {
	a, e, n := d.a, d.a.E, len(d.span.Lo)
	wide := func(x []float32) []float64 {
		out := make([]float64, len(x))
		for i := range x {
			out[i] = float64(x[i])
		}
		return out
	}
	d.oWant, d.lseWant = make([]float64, len(d.o)), make([]float64, len(d.lse))
	d.dqWant, d.dkWant, d.dvWant = wide(d.dq), wide(d.dk0), wide(d.dv0)
	scale := 1 / math.Sqrt(float64(e))
	p, dp := make([]float64, d.keys), make([]float64, d.keys)
	for i := range n {
		for j := range a.H {
			g, lo, hi := j/(a.H/a.K), int(d.span.Lo[i]), int(d.span.Hi[i])
			q, do, dq := d.q[i*d.qs+j*e:], d.do[(i*a.H+j)*e:], d.dqWant[i*d.dqs+j*e:][:e]
			o := d.oWant[(i*a.H+j)*e:][:e]
			sum, delta := 0.0, 0.0
			for t := lo; t < hi; t++ {
				s := 0.0
				dp[t] = 0
				for x := range e {
					s += float64(q[x]) * float64(d.k[t*d.kvs+g*e+x]) * scale
					dp[t] += float64(do[x]) * float64(d.v[t*d.kvs+g*e+x])
				}
				p[t] = math.Exp(s)
				sum += p[t]
			}
			d.lseWant[i*a.H+j] = math.Log(sum)
			for t := lo; t < hi; t++ {
				p[t] /= sum
				delta += p[t] * dp[t]
				for x := range e {
					o[x] += p[t] * float64(d.v[t*d.kvs+g*e+x])
				}
			}
			clear(dq)
			for t := lo; t < hi; t++ {
				ds := p[t] * (dp[t] - delta) * scale
				for x := range e {
					dq[x] += ds * float64(d.k[t*d.kvs+g*e+x])
					d.dkWant[t*d.dkvs+g*e+x] += ds * float64(q[x])
					d.dvWant[t*d.dkvs+g*e+x] += p[t] * float64(do[x])
				}
			}
		}
	}
}

// near fails unless got is want up to tol, absolute for small values and relative for large ones; NaN is only near NaN.
func near(t *testing.T, what string, got []float32, want []float64, tol float64) {
	t.Helper()
	for i, w := range want {
		g := float64(got[i])
		if math.IsNaN(w) && math.IsNaN(g) {
			continue
		}
		if !(math.Abs(g-w) <= tol*(1+math.Abs(w))) {
			t.Fatalf("%s[%d] = %v, want %v", what, i, g, w)
		}
	}
}

// same fails unless both hold the same bits.
func same(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s[%d] = %v, want the bits of %v", what, i, got[i], want[i])
		}
	}
}

func (d *attentionData) check(t *testing.T) {
	t.Helper()
	near(t, "o", d.o, d.oWant, 1e-5)
	near(t, "lse", d.lse, d.lseWant, 1e-5)
	near(t, "dq", d.dq, d.dqWant, 5e-5)
	near(t, "dk", d.dk, d.dkWant, 1e-4)
	near(t, "dv", d.dv, d.dvWant, 1e-4)
}

// newCPU returns a CPU that is closed at the end of the test.
func attentionCPU(t testing.TB, level Level, workers int) *CPU {
	t.Helper()
	c, err := New(level, workers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAttentionIsItsDefinition(t *testing.T) {
	for _, level := range Levels() {
		c := attentionCPU(t, level, 1)
		for _, tc := range attentionCases() {
			t.Run(fmt.Sprint(level, "/", tc.name), func(t *testing.T) {
				d := newAttentionData(tc, 1, 1)
				d.oracle()
				d.run(c)
				d.check(t)
			})
		}
	}
}

func TestAttentionIsTheSameForAnyWorkersAndLevel(t *testing.T) {
	for _, tc := range attentionCases() {
		var first *attentionData
		for _, level := range Levels() {
			if level == Generic {
				continue
			}
			for _, workers := range []int{1, 2, 3, 128} {
				d := newAttentionData(tc, 1, 2)
				d.run(attentionCPU(t, level, workers))
				if first == nil {
					first = d
				}
				for name, x := range map[string][2][]float32{"o": {d.o, first.o}, "lse": {d.lse, first.lse}, "dq": {d.dq, first.dq}, "dk": {d.dk, first.dk}, "dv": {d.dv, first.dv}} {
					same(t, fmt.Sprint(tc.name, " ", level, " workers ", workers, " ", name), x[0], x[1])
				}
			}
		}
	}
}

func TestAttentionOfARowAloneIsThatOfABatch(t *testing.T) {
	for _, level := range Levels() {
		c := attentionCPU(t, level, 1)
		for _, tc := range attentionCases() {
			d := newAttentionData(tc, 1, 3)
			d.run(c)
			width := tc.a.H * tc.a.E
			o, lse, dq := make([]float32, width), make([]float32, tc.a.H), make([]float32, width)
			for i := 0; i < len(tc.span.Lo); i += 1 + i/8 {
				name := fmt.Sprint(level, " ", tc.name, " row ", i)
				span := Range{tc.span.Lo[i : i+1], tc.span.Hi[i : i+1]}
				c.Attention(o, lse, d.q[i*d.qs:], d.k, d.v, d.qs, d.kvs, tc.a, span)
				same(t, name+" o", o, d.o[i*width:][:width])
				same(t, name+" lse", lse, d.lse[i*tc.a.H:][:tc.a.H])
				c.AttentionBackward(dq, d.dk, d.dv, d.do[i*width:], o, lse, d.q[i*d.qs:], d.k, d.v, width, d.dkvs, d.qs, d.kvs, tc.a, span)
				same(t, name+" dq", dq, d.dq[i*d.dqs:][:width])
			}
		}
	}
}

// The gradients of a sequence must not depend on the others either: accumulation over batches relies on it.
func TestAttentionGradientsOfASequenceAloneAreThoseOfABatch(t *testing.T) {
	a := Heads{4, 1, 16}
	for _, level := range Levels() {
		c := attentionCPU(t, level, 2)
		all := newAttentionData(attentionCase{"", a, causal(30, 700, 90)}, 1, 4)
		all.run(c)
		one := *all
		one.dk, one.dv = append([]float32(nil), all.dk0...), append([]float32(nil), all.dv0...)
		for i, n := 0, len(all.span.Lo); i < n; {
			end := i
			for end < n && all.span.Lo[end] == all.span.Lo[i] {
				end++
			}
			w := a.H * a.E
			c.AttentionBackward(all.dq[i*all.dqs:], one.dk, one.dv, all.do[i*w:], all.o[i*w:], all.lse[i*a.H:], all.q[i*all.qs:], all.k, all.v,
				all.dqs, all.dkvs, all.qs, all.kvs, a, Range{all.span.Lo[i:end], all.span.Hi[i:end]})
			i = end
		}
		same(t, fmt.Sprint(level, " dk"), one.dk, all.dk)
		same(t, fmt.Sprint(level, " dv"), one.dv, all.dv)
	}
}

// Large scores must neither overflow nor lose the weights' sum.
func TestAttentionOfLargeScores(t *testing.T) {
	for _, level := range Levels() {
		d := newAttentionData(attentionCase{"", Heads{2, 1, 64}, causal(100)}, 1, 5)
		for i := range d.q {
			d.q[i] *= 40
		}
		for i := range d.v {
			d.v[i] = 1
		}
		attentionCPU(t, level, 1).Attention(d.o, d.lse, d.q, d.k, d.v, d.qs, d.kvs, d.a, d.span)
		for i, x := range d.o {
			if math.Abs(float64(x)-1) > 1e-5 {
				t.Fatalf("%s: the mean of ones o[%d] = %v", level, i, x)
			}
		}
	}
}

func TestAttentionPassesNaNOn(t *testing.T) {
	for _, level := range Levels() {
		d := newAttentionData(attentionCase{"", Heads{1, 1, 8}, causal(10)}, 1, 6)
		d.q[7*d.qs] = float32(math.NaN())
		attentionCPU(t, level, 1).Attention(d.o, d.lse, d.q, d.k, d.v, d.qs, d.kvs, d.a, d.span)
		for i := range d.span.Lo {
			if bad := d.o[i*8] != d.o[i*8]; bad != (i == 7) {
				t.Errorf("%s: row %d is NaN: %v", level, i, bad)
			}
		}
	}
}

func TestAttentionDoesNotAllocate(t *testing.T) {
	for _, level := range Levels() {
		c := attentionCPU(t, level, 2)
		d := newAttentionData(attentionCase{"", Heads{3, 1, 16}, causal(64, 20)}, 1, 7)
		d.run(c)
		if n := testing.AllocsPerRun(10, func() {
			c.Attention(d.o, d.lse, d.q, d.k, d.v, d.qs, d.kvs, d.a, d.span)
			c.AttentionBackward(d.dq, d.dk, d.dv, d.do, d.o, d.lse, d.q, d.k, d.v, d.dqs, d.dkvs, d.qs, d.kvs, d.a, d.span)
		}); n != 0 {
			t.Errorf("%s: %v allocations", level, n)
		}
	}
}

func FuzzAttention(f *testing.F) {
	f.Add(uint64(1), uint8(9), uint8(3), uint8(64), uint16(70))
	f.Add(uint64(2), uint8(1), uint8(1), uint8(1), uint16(1))
	f.Add(uint64(3), uint8(7), uint8(0), uint8(5), uint16(200))
	f.Fuzz(func(t *testing.T, seed uint64, group, kv, e uint8, rows uint16) {
		rng := rand.New(rand.NewPCG(seed, 2))
		k := 1 + int(kv)%4
		c := attentionCase{"", Heads{k * (1 + int(group)%10), k, 1 + int(e)%128}, Range{}}
		lo, hi := int32(rng.IntN(5)), int32(0)
		for range 1 + int(rows)%200 {
			if rng.IntN(20) == 0 {
				lo += int32(rng.IntN(60))
			}
			hi = max(hi+int32(rng.IntN(3)), lo+1)
			c.span.Lo, c.span.Hi = append(c.span.Lo, lo), append(c.span.Hi, hi)
		}
		want := newAttentionData(c, 1, seed)
		want.oracle()
		for _, level := range Levels() {
			d := newAttentionData(c, 1, seed)
			d.oWant, d.lseWant, d.dqWant, d.dkWant, d.dvWant = want.oWant, want.lseWant, want.dqWant, want.dkWant, want.dvWant
			d.run(attentionCPU(t, level, 1))
			d.check(t)
		}
	})
}
