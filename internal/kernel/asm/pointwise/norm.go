package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/vec"
)

// rows emits body once for each of so many rows, which are used up: sums of one row begin while the roots and quotients of the row before are on their way.
func rows(left reg.GPVirtual, body func()) {
	loop, done := vec.NewLabel("row"), vec.NewLabel("rows")
	TESTQ(left, left)
	JZ(LabelRef(done))
	Label(loop)
	body()
	DECQ(left)
	JNZ(LabelRef(loop))
	Label(done)
}

// again is a copy of a length, for a sweep to use up.
func again(n reg.GPVirtual) reg.GPVirtual {
	m := GP64()
	MOVQ(n, m)
	return m
}

// advance moves pointers by n floats.
func advance(n reg.GPVirtual, pointers ...reg.GPVirtual) {
	for _, p := range pointers {
		LEAQ(Mem{Base: p, Index: n, Scale: 4}, p)
	}
}

// float is a length as a float.
func float(n reg.GPVirtual) reg.VecVirtual {
	x := XMM()
	VXORPS(x, x, x)
	VCVTSI2SSQ(n, x, x)
	return x
}

func rstd(w vec.Width) {
	p := w.Func("rstd", "computes 1/√(mean(x²)+eps) of each row of d values.", "(rstd, x []float32, d int, eps float32)", "rstd", "x", "d")
	d, one := float(p["d"]), XMM()
	VMOVSS(vec.Const(1), one)
	VCVTSS2SD(one, one, one)
	rows(vec.Len("rstd"), func() {
		r := w.Sum(again(p["d"]), func(a vec.At, sum reg.VecVirtual) {
			x := a.Load(p["x"])
			VFMADD231PS(x, x, sum)
		})
		VDIVSS(d, r, r)
		VADDSS(vec.Stack("eps"), r, r)
		VCVTSS2SD(r, r, r)
		VSQRTSD(r, r, r)
		VDIVSD(r, one, r)
		VCVTSD2SS(r, r, r)
		VMOVSS(r, Mem{Base: p["rstd"]})
		ADDQ(Imm(4), p["rstd"])
		advance(p["d"], p["x"])
	})
	vec.End()
}

func norm(w vec.Width) {
	p := w.Func("norm", "computes y = (x·rstd)∘w of each row.", "(y, rstd, x, w []float32)", "y", "rstd", "x", "w")
	d := vec.Len("w")
	rows(vec.Len("rstd"), func() {
		r := w.Broadcast(Mem{Base: p["rstd"]})
		w.Sweep(again(d), 2*unroll, func(group []vec.At) {
			for _, a := range group {
				x := a.Load(p["x"])
				VMULPS(r, x, x)
				VMULPS(a.Load(p["w"]), x, x)
				a.Store(x, p["y"])
			}
		})
		ADDQ(Imm(4), p["rstd"])
		advance(d, p["x"], p["y"])
	})
	vec.End()
}

func dnorm(w vec.Width) {
	p := w.Func("dnorm", "computes dx += r·(g − x·r²·mean(g∘x)) of each row, with g = dy∘w and r its rstd.", "(dx, dy, x, w, rstd []float32)",
		"dx", "dy", "x", "w", "rstd")
	n := vec.Len("w")
	d := float(n)
	rows(vec.Len("rstd"), func() {
		s := w.Sum(again(n), func(a vec.At, sum reg.VecVirtual) {
			g := a.Load(p["dy"])
			VMULPS(a.Load(p["w"]), g, g)
			VFMADD231PS(a.Load(p["x"]), g, sum)
		})
		r, t, mean := w.Broadcast(Mem{Base: p["rstd"]}), XMM(), w.New()
		VMULSS(r.AsX(), r.AsX(), t)
		VDIVSS(d, t, t)
		VMULSS(t, s, t)
		VBROADCASTSS(t, mean)
		w.Sweep(again(n), unroll, func(group []vec.At) {
			for _, a := range group {
				x, dx := a.Load(p["x"]), a.Load(p["dx"])
				VMULPS(mean, x, x)
				VFMSUB231PS(a.Load(p["dy"]), a.Load(p["w"]), x)
				VFMADD231PS(x, r, dx)
				a.Store(dx, p["dx"])
			}
		})
		ADDQ(Imm(4), p["rstd"])
		advance(n, p["dx"], p["dy"], p["x"])
	})
	vec.End()
}

// dnormWeight keeps sums of some columns in registers while the rows go by.
func dnormWeight(w vec.Width) {
	p := w.Func("dnormWeight", "computes dw += (dy·rstd)∘x, one row after the other.", "(dw, dy, x, rstd []float32)", "dw", "dy", "x", "rstd")
	n, count := vec.Len("dw"), vec.Len("rstd")
	w.Sweep(again(n), 8/w.Parts(), func(group []vec.At) {
		var sums []reg.VecVirtual
		for _, a := range group {
			sums = append(sums, a.Load(p["dw"]))
		}
		dy, x, rstd := again(p["dy"]), again(p["x"]), again(p["rstd"])
		rows(again(count), func() {
			r := w.Broadcast(Mem{Base: rstd})
			for i, a := range group {
				t := a.Load(dy)
				VMULPS(r, t, t)
				VFMADD231PS(a.Load(x), t, sums[i])
			}
			ADDQ(Imm(4), rstd)
			advance(n, dy, x)
		})
		for i, a := range group {
			a.Store(sums[i], p["dw"])
		}
	})
	vec.End()
}
