// Command sample writes what drawing a token sweeps a vocabulary with.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/vec"
)

func main() {
	for _, w := range vec.Widths {
		shares(w)
	}
	Generate()
}

func shares(w vec.Width) {
	p := w.Func("shares", "computes y = e^((x−top)·scale) and returns the sum.", "(y, x []float32, top, scale float32) float64", "y", "x")
	top, scale, zero := w.Broadcast(vec.Stack("top")), w.Broadcast(vec.Stack("scale")), w.Zero()
	sums := w.NewDoubles()
	w.Sweep(vec.Len("x"), 4, func(group []vec.At) {
		part := make([]reg.VecVirtual, w.Parts())
		for _, a := range group {
			x := a.Load(p["x"])
			VSUBPS(top, x, x)
			VMULPS(scale, x, x)
			e := w.Exp(x)
			a.Store(e, p["y"])
			a.Fill(e, zero)
			if part[a.Part] == nil {
				part[a.Part] = e
			} else {
				VADDPS(e, part[a.Part], part[a.Part])
			}
		}
		for i, v := range part {
			sums.Add(v, i)
		}
	})
	VMOVSD(sums.Total(), vec.Result())
	vec.End()
}
