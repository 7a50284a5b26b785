package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// transpose8 writes dst[p, 0:8] = src[0:8, p] for 8·blocks values of p: eight rows of a matrix become a part of a packed panel.
func transpose8() {
	t := newTranspose("transpose8AVX2", 8, YMM)
	q := t.fours(func(Mem) {})
	out := YMM()
	for i := range 8 {
		half := uint64(0x20)
		if i >= 4 {
			half = 0x31
		}
		VPERM2F128(Imm(half), q[4+i%4], q[i%4], out)
		t.write(out)
	}
	t.end()
}

// transposeAhead is how many bytes before their use the rows of a matrix are fetched: they lie apart, so that no cache would guess them.
const transposeAhead = 512

// transpose16 writes dst[p, 0:16] = src[0:16, p] for 16·blocks values of p: whole cache lines are read, and written.
func transpose16() {
	t := newTranspose("transpose16AVX512", 16, ZMM)
	q := t.fours(func(m Mem) {
		m.Disp = transposeAhead
		PREFETCHT0(m)
	})
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
		t.write(v)
	}
	t.end()
}

// transpose is a loop over blocks of as many columns as there are rows: lanes of them.
type transpose struct {
	lanes     int
	vector    func() reg.VecVirtual
	dst, ldd  reg.GPVirtual
	rows      []reg.GPVirtual // every fourth
	lds, lds3 reg.GPVirtual   // from row to row, and over three
	blocks    reg.GPVirtual
}

// newTranspose begins the function, and its loop.
func newTranspose(name string, lanes int, vector func() reg.VecVirtual) transpose {
	TEXT(name, NOSPLIT, "func(dst *float32, ldd int, src *float32, lds int, blocks int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%[1]s writes dst[p, 0:%[2]d] = src[0:%[2]d, p] for %[2]d*blocks values of p. Rows of dst lie ldd bytes apart, those of src lds.", name, lanes))
	t := transpose{lanes, vector, gp("dst"), gp("ldd"), []reg.GPVirtual{gp("src")}, gp("lds"), GP64(), gp("blocks")}
	for i := 4; i < lanes; i += 4 {
		row := GP64()
		LEAQ(Mem{Base: t.rows[len(t.rows)-1], Index: t.lds, Scale: 4}, row)
		t.rows = append(t.rows, row)
	}
	LEAQ(Mem{Base: t.lds, Index: t.lds, Scale: 2}, t.lds3)
	Label("block")
	return t
}

// row is where the i-th row lies.
func (t transpose) row(i int) Mem {
	m := Mem{Base: t.rows[i/4]}
	switch i % 4 {
	case 1:
		m.Index, m.Scale = t.lds, 1
	case 2:
		m.Index, m.Scale = t.lds, 2
	case 3:
		m.Index, m.Scale = t.lds3, 1
	}
	return m
}

// fours reads a block's rows, with whatever else is to be done where one lies, and interleaves them by four.
func (t transpose) fours(also func(row Mem)) []reg.VecVirtual {
	r, pairs, fours := make([]reg.VecVirtual, t.lanes), make([]reg.VecVirtual, t.lanes), make([]reg.VecVirtual, t.lanes)
	for i := range r {
		r[i] = t.vector()
		VMOVUPS(t.row(i), r[i])
		also(t.row(i))
	}
	for i := 0; i < t.lanes; i += 2 {
		pairs[i], pairs[i+1] = t.vector(), t.vector()
		VUNPCKLPS(r[i+1], r[i], pairs[i])
		VUNPCKHPS(r[i+1], r[i], pairs[i+1])
	}
	for i := 0; i < t.lanes; i += 4 {
		for j := range 2 {
			fours[i+2*j], fours[i+2*j+1] = t.vector(), t.vector()
			VSHUFPS(Imm(0x44), pairs[i+2+j], pairs[i+j], fours[i+2*j])
			VSHUFPS(Imm(0xEE), pairs[i+2+j], pairs[i+j], fours[i+2*j+1])
		}
	}
	return fours
}

// write writes the next row of dst.
func (t transpose) write(v reg.VecVirtual) {
	VMOVUPS(v, Mem{Base: t.dst})
	ADDQ(t.ldd, t.dst)
}

// end goes on to the next block, or ends the function.
func (t transpose) end() {
	for _, row := range t.rows {
		ADDQ(Imm(uint64(4*t.lanes)), row)
	}
	DECQ(t.blocks)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}
