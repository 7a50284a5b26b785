// Command bf16 writes the kernels that round floats to bfloat16 and lay them out for products.
package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/evex"
)

func main() {
	round()
	pairs()
	zip()
	norm()
	swiglu()
	swigluBackward()
	evex.Generate()
}

// gp loads a parameter.
func gp(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

// low returns a mask of the first n lanes, for n up to 64.
func low(n reg.GPVirtual) reg.OpmaskVirtual {
	bits, k := GP64(), K()
	MOVQ(I64(-1), bits)
	BZHIQ(n, bits, bits)
	KMOVQ(bits, k)
	return k
}

// round writes dst[i] = bfloat16(src[i]), and a zero behind an odd number of values.
func round() {
	TEXT("bf16Round", attr.NOSPLIT, "func(dst *uint16, src *float32, n int)")
	Doc("bf16Round writes dst[i] = src[i] rounded to nearest, ties to even, and a zero behind an odd n.")
	Pragma("noescape")
	dst, src, n := gp("dst"), gp("src"), gp("n")
	a, b := ZMM(), ZMM()
	SUBQ(Imm(32), n)
	JL(LabelRef("tail"))
	Label("loop")
	VMOVUPS(Mem{Base: src}, a)
	VMOVUPS(Mem{Base: src, Disp: 64}, b)
	evex.VCVTNE2PS2BF16(a, b, a)
	VMOVUPS(a, Mem{Base: dst})
	ADDQ(Imm(128), src)
	ADDQ(Imm(64), dst)
	SUBQ(Imm(32), n)
	JGE(LabelRef("loop"))
	Label("tail")
	ADDQ(Imm(32), n)
	JZ(LabelRef("done"))
	bits, k := GP64(), K()
	all := low(n)
	KMOVW(all, k)
	VMOVUPS_Z(Mem{Base: src}, k, a)
	KSHIFTRD(Imm(16), all, all)
	VMOVUPS_Z(Mem{Base: src, Disp: 64}, all, b)
	evex.VCVTNE2PS2BF16(a, b, a)
	INCQ(n)
	SHRQ(Imm(1), n)
	MOVQ(n, bits)
	words := low(bits)
	VMOVDQU32(a, words, Mem{Base: dst})
	Label("done")
	VZEROUPPER()
	RET()
}

// pairs writes blocks of 32 columns of two rows, each column's two values in one word.
func pairs() {
	TEXT("bf16Pairs32", attr.NOSPLIT, "func(dst *float32, step int, low *float32, high *float32, blocks int)")
	Doc("bf16Pairs32 writes blocks of 32 words, step bytes apart: word j holds low[j] in its lower half and high[j] in its upper half, rounded to bfloat16.")
	Pragma("noescape")
	dst, step, a, b, blocks := gp("dst"), gp("step"), gp("low"), gp("high"), gp("blocks")
	index := GLOBL("bf16Pairs32index", attr.RODATA|attr.NOPTR)
	for i := range 16 {
		DATA(4*i, U32(uint32(16+i)<<16|uint32(i)))
	}
	order := ZMM()
	VMOVDQU32(index, order)
	Label("block")
	for at := 0; at < 32; at += 16 {
		x, y := ZMM(), ZMM()
		VMOVUPS(Mem{Base: a, Disp: 4 * at}, x)
		VMOVUPS(Mem{Base: b, Disp: 4 * at}, y)
		evex.VCVTNE2PS2BF16(x, y, x)
		VPERMW(x, order, x)
		VMOVDQU32(x, Mem{Base: dst, Disp: 4 * at})
	}
	ADDQ(U32(4*32), a)
	ADDQ(U32(4*32), b)
	ADDQ(step, dst)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// zip is pairs of rows that are in bfloat16 already.
func zip() {
	TEXT("bf16Zip", attr.NOSPLIT, "func(dst *float32, ldd int, step int, low *uint16, high *uint16, ld int, pairs int, cols int)")
	Doc("bf16Zip writes words of cols columns of pairs of rows, in blocks of 32, step bytes apart, the last one filled up with zeros: word j holds low[j] in its lower half",
		"and high[j] in its upper half. Pairs lie ld bytes apart, and their words ldd.")
	Pragma("noescape")
	dst, ldd, step, low16, high16, ld, pairs, cols := gp("dst"), gp("ldd"), gp("step"), gp("low"), gp("high"), gp("ld"), gp("pairs"), gp("cols")
	var order [2]reg.VecVirtual
	for half := range order {
		index := GLOBL(fmt.Sprintf("bf16Zip%d", half), attr.RODATA|attr.NOPTR)
		for i := range 16 {
			DATA(4*i, U32(uint32(32+16*half+i)<<16|uint32(16*half+i)))
		}
		order[half] = ZMM()
		VMOVDQU32(index, order[half])
	}
	rest := GP64()
	MOVQ(cols, rest)
	ANDQ(Imm(31), rest)
	mask := low(rest)
	write := func(x, y reg.VecVirtual, to reg.GPVirtual) {
		z := ZMM()
		VMOVDQU32(x, z)
		VPERMT2W(y, order[0], z)
		VPERMT2W(y, order[1], x)
		VMOVDQU32(z, Mem{Base: to})
		VMOVDQU32(x, Mem{Base: to, Disp: 64})
	}
	a, b, to, n := GP64(), GP64(), GP64(), GP64()
	x, y := ZMM(), ZMM()
	Label("pair")
	MOVQ(low16, a)
	MOVQ(high16, b)
	MOVQ(dst, to)
	MOVQ(cols, n)
	SUBQ(Imm(32), n)
	JL(LabelRef("tail"))
	Label("block")
	VMOVDQU16(Mem{Base: a}, x)
	VMOVDQU16(Mem{Base: b}, y)
	write(x, y, to)
	ADDQ(Imm(64), a)
	ADDQ(Imm(64), b)
	ADDQ(step, to)
	SUBQ(Imm(32), n)
	JGE(LabelRef("block"))
	Label("tail")
	CMPQ(n, I32(-32))
	JE(LabelRef("next"))
	VMOVDQU16_Z(Mem{Base: a}, mask, x)
	VMOVDQU16_Z(Mem{Base: b}, mask, y)
	write(x, y, to)
	Label("next")
	ADDQ(ld, low16)
	ADDQ(ld, high16)
	ADDQ(ldd, dst)
	DECQ(pairs)
	JNZ(LabelRef("pair"))
	VZEROUPPER()
	RET()
}
