// Command sample writes what drawing a token sweeps a vocabulary with.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/vec"
)

func main() {
	for _, w := range vec.Widths {
		shares(w)
		topOf(w)
	}
	Generate()
}

// topOf keeps the largest float and, as an integer, the largest of the bits without the sign: those of a NaN are above those of every number.
func topOf(w vec.Width) {
	p := w.Func("topOf", "returns the largest of x, which is not empty, unless it has a NaN, and the largest of its bits without the sign.", "(x []float32) (top float32, bits uint32)", "x")
	const blocks = 2
	var tops, bits []reg.VecVirtual
	for range blocks * w.Parts() {
		tops, bits = append(tops, w.Copy(vec.ConstBits(0xff800000))), append(bits, w.Zero())
	}
	w.Sweep(vec.Len("x"), blocks, func(group []vec.At) {
		for i, a := range group {
			x, abs := a.Load(p["x"]), w.New()
			w.Apply(vec.And, vec.ConstBits(0x7fffffff), x, abs)
			VPMAXUD(abs, bits[i], bits[i])
			a.Fill(x, tops[i])
			VMAXPS(x, tops[i], tops[i])
		}
	})
	VMOVSS(w.Reduce(tops, vec.Max), vec.ResultAt(0))
	VMOVSS(w.Reduce(bits, func(x, y, z Op) { VPMAXUD(x, y, z) }), vec.ResultAt(1))
	vec.End()
}

func shares(w vec.Width) {
	p := w.Func("shares", "computes y = e^((x−top)·scale) and returns the sum.", "(y, x []float32, top, scale float32) float64", "y", "x")
	top, scale := w.Broadcast(vec.Stack("top")), w.Broadcast(vec.Stack("scale"))
	sum := w.SumDoubles("x", func(a vec.At) reg.VecVirtual {
		x := a.Load(p["x"])
		VSUBPS(top, x, x)
		VMULPS(scale, x, x)
		e := w.Exp(x)
		a.Store(e, p["y"])
		return e
	})
	VMOVSD(sum, vec.Result())
	vec.End()
}
