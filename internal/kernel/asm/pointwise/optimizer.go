package main

import (
	"strings"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/vec"
)

func sumSquares(w vec.Width) {
	p := w.Func("sumSquares", "returns Σ x² in double precision, where the squares are exact.", "(x []float32) float64", "x")
	sums := w.NewDoubles()
	w.Sweep(vec.Len("x"), unroll, func(group []vec.At) {
		for _, a := range group {
			sums.Each(a.Load(p["x"]), a.Part, func(x, sum reg.VecVirtual) { VFMADD231PD(x, x, sum) })
		}
	})
	VMOVSD(sums.Total(), vec.Result())
	vec.End()
}

// adamw emits the update without fused multiplications, so that it rounds as plain Go does.
func adamw(w vec.Width) {
	factors := []string{"gradScale", "keep", "beta2", "rate1", "rate2", "rootScale", "eps", "step"}
	p := w.Func("adamw", "updates parameters p and moments m and v by gradients g; AdamW says by which formula.",
		"(p, m, v, g []float32, "+strings.Join(factors, ", ")+" float32)", "p", "m", "v", "g")
	c := map[string]reg.VecVirtual{}
	for _, name := range factors {
		c[name] = w.Broadcast(vec.Stack(name))
	}
	w.Sweep(vec.Len("p"), 1, func(group []vec.At) {
		for _, a := range group {
			g, m, v, x := a.Load(p["g"]), a.Load(p["m"]), a.Load(p["v"]), a.Load(p["p"])
			t := w.New()
			VMULPS(c["gradScale"], g, g)
			VSUBPS(m, g, t)
			VMULPS(c["rate1"], t, t)
			VADDPS(t, m, m)
			a.Store(m, p["m"])
			VMULPS(g, g, g)
			VMULPS(c["rate2"], g, g)
			VMULPS(c["beta2"], v, v)
			VADDPS(g, v, v)
			a.Store(v, p["v"])
			VSQRTPS(v, v)
			VMULPS(c["rootScale"], v, v)
			VADDPS(c["eps"], v, v)
			VMULPS(c["step"], m, m)
			VDIVPS(v, m, m)
			VMULPS(c["keep"], x, x)
			VSUBPS(m, x, x)
			a.Store(x, p["p"])
		}
	})
	vec.End()
}
