package main

import (
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/vec"
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

// parallel is how many exponentials are computed side by side.
const parallel = 4

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

// exponential emits 2^x with as many of its constants in registers as there are.
type exponential struct{ held map[int]reg.VecPhysical }

// newExponential loads constants into the registers that are free; the most used first, and floor always.
func newExponential(free []reg.VecPhysical) exponential {
	e := exponential{map[int]reg.VecPhysical{}}
	order := []int{floor, magic}
	for i := range poly {
		order = append(order, coefficient+i)
	}
	for i, r := range free[:min(len(free), len(order))] {
		VMOVUPS(constant(order[i]), r)
		e.held[order[i]] = r
	}
	return e
}

// operand is a constant, from its register or from memory.
func (e exponential) operand(i int) Op {
	if r, ok := e.held[i]; ok {
		return r
	}
	return constant(i)
}

// stream is the registers of one of the exponentials that are computed side by side.
type stream struct{ x, t, p reg.VecPhysical }

// streams returns so many of them, in the registers from the given one on.
func (t tile) streams(n, from int) []stream {
	var out []stream
	for i := range n {
		r := from + 3*i
		out = append(out, stream{t.vec(r), t.vec(r + 1), t.vec(r + 2)})
	}
	return out
}

// emit sets p = 2^x for x below 127 (1 ulp; 0 from −127 down, NaN stays NaN) in each stream; x and t are overwritten. The streams go in step, since
// one alone is a long chain.
func (e exponential) emit(streams []stream) {
	each := func(f func(s stream)) {
		for _, s := range streams {
			f(s)
		}
	}
	each(func(s stream) { VMAXPS(s.x, e.operand(floor), s.x) })
	each(func(s stream) { VADDPS(e.operand(magic), s.x, s.t) })
	each(func(s stream) { VSUBPS(e.operand(magic), s.t, s.p) })
	each(func(s stream) { VSUBPS(s.p, s.x, s.x) })
	each(func(s stream) { VMOVUPS(e.operand(coefficient+len(poly)-1), s.p) })
	for i := len(poly) - 2; i >= 0; i-- {
		each(func(s stream) { VFMADD213PS(e.operand(coefficient+i), s.x, s.p) })
	}
	each(func(s stream) { VPSLLD(Imm(23), s.t, s.t) })
	each(func(s stream) { VPADDD(s.t, s.p, s.p) })
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
	CMPQ(row, vec.Stack("keys"))
	JGE(LabelRef(done))
	MOVQ(row, key)
	ADDQ(vec.Stack("base"), key)
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
	all := t.streams(parallel, t.regs)
	mask(t, s)
	Load(Param("m"), m)
	Load(Param("l"), l)
	sum := func(j int) reg.VecPhysical { return t.vec(j) }
	top := func(j int) reg.VecPhysical { return all[len(all)-1-j].p } // until the streams are needed
	topAt := func(i int) Mem { return Mem{Base: m, Disp: i % t.regs * t.bytes} }
	for j := range t.regs {
		VMOVUPS(Mem{Base: m, Disp: j * t.bytes}, top(j))
	}
	MOVQ(s, at)
	Load(Param("keys"), n)
	countdown(n, 1, func() {
		for j := range t.regs {
			VMAXPS(Mem{Base: at, Disp: j * t.bytes}, top(j), top(j))
		}
		ADDQ(Imm(uint64(t.row())), at)
	})
	exp2 := newExponential(t.from(t.regs + 3*parallel))
	Load(Param("shrink"), at)
	for j := range t.regs {
		VMOVUPS(Mem{Base: m, Disp: j * t.bytes}, all[j].x)
		VSUBPS(top(j), all[j].x, all[j].x)
	}
	exp2.emit(all[:t.regs])
	for j := range t.regs {
		here := func(p reg.GPVirtual) Mem { return Mem{Base: p, Disp: j * t.bytes} }
		VMOVUPS(all[j].p, here(at))
		VMULPS(here(l), all[j].p, sum(j))
		VMOVUPS(top(j), here(m))
	}
	Load(Param("keys"), n)
	for _, keys := range []int{parallel / t.regs, 1} {
		countdown(n, keys, func() {
			now := all[:keys*t.regs]
			for i, e := range now {
				VMOVUPS(Mem{Base: s, Disp: i * t.bytes}, e.x)
				VSUBPS(topAt(i), e.x, e.x)
			}
			exp2.emit(now)
			for i, e := range now {
				VMOVUPS(e.p, Mem{Base: s, Disp: i * t.bytes})
				VADDPS(e.p, sum(i%t.regs), sum(i%t.regs))
			}
			ADDQ(U32(keys*t.row()), s)
		})
	}
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
	s, dp, lse, delta, n := r["s"], r["dp"], GP64(), GP64(), GP64()
	mask(t, s)
	Load(Param("lse"), lse)
	Load(Param("delta"), delta)
	all := t.streams(parallel, 0)
	exp2 := newExponential(t.from(3 * parallel))
	Load(Param("keys"), n)
	for _, keys := range []int{parallel / t.regs, 1} {
		countdown(n, keys, func() {
			now := all[:keys*t.regs]
			for i, e := range now {
				VMOVUPS(Mem{Base: s, Disp: i * t.bytes}, e.x)
				VSUBPS(Mem{Base: lse, Disp: i % t.regs * t.bytes}, e.x, e.x)
			}
			exp2.emit(now)
			for i, e := range now {
				VMOVUPS(e.p, Mem{Base: s, Disp: i * t.bytes})
				VMOVUPS(Mem{Base: dp, Disp: i * t.bytes}, e.x)
				VSUBPS(Mem{Base: delta, Disp: i % t.regs * t.bytes}, e.x, e.x)
				VMULPS(e.p, e.x, e.x)
				VMOVUPS(e.x, Mem{Base: dp, Disp: i * t.bytes})
			}
			ADDQ(U32(keys*t.row()), s)
			ADDQ(U32(keys*t.row()), dp)
		})
	}
	end()
}
