package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/evex"
	"mor/internal/kernel/asm/vec"
)

// place is 32 values of a row, as two registers of floats; what lies behind the end of the row is masked.
type place struct {
	index reg.GPVirtual        // of the first value
	part  [2]reg.OpmaskVirtual // of the values of each register
	all   reg.OpmaskVirtual    // of all 32
}

// sweep emits body for n values, n being used up: whole places, then what is left.
func sweep(n reg.GPVirtual, body func(p place)) {
	loop, tail, done := vec.NewLabel("loop"), vec.NewLabel("tail"), vec.NewLabel("done")
	index := GP64()
	XORQ(index, index)
	SUBQ(Imm(32), n)
	JL(LabelRef(tail))
	Label(loop)
	body(place{index: index})
	ADDQ(Imm(32), index)
	SUBQ(Imm(32), n)
	JGE(LabelRef(loop))
	Label(tail)
	ADDQ(Imm(32), n)
	JZ(LabelRef(done))
	all, left, right := low(n), K(), K()
	KMOVW(all, left)
	KSHIFTRD(Imm(16), all, right)
	body(place{index, [2]reg.OpmaskVirtual{left, right}, all})
	Label(done)
}

// floats loads the values at base.
func (p place) floats(base reg.Register) [2]reg.VecVirtual {
	v := [2]reg.VecVirtual{ZMM(), ZMM()}
	for i, x := range v {
		at := Mem{Base: base, Index: p.index, Scale: 4, Disp: 64 * i}
		if p.all == nil {
			VMOVUPS(at, x)
		} else {
			VMOVUPS_Z(at, p.part[i], x)
		}
	}
	return v
}

// halves loads the bfloat16 values at base.
func (p place) halves(base reg.Register) [2]reg.VecVirtual {
	v := [2]reg.VecVirtual{ZMM(), ZMM()}
	for i, x := range v {
		at := Mem{Base: base, Index: p.index, Scale: 2, Disp: 32 * i}
		if p.all == nil {
			VPMOVZXWD(at, x)
		} else {
			VPMOVZXWD_Z(at, p.part[i], x)
		}
		VPSLLD(Imm(16), x, x)
	}
	return v
}

// store writes values rounded to bfloat16, and overwrites the first register.
func (p place) store(v [2]reg.VecVirtual, base reg.Register) {
	evex.VCVTNE2PS2BF16(v[0], v[1], v[0])
	at := Mem{Base: base, Index: p.index, Scale: 2}
	if p.all == nil {
		VMOVDQU16(v[0], at)
	} else {
		VMOVDQU16(v[0], p.all, at)
	}
}

func begin(name, params, doc string) {
	TEXT(name, attr.NOSPLIT, "func("+params+")")
	Doc(name + " " + doc)
	Pragma("noescape")
}

func norm() {
	begin("bf16Norm", "y *uint16, rstd, x, w *float32, rows, d int", "computes y = (x·rstd)∘w of each row; rows of y hold an even number of values.")
	y, rstd, x, w, rows, d := gp("y"), gp("rstd"), gp("x"), gp("w"), gp("rows"), gp("d")
	n, stride := GP64(), GP64()
	LEAQ(Mem{Base: d, Disp: 1}, stride)
	ANDQ(I32(-2), stride)
	Label("row")
	r := vec.AVX512.Broadcast(Mem{Base: rstd})
	MOVQ(d, n)
	sweep(n, func(p place) {
		a, b := p.floats(x), p.floats(w)
		for i := range a {
			VMULPS(r, a[i], a[i])
			VMULPS(b[i], a[i], a[i])
		}
		p.store(a, y)
	})
	ADDQ(Imm(4), rstd)
	LEAQ(Mem{Base: x, Index: d, Scale: 4}, x)
	LEAQ(Mem{Base: y, Index: stride, Scale: 2}, y)
	DECQ(rows)
	JNZ(LabelRef("row"))
	vec.End()
}

func swiglu() {
	begin("bf16SwiGLU", "y *uint16, gate16 *uint16, up16 *uint16, gate *float32, up *float32, n int", "computes y = silu(gate)∘up, and rounds gate and up.")
	y, gate16, up16, gate, up, n := gp("y"), gp("gate16"), gp("up16"), gp("gate"), gp("up"), gp("n")
	sweep(n, func(p place) {
		g, u := p.floats(gate), p.floats(up)
		var out [2]reg.VecVirtual
		for i := range g {
			out[i] = vec.AVX512.Sigmoid(g[i])
			VMULPS(g[i], out[i], out[i])
			VMULPS(u[i], out[i], out[i])
		}
		p.store(out, y)
		p.store(g, gate16)
		p.store(u, up16)
	})
	vec.End()
}

func swigluBackward() {
	begin("bf16SwiGLUBackward", "dgate *uint16, dup *uint16, y *uint16, dy *float32, gate *uint16, up *uint16, n int",
		"computes dgate = dy∘up∘silu′(gate), dup = dy∘silu(gate) and y = silu(gate)∘up. dgate may be gate, and dup up.")
	dgate, dup, y, dy, gate, up, n := gp("dgate"), gp("dup"), gp("y"), gp("dy"), gp("gate"), gp("up"), gp("n")
	one := vec.AVX512.Fill(1)
	sweep(n, func(p place) {
		g, u, d := p.halves(gate), p.halves(up), p.floats(dy)
		var slope, silu [2]reg.VecVirtual
		for i := range g {
			s := vec.AVX512.Sigmoid(g[i])
			slope[i], silu[i] = ZMM(), ZMM()
			VMULPS(s, g[i], silu[i])
			VSUBPS(s, one, slope[i]) // σ(1 + g(1−σ)) = σ + silu·(1−σ)
			VFMADD213PS(s, silu[i], slope[i])
			VMULPS(u[i], slope[i], slope[i])
			VMULPS(d[i], slope[i], slope[i])
			VMULPS(silu[i], u[i], u[i])
			VMULPS(d[i], silu[i], silu[i])
		}
		p.store(u, y)
		p.store(slope, dgate)
		p.store(silu, dup)
	})
	vec.End()
}
