package vec

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Transpose gives out the columns of a block of as many rows as a register has lanes, in their order.
func (w Width) Transpose(rows []reg.VecVirtual, column func(i int, v reg.VecVirtual)) {
	q := w.fours(rows)
	if w == AVX2 {
		for i := range 8 {
			half := uint64(0x20)
			if i >= 4 {
				half = 0x31
			}
			out := w.New()
			VPERM2F128(Imm(half), q[4+i%4], q[i%4], out)
			column(i, out)
		}
		return
	}
	var out [16]reg.VecVirtual
	for m := range 4 { // quarter l of q[4i+m] is the column 4l+m of the rows from 4i on
		for half, low := range []uint64{0x44, 0xEE} {
			x, y := w.New(), w.New()
			VSHUFF32X4(Imm(low), q[4+m], q[m], x)
			VSHUFF32X4(Imm(low), q[12+m], q[8+m], y)
			even, odd := w.New(), w.New()
			VSHUFF32X4(Imm(0x88), y, x, even)
			VSHUFF32X4(Imm(0xDD), y, x, odd)
			out[8*half+m], out[8*half+4+m] = even, odd
		}
	}
	for i, v := range out {
		column(i, v)
	}
}

// fours interleaves rows by four: each quarter of a register holds a column of four rows.
func (w Width) fours(rows []reg.VecVirtual) []reg.VecVirtual {
	pairs, fours := make([]reg.VecVirtual, len(rows)), make([]reg.VecVirtual, len(rows))
	for i := 0; i < len(rows); i += 2 {
		pairs[i], pairs[i+1] = w.New(), w.New()
		VUNPCKLPS(rows[i+1], rows[i], pairs[i])
		VUNPCKHPS(rows[i+1], rows[i], pairs[i+1])
	}
	for i := 0; i < len(rows); i += 4 {
		for j := range 2 {
			fours[i+2*j], fours[i+2*j+1] = w.New(), w.New()
			VSHUFPS(Imm(0x44), pairs[i+2+j], pairs[i+j], fours[i+2*j])
			VSHUFPS(Imm(0xEE), pairs[i+2+j], pairs[i+j], fours[i+2*j+1])
		}
	}
	return fours
}
