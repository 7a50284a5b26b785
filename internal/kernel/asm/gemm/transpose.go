package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// transpose8 writes dst[p, 0:8] = src[0:8, p] for 8·blocks values of p: eight rows of a matrix become a part of a packed panel.
func transpose8() {
	TEXT("transpose8AVX2", NOSPLIT, "func(dst *float32, ldd int, src *float32, lds int, blocks int)")
	Pragma("noescape")
	Doc("transpose8AVX2 writes dst[p, 0:8] = src[0:8, p] for 8*blocks values of p. Rows of dst lie ldd bytes apart, those of src lds.")
	dst, ldd := Load(Param("dst"), GP64()).(reg.GPVirtual), Load(Param("ldd"), GP64()).(reg.GPVirtual)
	src, lds := Load(Param("src"), GP64()).(reg.GPVirtual), Load(Param("lds"), GP64()).(reg.GPVirtual)
	blocks := Load(Param("blocks"), GP64())
	second := GP64() // row 4
	LEAQ(Mem{Base: src, Index: lds, Scale: 4}, second)
	lds3 := GP64()
	LEAQ(Mem{Base: lds, Index: lds, Scale: 2}, lds3)
	Label("block")
	r := make([]reg.VecVirtual, 8)
	for i := range r {
		r[i] = YMM()
		VMOVUPS(rowAt([]reg.GPVirtual{src, second}, lds, lds3, i), r[i])
	}
	t := make([]reg.VecVirtual, 8) // pairs of rows interleaved
	for i := 0; i < 8; i += 2 {
		t[i], t[i+1] = YMM(), YMM()
		VUNPCKLPS(r[i+1], r[i], t[i])
		VUNPCKHPS(r[i+1], r[i], t[i+1])
	}
	q := make([]reg.VecVirtual, 8) // fours of rows interleaved
	for i := 0; i < 8; i += 4 {
		for j := range 2 {
			q[i+2*j], q[i+2*j+1] = YMM(), YMM()
			VSHUFPS(Imm(0x44), t[i+2+j], t[i+j], q[i+2*j])
			VSHUFPS(Imm(0xEE), t[i+2+j], t[i+j], q[i+2*j+1])
		}
	}
	out := YMM()
	for i := range 8 {
		half := uint64(0x20)
		if i >= 4 {
			half = 0x31
		}
		VPERM2F128(Imm(half), q[4+i%4], q[i%4], out)
		VMOVUPS(out, Mem{Base: dst})
		ADDQ(ldd, dst)
	}
	ADDQ(Imm(32), src)
	ADDQ(Imm(32), second)
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// transposeAhead is how many bytes before their use the rows of a matrix are fetched: they lie apart, so that no cache would guess them.
const transposeAhead = 512

// rowAt is where the i-th row lies: four share a base register.
func rowAt(bases []reg.GPVirtual, ld, ld3 reg.GPVirtual, i int) Mem {
	m := Mem{Base: bases[i/4]}
	switch i % 4 {
	case 1:
		m.Index, m.Scale = ld, 1
	case 2:
		m.Index, m.Scale = ld, 2
	case 3:
		m.Index, m.Scale = ld3, 1
	}
	return m
}

// transpose16 writes dst[p, 0:16] = src[0:16, p] for 16·blocks values of p: whole cache lines are read, and written.
func transpose16() {
	TEXT("transpose16AVX512", NOSPLIT, "func(dst *float32, ldd int, src *float32, lds int, blocks int)")
	Pragma("noescape")
	Doc("transpose16AVX512 writes dst[p, 0:16] = src[0:16, p] for 16*blocks values of p. Rows of dst lie ldd bytes apart, those of src lds.")
	dst, ldd, src, lds, blocks := gp("dst"), gp("ldd"), gp("src"), gp("lds"), gp("blocks")
	bases, lds3 := []reg.GPVirtual{src}, GP64()
	for i := range 3 {
		bases = append(bases, GP64())
		LEAQ(Mem{Base: bases[i], Index: lds, Scale: 4}, bases[i+1])
	}
	LEAQ(Mem{Base: lds, Index: lds, Scale: 2}, lds3)
	Label("block")
	var r, t, q [16]reg.VecVirtual
	for i := range r {
		r[i] = ZMM()
		m := rowAt(bases, lds, lds3, i)
		VMOVUPS(m, r[i])
		m.Disp = transposeAhead
		PREFETCHT0(m)
	}
	for i := 0; i < 16; i += 2 { // pairs of rows interleaved
		t[i], t[i+1] = ZMM(), ZMM()
		VUNPCKLPS(r[i+1], r[i], t[i])
		VUNPCKHPS(r[i+1], r[i], t[i+1])
	}
	for i := 0; i < 16; i += 4 { // fours of rows interleaved
		for j := range 2 {
			q[i+2*j], q[i+2*j+1] = ZMM(), ZMM()
			VSHUFPS(Imm(0x44), t[i+2+j], t[i+j], q[i+2*j])
			VSHUFPS(Imm(0xEE), t[i+2+j], t[i+j], q[i+2*j+1])
		}
	}
	var out [16]reg.VecVirtual
	for m := range 4 { // quarter l of q[4i+m] is the column 4l+m of the rows from 4i on
		for half, low := range []uint64{0x44, 0xEE} {
			x, y := ZMM(), ZMM()
			VSHUFF32X4(Imm(low), q[4+m], q[m], x)
			VSHUFF32X4(Imm(low), q[12+m], q[8+m], y)
			even, odd := ZMM(), ZMM()
			VSHUFF32X4(Imm(0x88), y, x, even)
			VSHUFF32X4(Imm(0xDD), y, x, odd)
			out[8*half+m], out[8*half+4+m] = even, odd
		}
	}
	for _, v := range out {
		VMOVUPS(v, Mem{Base: dst})
		ADDQ(ldd, dst)
	}
	for _, base := range bases {
		ADDQ(Imm(64), base)
	}
	DECQ(blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}
