package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/evex"
)

// The softmax of attention in bfloat16 reads scores in float32 and writes the operands of the products that follow, rounded. Two keys go through it at
// once. Of a pair of keys the words hold the first in their lower halves; of a row of lanes they hold neighbours.

// pairIndex interleaves the lower and the upper half of a register.
func pairIndex() Mem {
	m := GLOBL("attnPairIndex", attr.RODATA|attr.NOPTR)
	for i := range 16 {
		DATA(4*i, U32(uint32(16+i)<<16|uint32(i)))
	}
	return m
}

// softmaxBF16 emits one tile's step of the online softmax in base 2, with the weights as pairs of keys.
func softmaxBF16(t tile, index Mem) {
	const name = "attnSoftmaxBF16"
	r := begin(name, name+" turns the scores s[keys][lanes] into weights 2^(s−m), written as p[keys/2][lanes] words of two keys, zero behind an odd one; m, the sum l of the weights and shrink = 2^(old m − m) are brought up to date.",
		"p, s, m, l, shrink *float32, limit *int32, base, keys, full int", "p", "s")
	p, s, m, l, at, n := r["p"], r["s"], GP64(), GP64(), GP64(), GP64()
	all := t.streams(parallel, t.regs)
	mask(t, s)
	Load(Param("m"), m)
	Load(Param("l"), l)
	sum := func(j int) reg.VecPhysical { return t.vec(j) }
	top := func(j int) reg.VecPhysical { return all[len(all)-1-j].p } // until the streams are needed
	here := func(p reg.GPVirtual, j int) Mem { return Mem{Base: p, Disp: j * t.bytes} }
	for j := range t.regs {
		VMOVUPS(here(m, j), top(j))
	}
	MOVQ(s, at)
	Load(Param("keys"), n)
	countdown(n, 1, func() {
		for j := range t.regs {
			VMAXPS(here(at, j), top(j), top(j))
		}
		ADDQ(Imm(uint64(t.row())), at)
	})
	order := t.vec(t.regs + 3*parallel)
	VMOVUPS(index, order)
	exp2 := newExponential(t.from(t.regs + 3*parallel + 1))
	Load(Param("shrink"), at)
	for j := range t.regs {
		VMOVUPS(here(m, j), all[j].x)
		VSUBPS(top(j), all[j].x, all[j].x)
	}
	exp2.emit(all[:t.regs])
	for j := range t.regs {
		VMOVUPS(all[j].p, here(at, j))
		VMULPS(here(l, j), all[j].p, sum(j))
		VMOVUPS(top(j), here(m, j))
	}
	Load(Param("keys"), n)
	pairsOfKeys(n, func(keys int) {
		now := all[:keys*t.regs]
		for i, e := range now {
			VMOVUPS(here(s, i), e.x)
			VSUBPS(here(m, i%t.regs), e.x, e.x)
		}
		exp2.emit(now)
		for i, e := range now {
			VADDPS(e.p, sum(i%t.regs), sum(i%t.regs))
		}
		for j := range t.regs {
			pair(t, all, keys, j, order, func(s stream) reg.VecPhysical { return s.p })
			VMOVUPS(all[j].t, here(p, j))
		}
		ADDQ(U32(keys*t.row()), s)
		ADDQ(U32(t.row()), p)
	})
	for j := range t.regs {
		VMOVUPS(sum(j), here(l, j))
	}
	end()
}

// softmaxBackwardBF16 emits the weights and the gradient of the scores of one tile.
func softmaxBackwardBF16(t tile, index Mem) {
	const name = "attnSoftmaxBackwardBF16"
	r := begin(name, name+" makes weights w = 2^(s−lse) of the scores s[keys][lanes] and the gradient ds = w·(dp−delta) of the scores from that of the weights, dp[keys][lanes]. Both are written as p[keys] and dsRows[keys], rows of words of two lanes that lie stride bytes apart, and ds as dsPairs[keys/2][lanes] words of two keys too, zero behind an odd one.",
		"p, dsRows, dsPairs *float32, stride int, s, dp, lse, delta *float32, limit *int32, base, keys, full int", "p", "dsRows", "dsPairs", "stride", "s", "dp")
	p, ds, pairs, stride, s, dp, lse, delta, n := r["p"], r["dsRows"], r["dsPairs"], r["stride"], r["s"], r["dp"], GP64(), GP64(), GP64()
	mask(t, s)
	Load(Param("lse"), lse)
	Load(Param("delta"), delta)
	all := t.streams(parallel, 0)
	order := t.vec(3 * parallel)
	VMOVUPS(index, order)
	exp2 := newExponential(t.from(3*parallel + 1))
	here := func(p reg.GPVirtual, j int) Mem { return Mem{Base: p, Disp: j * t.bytes} }
	Load(Param("keys"), n)
	pairsOfKeys(n, func(keys int) {
		now := all[:keys*t.regs]
		for i, e := range now {
			VMOVUPS(here(s, i), e.x)
			VSUBPS(here(lse, i%t.regs), e.x, e.x)
		}
		exp2.emit(now)
		for i, e := range now {
			VMOVUPS(here(dp, i), e.x)
			VSUBPS(here(delta, i%t.regs), e.x, e.x)
			VMULPS(e.p, e.x, e.x)
		}
		for k := range keys {
			low, high := all[k*t.regs], all[k*t.regs+1]
			evex.VCVTNE2PS2BF16(low.p, high.p, low.t)
			evex.VCVTNE2PS2BF16(low.x, high.x, high.t)
			VMOVUPS(low.t, Mem{Base: p})
			VMOVUPS(high.t, Mem{Base: ds})
			ADDQ(stride, p)
			ADDQ(stride, ds)
		}
		for j := range t.regs {
			pair(t, all, keys, j, order, func(s stream) reg.VecPhysical { return s.x })
			VMOVUPS(all[j].t, here(pairs, j))
		}
		ADDQ(U32(keys*t.row()), s)
		ADDQ(U32(keys*t.row()), dp)
		ADDQ(U32(t.row()), pairs)
	})
	end()
}

// pairsOfKeys emits body for two keys while so many remain, and then for one.
func pairsOfKeys(n reg.GPVirtual, body func(keys int)) {
	for _, keys := range []int{2, 1} {
		countdown(n, keys, func() { body(keys) })
	}
}

// pair leaves in the t of stream j the words of register column j: of two keys, or of one and zero.
func pair(t tile, all []stream, keys, j int, order reg.VecPhysical, of func(stream) reg.VecPhysical) {
	upper := all[t.regs].t // the second key's streams are free behind the last of two
	if keys == 2 {
		upper = of(all[t.regs+j])
	} else {
		VPXORD(upper, upper, upper)
	}
	evex.VCVTNE2PS2BF16(of(all[j]), upper, all[j].t)
	VPERMW(all[j].t, order, all[j].t)
}

// scaleLanes emits c[rows][lanes] *= scale[lanes].
func scaleLanes(t tile) {
	r := begin("attnScaleLanes", "attnScaleLanes computes c[rows][lanes] *= scale[lanes].", "c, scale *float32, rows int", "c", "scale", "rows")
	for j := range t.regs {
		VMOVUPS(Mem{Base: r["scale"], Disp: j * t.bytes}, t.vec(j))
	}
	countdown(r["rows"], 1, func() {
		for j := range t.regs {
			at := Mem{Base: r["c"], Disp: j * t.bytes}
			VMULPS(at, t.vec(j), t.vec(t.regs+j))
			VMOVUPS(t.vec(t.regs+j), at)
		}
		ADDQ(U32(t.row()), r["c"])
	})
	end()
}
