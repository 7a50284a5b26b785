package model

import (
	"maps"

	"mor/internal/kernel"
)

// layouts are the matrices as products want them, each laid out once for all recursions of a pass. A layer's matrix has one place for both directions: forward is
// over when backward begins, unless layers are computed again. Matrices that a pass uses once share the places of their kind.
type layouts struct {
	forward, backward map[span]*place
	version           int // of the weights, counted from 1
}

// place holds a matrix in one layout, and knows which, and of which version of the weights.
type place struct {
	packed *kernel.Packed
	of     laidOut
}

// laidOut is what a place holds.
type laidOut struct {
	w          span
	transposed bool
	version    int
}

// newLayouts gives every matrix of the layers, and the head, a place.
func newLayouts(c *Config, p *Plan, l *Layout) layouts {
	uses, kinds := map[span]int{}, map[span]int{}
	count := func(kind int, s span) {
		uses[s]++
		kinds[s] = kind
	}
	for _, s := range p.Segments {
		for i := range s.Layers {
			w := &l.layers[s.Layers[i].Unique]
			count(0, span{w.qkv.off, c.qkvDim(&s.Layers[i]) * c.HiddenSize})
			count(1, w.o)
			count(2, w.gateUp)
			count(3, w.down)
			for _, e := range w.experts {
				count(2, e.gateUp)
				count(3, e.down)
			}
		}
	}
	out := layouts{forward: map[span]*place{}, version: 1}
	var shared [4]place
	for s, n := range uses {
		out.forward[s] = &shared[kinds[s]]
		if n > 1 {
			out.forward[s] = &place{}
		}
	}
	out.backward = maps.Clone(out.forward)
	out.forward[l.head], out.backward[l.head] = &place{}, &place{} // every chunk of rows goes both ways
	return out
}

// packForward is a matrix laid out for linear.
func (m *Model) packForward(w span, in, out int) *kernel.Packed {
	return m.packed(m.layouts.forward[w], laidOut{w, false, m.layouts.version}, in, out, (*kernel.CPU).Pack, (*kernel.CPU).PackBF16)
}

// packBackward is a matrix laid out for linearBackwardInput.
func (m *Model) packBackward(w span, in, out int) *kernel.Packed {
	return m.packed(m.layouts.backward[w], laidOut{w, true, m.layouts.version}, in, out, (*kernel.CPU).PackTransposed, (*kernel.CPU).PackTransposedBF16)
}

// pack lays out a matrix w[out,in].
type pack func(cpu *kernel.CPU, p *kernel.Packed, w []float32, in, out int) *kernel.Packed

// packed is what is wanted at a place, laid out now if something else is there.
func (m *Model) packed(p *place, want laidOut, in, out int, fp32, bf16 pack) *kernel.Packed {
	layOut := fp32
	if m.dtype == BF16 {
		layOut = bf16
	}
	if p.of != want {
		p.packed, p.of = layOut(m.cpu, p.packed, want.w.of(m.W), in, out), want
	}
	return p.packed
}

// layoutBytes is what the places take in a training step of a model whose products are of a type.
func layoutBytes(c *Config, dtype Dtype) int64 {
	p := NewPlan(c)
	l := NewLayout(c, p)
	most := map[*place]int{}
	places := newLayouts(c, p, l)
	for s, at := range places.forward {
		most[at] = max(most[at], s.n)
	}
	most[places.backward[l.head]] = l.head.n
	if dtype == FP32 {
		delete(most, places.forward[l.head]) // read where it is
		delete(most, places.backward[l.head])
	}
	size := int64(4)
	if dtype == BF16 {
		size = 2
	}
	n := 0
	for _, values := range most {
		n += values
	}
	return size * int64(n)
}
