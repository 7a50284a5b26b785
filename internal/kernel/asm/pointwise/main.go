// Command pointwise generates the assembly of the operations on vectors that norms, activations, the loss, row moves and the
// optimizer consist of.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/vec"
)

func main() {
	for _, w := range vec.Widths {
		add(w)
		scale(w)
		addScaled(w)
		mul(w)
		addMul(w)
		dot(w)
		rstd(w)
		norm(w)
		dnorm(w)
		dnormWeight(w)
		rope(w)
		swiglu(w)
		dswiglu(w)
		maxOf(w)
		sumExp(w, "sumExp", "returns Σ e^(x−top).", false)
		sumExp(w, "exp", "computes x = e^(x−top) and returns the sum.", true)
		sumSquares(w)
		adamw(w)
	}
	Generate()
}

// unroll is the number of blocks that a loop without carried sums handles at once.
const unroll = 2

// elementwise emits a sweep over slices as long as the first of them, with body for one register of each.
func elementwise(w vec.Width, first string, body func(a vec.At)) {
	w.Sweep(vec.Len(first), unroll, func(group []vec.At) {
		for _, a := range group {
			body(a)
		}
	})
	vec.End()
}

func add(w vec.Width) {
	p := w.Func("add", "computes y += x.", "(y, x []float32)", "y", "x")
	elementwise(w, "y", func(a vec.At) {
		y := a.Load(p["y"])
		VADDPS(a.Load(p["x"]), y, y)
		a.Store(y, p["y"])
	})
}

func scale(w vec.Width) {
	p := w.Func("scale", "computes y = x·s.", "(y, x []float32, s float32)", "y", "x")
	s := w.Broadcast(vec.Stack("s"))
	elementwise(w, "y", func(a vec.At) {
		x := a.Load(p["x"])
		VMULPS(s, x, x)
		a.Store(x, p["y"])
	})
}

func addScaled(w vec.Width) {
	p := w.Func("addScaled", "computes y += x·s.", "(y, x []float32, s float32)", "y", "x")
	s := w.Broadcast(vec.Stack("s"))
	elementwise(w, "y", func(a vec.At) {
		y := a.Load(p["y"])
		VFMADD231PS(a.Load(p["x"]), s, y)
		a.Store(y, p["y"])
	})
}

func mul(w vec.Width) {
	p := w.Func("mul", "computes y = x∘w.", "(y, x, w []float32)", "y", "x", "w")
	elementwise(w, "y", func(a vec.At) {
		x := a.Load(p["x"])
		VMULPS(a.Load(p["w"]), x, x)
		a.Store(x, p["y"])
	})
}

func addMul(w vec.Width) {
	p := w.Func("addMul", "computes y += (a·s)∘b.", "(y, a, b []float32, s float32)", "y", "a", "b")
	s := w.Broadcast(vec.Stack("s"))
	elementwise(w, "y", func(at vec.At) {
		y, a := at.Load(p["y"]), at.Load(p["a"])
		VMULPS(s, a, a)
		VFMADD231PS(at.Load(p["b"]), a, y)
		at.Store(y, p["y"])
	})
}

func dot(w vec.Width) {
	p := w.Func("dot", "returns a·b.", "(a, b []float32) float32", "a", "b")
	VMOVSS(w.Sum(vec.Len("a"), func(a vec.At, sum reg.VecVirtual) {
		VFMADD231PS(a.Load(p["a"]), a.Load(p["b"]), sum)
	}), vec.Result())
	vec.End()
}

// rope emits the rotation of the heads of a row. Its pairs are the two halves of a head, so that the sweep is over one half.
func rope(w vec.Width) {
	p := w.Func("rope", "rotates heads in x, pairs (x[p], x[p+half]), by the angles with the given cosines and sines·sign.",
		"(x, cos, sin []float32, sign float32)", "x", "cos", "sin")
	sign := w.Broadcast(vec.Stack("sign"))
	left, high, half := vec.Len("x"), GP64(), vec.Len("cos")
	LEAQ(Mem{Base: p["x"], Index: half, Scale: 4}, high)
	Label("head")
	TESTQ(left, left)
	JZ(LabelRef("turned"))
	n := GP64()
	MOVQ(half, n)
	w.Sweep(n, 1, func(group []vec.At) {
		for _, at := range group {
			a, b := at.Load(p["x"]), at.Load(high)
			cos, sin, t := at.Load(p["cos"]), at.Load(p["sin"]), w.New()
			VMULPS(sign, sin, sin)
			VMULPS(b, sin, t)
			VFMSUB231PS(a, cos, t)
			VMULPS(a, sin, sin)
			VFMADD231PS(b, cos, sin)
			at.Store(t, p["x"])
			at.Store(sin, high)
		}
	})
	LEAQ(Mem{Base: p["x"], Index: half, Scale: 8}, p["x"])
	LEAQ(Mem{Base: high, Index: half, Scale: 8}, high)
	SUBQ(half, left)
	SUBQ(half, left)
	JMP(LabelRef("head"))
	Label("turned")
	vec.End()
}
