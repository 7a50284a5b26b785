package main

import (
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The constants of exp2, one vector of the widest kind each.
const (
	magic = iota // 1.5·2²³: adding it rounds to an integer in the low bits
	floor        // exp2 of it is exactly 0 here
	minus        // −∞
	coefficient
)

// poly is the minimax polynomial of 2^x on [−½, ½] with the constant term 1: relative error 2e-9 before rounding.
var poly = []float32{1, 0.6931471824645996, 0.24022647738456726, 0.055503323674201965, 0.00961843691766262, 0.0013398875016719103, 0.00015353361959569156}

var table Mem

func constants() {
	table = GLOBL("attnConstants", attr.RODATA|attr.NOPTR)
	values := append([]float32{0x1.8p23, -127, float32(math.Inf(-1))}, poly...)
	for i, v := range values {
		for lane := range 16 {
			DATA(64*i+4*lane, U32(math.Float32bits(v)))
		}
	}
}

func constant(i int) Mem { return table.Offset(64 * i) }

// exp2 emits p = 2^x for x below 127 (1 ulp; 0 from −127 down, NaN stays NaN); x and t are overwritten, low holds the constant floor.
func exp2(x, t, p, low reg.VecPhysical) {
	VMAXPS(x, low, x)
	VADDPS(constant(magic), x, t)
	VSUBPS(constant(magic), t, p)
	VSUBPS(p, x, x)
	VMOVUPS(constant(coefficient+len(poly)-1), p)
	for i := len(poly) - 2; i >= 0; i-- {
		VFMADD213PS(constant(coefficient+i), x, p)
	}
	VPSLLD(Imm(23), t, t)
	VPADDD(t, p, p)
}

// mask emits s = −∞ where the key base+row is not below limit[lane], for the rows [full, keys).
func mask(t tile, s reg.GPVirtual) {
	row, key, at, limit := GP64(), GP64(), GP64(), GP64()
	Load(Param("limit"), limit)
	Load(Param("full"), row)
	MOVQ(row, at)
	IMUL3Q(U32(t.row()), at, at)
	ADDQ(s, at)
	loop, done := label("mask"), label("masked")
	Label(loop)
	CMPQ(row, stackParam("keys"))
	JGE(LabelRef(done))
	MOVQ(row, key)
	ADDQ(stackParam("base"), key)
	k, in := t.vec(0), t.vec(1)
	VMOVD(key.As32(), k.AsX())
	VPBROADCASTD(k.AsX(), k)
	for j := range t.regs {
		VPSUBD(Mem{Base: limit, Disp: j * t.bytes}, k, in)
		VPSRAD(Imm(31), in, in)
		out := t.vec(2)
		VMOVUPS(constant(minus), out)
		VANDNPS(out, in, out)
		VANDPS(Mem{Base: at, Disp: j * t.bytes}, in, in)
		VORPS(in, out, out)
		VMOVUPS(out, Mem{Base: at, Disp: j * t.bytes})
	}
	ADDQ(U32(t.row()), at)
	INCQ(row)
	JMP(LabelRef(loop))
	Label(done)
}

// softmax emits one tile's step of the online softmax in base 2.
func softmax(t tile) {
	name := "attnSoftmax" + t.suffix
	r := begin(name, name+" turns the scores s[keys][lanes] into weights 2^(s−m), with m and the sum l of the weights brought up to date and shrink = 2^(old m − m).",
		"s, m, l, shrink *float32, limit *int32, base, keys, full int", "s")
	s, m, l, at, n := r["s"], GP64(), GP64(), GP64(), GP64()
	mask(t, s)
	Load(Param("m"), m)
	Load(Param("l"), l)
	top := func(j int) reg.VecPhysical { return t.vec(j) }
	sum := func(j int) reg.VecPhysical { return t.vec(t.regs + j) }
	low := t.vec(2 * t.regs)
	tmp := func(j, i int) reg.VecPhysical { return t.vec(2*t.regs + 1 + 3*j + i) }
	VMOVUPS(constant(floor), low)
	for j := range t.regs {
		VMOVUPS(Mem{Base: m, Disp: j * t.bytes}, top(j))
	}
	MOVQ(s, at)
	Load(Param("keys"), n)
	countdown(n, 1, func() {
		for j := range t.regs {
			VMAXPS(Mem{Base: at, Disp: j * t.bytes}, top(j), top(j))
		}
		ADDQ(U32(t.row()), at)
	})
	Load(Param("shrink"), at)
	for j := range t.regs {
		here := func(p reg.GPVirtual) Mem { return Mem{Base: p, Disp: j * t.bytes} }
		VMOVUPS(here(m), tmp(j, 0))
		VSUBPS(top(j), tmp(j, 0), tmp(j, 0))
		exp2(tmp(j, 0), tmp(j, 1), tmp(j, 2), low)
		VMOVUPS(tmp(j, 2), here(at))
		VMULPS(here(l), tmp(j, 2), sum(j))
		VMOVUPS(top(j), here(m))
	}
	Load(Param("keys"), n)
	countdown(n, 1, func() {
		for j := range t.regs {
			here := Mem{Base: s, Disp: j * t.bytes}
			VMOVUPS(here, tmp(j, 0))
			VSUBPS(top(j), tmp(j, 0), tmp(j, 0))
			exp2(tmp(j, 0), tmp(j, 1), tmp(j, 2), low)
			VMOVUPS(tmp(j, 2), here)
			VADDPS(tmp(j, 2), sum(j), sum(j))
		}
		ADDQ(U32(t.row()), s)
	})
	for j := range t.regs {
		VMOVUPS(sum(j), Mem{Base: l, Disp: j * t.bytes})
	}
	end()
}

// softmaxBackward emits the weights and the gradient of the scores of one tile.
func softmaxBackward(t tile) {
	name := "attnSoftmaxBackward" + t.suffix
	r := begin(name, name+" turns the scores s[keys][lanes] into weights p = 2^(s−lse) and the weights' gradient dp into that of the scores, p·(dp−delta).",
		"s, dp, lse, delta *float32, limit *int32, base, keys, full int", "s", "dp")
	s, dp, p, delta, n := r["s"], r["dp"], GP64(), GP64(), GP64()
	mask(t, s)
	Load(Param("lse"), p)
	Load(Param("delta"), delta)
	lse := func(j int) reg.VecPhysical { return t.vec(j) }
	low := t.vec(t.regs)
	tmp := func(j, i int) reg.VecPhysical { return t.vec(t.regs + 1 + 3*j + i) }
	VMOVUPS(constant(floor), low)
	for j := range t.regs {
		VMOVUPS(Mem{Base: p, Disp: j * t.bytes}, lse(j))
	}
	Load(Param("keys"), n)
	countdown(n, 1, func() {
		for j := range t.regs {
			here := func(p reg.GPVirtual) Mem { return Mem{Base: p, Disp: j * t.bytes} }
			x, w := tmp(j, 0), tmp(j, 2)
			VMOVUPS(here(s), x)
			VSUBPS(lse(j), x, x)
			exp2(x, tmp(j, 1), w, low)
			VMOVUPS(w, here(s))
			VMOVUPS(here(dp), x)
			VSUBPS(here(delta), x, x)
			VMULPS(w, x, x)
			VMOVUPS(x, here(dp))
		}
		ADDQ(U32(t.row()), s)
		ADDQ(U32(t.row()), dp)
	})
	end()
}
