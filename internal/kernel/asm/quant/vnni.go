package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// vnni emits the product with VPDPBUSD: the quanta of a block in 16 registers while the rows go by.
func (f format) vnni() {
	a, _ := f.begin("VNNI", false)
	var d, dmin [2]reg.VecVirtual // live over the blocks of a header
	if f.header > 0 {
		for h := range 2 {
			d[h], dmin[h] = ZMM(), ZMM()
		}
	}
	head := func() {
		for h := range 2 {
			VCVTPH2PS(Mem{Base: a.w, Disp: h * word / 2}, d[h])
			if f.minimum >= 0 {
				VCVTPH2PS(Mem{Base: a.w, Disp: word + h*word/2}, dmin[h])
			}
		}
	}
	f.loop(a, head, func() {
		w := f.quanta512(a.w)
		scale, second, minimum := f.scales512(a.w, d, dmin)
		a.eachRow(a.ldx, func(x, aux, y reg.GPVirtual) { f.row512(x, aux, y, w, scale, second, minimum) })
	})
}

// half loads 16 values in half precision.
func (f format) half(w reg.GPVirtual, disp int) reg.VecVirtual {
	v := ZMM()
	VCVTPH2PS(Mem{Base: w, Disp: disp}, v)
	return v
}

// quanta512 loads the quanta [8 groups][2 halves] of a block as bytes.
func (f format) quanta512(base reg.GPVirtual) (w [8][2]reg.VecVirtual) {
	if f.bits == 8 {
		for g := range 8 {
			for h := range 2 {
				w[g][h] = ZMM()
				VMOVDQU64(Mem{Base: base, Disp: g*group + h*half}, w[g][h])
			}
		}
		return w
	}
	mask := ZMM()
	VMOVDQU64(everyByte(15), mask)
	for g := range 4 {
		for h := range 2 {
			lo, hi := ZMM(), ZMM()
			VMOVDQU64(Mem{Base: base, Disp: g*group + h*half}, lo)
			VPSRLW(Imm(4), lo, hi)
			VPANDD(mask, lo, lo)
			VPANDD(mask, hi, hi)
			w[g][h], w[g+4][h] = lo, hi
		}
	}
	if f.bits == 5 {
		f.fifth512(base, &w)
	} else if f.bits == 6 {
		f.sixth512(base, &w)
	}
	return w
}

// shifted moves the bits of v left by n, or right by -n, within words: what crosses a byte is masked away.
func shifted(v, to reg.Register, n int) {
	switch {
	case n > 0:
		VPSLLW(Imm(uint64(n)), v, to)
	case n < 0:
		VPSRLW(Imm(uint64(-n)), v, to)
	default:
		VMOVDQA64(v, to)
	}
}

// fifth512 adds bit 4, which is bit g of the byte for group g.
func (f format) fifth512(base reg.GPVirtual, w *[8][2]reg.VecVirtual) {
	mask := ZMM()
	VMOVDQU64(everyByte(16), mask)
	for h := range 2 {
		high := ZMM()
		VMOVDQU64(Mem{Base: base, Disp: f.high + h*half}, high)
		for g := range 8 {
			t := ZMM()
			shifted(high, t, 4-g)
			VPANDD(mask, t, t)
			VPORD(t, w[g][h], w[g][h])
		}
	}
}

// sixth512 adds bits 4 and 5, which are bits 2g and 2g+1 of the first byte for groups 0 to 3, of the second for 4 to 7.
func (f format) sixth512(base reg.GPVirtual, w *[8][2]reg.VecVirtual) {
	mask := ZMM()
	VMOVDQU64(everyByte(48), mask)
	for h := range 2 {
		for part := range 2 {
			high := ZMM()
			VMOVDQU64(Mem{Base: base, Disp: f.high + part*group + h*half}, high)
			for g := range 4 {
				t := ZMM()
				shifted(high, t, 4-2*g)
				VPANDD(mask, t, t)
				VPORD(t, w[4*part+g][h], w[4*part+g][h])
			}
		}
	}
}

// scales512 loads scales and minima of a block; second is that of its second half.
func (f format) scales512(w reg.GPVirtual, d, dmin [2]reg.VecVirtual) (scale, second, minimum [2]reg.VecVirtual) {
	for h := range 2 {
		if f.header == 0 {
			scale[h] = f.half(w, f.scale+h*word/2)
			if f.minimum >= 0 {
				minimum[h] = f.half(w, f.minimum+h*word/2)
			}
			continue
		}
		integer := func(disp int, times reg.VecVirtual) reg.VecVirtual {
			v := ZMM()
			if f.split {
				VPMOVSXBD(Mem{Base: w, Disp: disp + 16*h}, v)
			} else {
				VPMOVZXBD(Mem{Base: w, Disp: disp + 16*h}, v)
			}
			VCVTDQ2PS(v, v)
			VMULPS(times, v, v)
			return v
		}
		scale[h] = integer(f.scale, d[h])
		if f.split {
			second[h] = integer(f.scale+panel, d[h])
		}
		if f.minimum >= 0 {
			minimum[h] = integer(f.minimum, dmin[h])
		}
	}
	return scale, second, minimum
}

// row512 adds a block's product with one row to its sums.
func (f format) row512(x, aux, y reg.GPVirtual, w [8][2]reg.VecVirtual, scale, second, minimum [2]reg.VecVirtual) {
	s := ZMM()
	VBROADCASTSS(Mem{Base: aux}, s)
	sum := [2]reg.VecVirtual{ZMM(), ZMM()}
	for h := range 2 {
		VMOVUPS(Mem{Base: y, Disp: h * tile / 2}, sum[h])
	}
	if f.minimum >= 0 {
		m := ZMM()
		VBROADCASTSS(Mem{Base: aux, Disp: 12}, m)
		for h := range 2 {
			VFMADD231PS(minimum[h], m, sum[h])
		}
	}
	part := func(from, to, disp int, scale [2]reg.VecVirtual) {
		i := [2]reg.VecVirtual{ZMM(), ZMM()}
		if f.offset {
			VPBROADCASTD(Mem{Base: aux, Disp: disp}, i[0])
			VMOVDQA64(i[0], i[1])
		} else {
			VPXORD(i[0], i[0], i[0])
			VPXORD(i[1], i[1], i[1])
		}
		for g := from; g < to; g++ {
			v := ZMM()
			VPBROADCASTD(Mem{Base: x, Disp: 4 * g}, v)
			for h := range 2 {
				VPDPBUSD(v, w[g][h], i[h])
			}
		}
		for h := range 2 {
			t := ZMM()
			VCVTDQ2PS(i[h], i[h])
			VMULPS(s, scale[h], t)
			VFMADD231PS(i[h], t, sum[h])
		}
	}
	if f.split {
		part(0, 4, 4, scale)
		part(4, 8, 8, second)
	} else {
		part(0, 8, 4, scale)
	}
	for h := range 2 {
		VMOVUPS(sum[h], Mem{Base: y, Disp: h * tile / 2})
	}
}
