package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/vec"
)

func swiglu(w vec.Width) {
	p := w.Func("swiglu", "computes y = silu(gate)∘up.", "(y, gate, up []float32)", "y", "gate", "up")
	elementwise(w, "y", func(a vec.At) {
		g := a.Load(p["gate"])
		s := w.Sigmoid(g)
		VMULPS(g, s, s)
		VMULPS(a.Load(p["up"]), s, s)
		a.Store(s, p["y"])
	})
}

// dswiglu emits silu′(g) = s·(1 + g·(1−s)) with the sigmoid s. y is what swiglu gives, bit for bit.
func dswiglu(w vec.Width) {
	p := w.Func("dswiglu", "computes dgate = dy∘up∘silu′(gate), dup = dy∘silu(gate) and y = silu(gate)∘up.", "(dgate, dup, y, dy, gate, up []float32)",
		"dgate", "dup", "y", "dy", "gate", "up")
	elementwise(w, "dy", func(a vec.At) {
		g := a.Load(p["gate"])
		s, t := w.Sigmoid(g), w.Fill(1)
		VSUBPS(s, t, t)
		w.Apply(vec.MulAdd, vec.Const(1), g, t)
		VMULPS(s, t, t)
		VMULPS(g, s, s)
		dy, up := a.Load(p["dy"]), a.Load(p["up"])
		VMULPS(dy, t, t)
		VMULPS(up, t, t)
		VMULPS(s, up, up)
		VMULPS(dy, s, s)
		a.Store(s, p["dup"])
		a.Store(t, p["dgate"])
		a.Store(up, p["y"])
	})
}

func maxOf(w vec.Width) {
	p := w.Func("maxOf", "returns the largest of x, which has one; a NaN may be left out.", "(x []float32) float32", "x")
	low := w.Fill(float32(math.Inf(-1)))
	top := w.Zeros(4 * w.Parts())
	for _, v := range top {
		VMOVUPS(low, v)
	}
	w.Sweep(vec.Len("x"), 4, func(group []vec.At) {
		for i, a := range group {
			x := a.Load(p["x"])
			a.Fill(x, low)
			VMAXPS(x, top[i], top[i])
		}
	})
	VMOVSS(w.Reduce(top, vec.Max), vec.Result())
	vec.End()
}

func sumExp(w vec.Width, name, doc string, store bool) {
	p := w.Func(name, doc, "(x []float32, top float32) float64", "x")
	top := w.Broadcast(vec.Stack("top"))
	sum := w.SumDoubles("x", func(a vec.At) reg.VecVirtual {
		x := a.Load(p["x"])
		VSUBPS(top, x, x)
		e := w.Exp(x)
		if store {
			a.Store(e, p["x"])
		}
		return e
	})
	VMOVSD(sum, vec.Result())
	vec.End()
}
