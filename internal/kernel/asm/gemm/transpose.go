package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/vec"
)

// transpose8 writes dst[p, 0:8] = src[0:8, p] for 8·blocks values of p: eight rows of a matrix become a part of a packed panel.
func transpose8() {
	t := newTranspose("transpose8AVX2", vec.AVX2)
	t.block(func(Mem) {})
	t.end()
}

// transposeAhead is how many bytes before their use the rows of a matrix are fetched: they lie apart, so that no cache would guess them.
const transposeAhead = 512

// transpose16 writes dst[p, 0:16] = src[0:16, p] for 16·blocks values of p: whole cache lines are read, and written.
func transpose16() {
	t := newTranspose("transpose16AVX512", vec.AVX512)
	t.block(func(m Mem) {
		m.Disp = transposeAhead
		PREFETCHT0(m)
	})
	t.end()
}

// transpose is a loop over blocks of as many columns as there are rows: lanes of them.
type transpose struct {
	w         vec.Width
	lanes     int
	dst, ldd  reg.GPVirtual
	rows      []reg.GPVirtual // every fourth
	lds, lds3 reg.GPVirtual   // from row to row, and over three
	blocks    reg.GPVirtual
}

// newTranspose begins the function, and its loop.
func newTranspose(name string, w vec.Width) transpose {
	lanes := w.Bytes / 4
	TEXT(name, NOSPLIT, "func(dst *float32, ldd int, src *float32, lds int, blocks int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("%[1]s writes dst[p, 0:%[2]d] = src[0:%[2]d, p] for %[2]d*blocks values of p. Rows of dst lie ldd bytes apart, those of src lds.", name, lanes))
	t := transpose{w, lanes, gp("dst"), gp("ldd"), []reg.GPVirtual{gp("src")}, gp("lds"), GP64(), gp("blocks")}
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

// block reads a block, with whatever else is to be done where one of its rows lies, and writes it.
func (t transpose) block(also func(row Mem)) {
	rows := make([]reg.VecVirtual, t.lanes)
	for i := range rows {
		rows[i] = t.w.Copy(t.row(i))
		also(t.row(i))
	}
	t.w.Transpose(rows, func(_ int, v reg.VecVirtual) {
		VMOVUPS(v, Mem{Base: t.dst})
		ADDQ(t.ldd, t.dst)
	})
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
