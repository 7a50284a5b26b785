package main

import (
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/vec"
)

// beginQuantize starts the function of a level that writes activations as integers.
func beginQuantize(level string) (q, aux, x, blocks reg.GPVirtual) {
	TEXT("quantize"+level, attr.NOSPLIT, "func(q *byte, aux *float32, x *float32, blocks int, offset int, keep int, sign float32)")
	Pragma("noescape")
	Doc("quantize" + level + " writes blocks of 32 activations as integers of one scale, and for each block the scale, the sum of the integers times offset (of the halves,")
	Doc("with the second added to the first under the mask keep), and sign times scale times the sum.")
	load := func(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }
	return load("q"), load("aux"), load("x"), load("blocks")
}

// magnitude is the mask of a float without its sign.
const magnitude = math.MaxInt32

// scaleOf turns the largest magnitude in lane 0 into the scale there, and returns the inverse, which is 0 for a scale of 0.
func scaleOf(top reg.VecVirtual) reg.VecVirtual {
	x := top.AsX()
	inverse, zero, top127 := YMM(), XMM(), XMM()
	VXORPS(zero, zero, zero)
	VMOVSS(vec.Const(127), top127)
	VDIVSS(x, top127, inverse.AsX())
	VCMPSS(Imm(4), zero, x, zero) // all ones where not zero
	VANDPS(zero, inverse.AsX(), inverse.AsX())
	VDIVSS(top127, x, x)
	return inverse
}

// describe writes what a product needs to know of a block: scale in lane 0, sums of the halves in first and second.
func describe(aux reg.GPVirtual, scale reg.VecVirtual, first, second reg.GPVirtual) {
	stack := func(name string) Mem {
		b, err := Param(name).Resolve()
		if err != nil {
			panic(err)
		}
		return b.Addr
	}
	all, t := GP64(), GP64()
	s := XMM()
	VMOVSS(scale.AsX(), Mem{Base: aux})
	MOVLQSX(first.As32(), first)
	MOVLQSX(second.As32(), second)
	LEAQ(Mem{Base: first, Index: second, Scale: 1}, all)
	VXORPS(s, s, s)
	VCVTSI2SSQ(all, s, s)
	VMULSS(scale.AsX(), s, s)
	VMULSS(stack("sign"), s, s)
	VMOVSS(s, Mem{Base: aux, Disp: 12})
	MOVQ(second, t)
	ANDQ(stack("keep"), t)
	ADDQ(t, first)
	IMULQ(stack("offset"), first)
	IMULQ(stack("offset"), second)
	MOVL(first.As32(), Mem{Base: aux, Disp: 4})
	MOVL(second.As32(), Mem{Base: aux, Disp: 8})
}

// top reduces a YMM register of magnitudes to lane 0.
func top(v reg.VecVirtual) {
	t := YMM()
	VEXTRACTF128(Imm(1), v, t.AsX())
	VMAXPS(t.AsX(), v.AsX(), v.AsX())
	VPERMILPS(Imm(0x4E), v.AsX(), t.AsX())
	VMAXPS(t.AsX(), v.AsX(), v.AsX())
	VPERMILPS(Imm(0xB1), v.AsX(), t.AsX())
	VMAXPS(t.AsX(), v.AsX(), v.AsX())
}

// total adds up the integers of a YMM register.
func total(v reg.VecVirtual) reg.GPVirtual {
	t, out := YMM(), GP64()
	VEXTRACTI128(Imm(1), v, t.AsX())
	VPADDD(t.AsX(), v.AsX(), v.AsX())
	VPSHUFD(Imm(0x4E), v.AsX(), t.AsX())
	VPADDD(t.AsX(), v.AsX(), v.AsX())
	VPSHUFD(Imm(0xB1), v.AsX(), t.AsX())
	VPADDD(t.AsX(), v.AsX(), v.AsX())
	VMOVD(v.AsX(), out.As32())
	return out
}

func quantize512() {
	q, aux, x, blocks := beginQuantize("VNNI")
	Label("block")
	v := [2]reg.VecVirtual{ZMM(), ZMM()}
	m, t, up := ZMM(), ZMM(), YMM()
	for i := range 2 {
		VMOVUPS(Mem{Base: x, Disp: 64 * i}, v[i])
	}
	VPANDD_BCST(vec.ConstBits(magnitude), v[0], m)
	VPANDD_BCST(vec.ConstBits(magnitude), v[1], t)
	VMAXPS(t, m, m)
	VEXTRACTF64X4(Imm(1), m, up)
	best := YMM()
	VMAXPS(up, m.AsY(), best)
	top(best)
	inverse, wide := scaleOf(best), ZMM()
	VBROADCASTSS(inverse.AsX(), wide)
	var sums [2]reg.GPVirtual
	for i := range 2 {
		VMULPS(wide, v[i], v[i])
		VCVTPS2DQ(v[i], v[i])
		VPMOVDB(v[i], Mem{Base: q, Disp: 16 * i})
		upper, lower := YMM(), YMM()
		VEXTRACTI64X4(Imm(1), v[i], upper)
		VPADDD(upper, v[i].AsY(), lower)
		sums[i] = total(lower)
	}
	describe(aux, best, sums[0], sums[1])
	ADDQ(Imm(32), q)
	endQuantize(aux, x, blocks)
}

func quantize256() {
	q, aux, x, blocks := beginQuantize("AVX2")
	Label("block")
	var v [4]reg.VecVirtual
	best, t := YMM(), YMM()
	for i := range v {
		v[i] = YMM()
		VMOVUPS(Mem{Base: x, Disp: 32 * i}, v[i])
		if i == 0 {
			VANDPS(vec.ConstBits(magnitude), v[i], best)
			continue
		}
		VANDPS(vec.ConstBits(magnitude), v[i], t)
		VMAXPS(t, best, best)
	}
	top(best)
	inverse, wide := scaleOf(best), YMM()
	VBROADCASTSS(inverse.AsX(), wide)
	for i := range v {
		VMULPS(wide, v[i], v[i])
		VCVTPS2DQ(v[i], v[i])
	}
	var sums [2]reg.GPVirtual
	for i := range 2 {
		packed := YMM()
		VPACKSSDW(v[2*i+1], v[2*i], packed)
		VPERMQ(Imm(0xD8), packed, packed)
		VMOVDQU(packed, Mem{Base: q, Disp: 32 * i})
		VPADDD(v[2*i+1], v[2*i], v[2*i])
		sums[i] = total(v[2*i])
	}
	describe(aux, best, sums[0], sums[1])
	ADDQ(Imm(64), q)
	endQuantize(aux, x, blocks)
}

func endQuantize(aux, x, blocks reg.GPVirtual) {
	ADDQ(Imm(16), aux)
	ADDQ(U32(128), x)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}
