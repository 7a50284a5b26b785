package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Scratch of the AVX2 product: the quanta of a block as 16-bit integers, then its scales and minima as floats.
const (
	wide        = 8 * 2 * group
	wideScale   = wide
	wideSecond  = wide + tile
	wideMinimum = wide + 2*tile
)

// avx2 emits the product with VPMADDWD: the quanta of a block are widened once, into memory that stays in the first cache, while the rows go by.
func (f format) avx2() {
	a, scratch := f.begin("AVX2", true)
	var headers reg.GPVirtual // where the header lies
	if f.header > 0 {
		headers = GP64()
	}
	ldx := GP64() // rows of x are 16-bit here
	MOVQ(a.ldx, ldx)
	f.loop(a, func() { MOVQ(a.w, headers) }, func() {
		f.widen(a.w, scratch)
		f.scales256(a.w, headers, scratch)
		a.eachRow(ldx, func(x, aux, y reg.GPVirtual) { f.row256(x, aux, y, scratch) })
		ADDQ(Imm(blockX), a.x) // twice as long
	})
}

// widen writes the quanta of a block as 16-bit integers, in the order of the bytes.
func (f format) widen(w, to reg.GPVirtual) {
	put := func(v reg.VecVirtual, g, q int) { // 32 bytes: 8 outputs
		lo, hi := YMM(), YMM()
		VPMOVZXBW(v.AsX(), lo)
		VEXTRACTI128(Imm(1), v, hi.AsX())
		VPMOVZXBW(hi.AsX(), hi)
		at := 2 * (g*group + 32*q)
		VMOVDQU(lo, Mem{Base: to, Disp: at})
		VMOVDQU(hi, Mem{Base: to, Disp: at + 32})
	}
	for q := range 4 {
		if f.bits == 8 {
			for g := range 8 {
				for i := range 2 {
					v := YMM()
					VPMOVZXBW(Mem{Base: w, Disp: g*group + 32*q + 16*i}, v)
					VMOVDQU(v, Mem{Base: to, Disp: 2*(g*group+32*q) + 32*i})
				}
			}
			continue
		}
		for g := range 8 {
			v := YMM()
			VMOVDQU(Mem{Base: w, Disp: g%4*group + 32*q}, v)
			if g >= 4 {
				VPSRLW(Imm(4), v, v)
			}
			VPAND(everyByte(15), v, v)
			if f.bits > 4 {
				f.high256(w, v, g, q)
			}
			put(v, g, q)
		}
	}
}

// high256 adds the bits above the fourth to the quanta of a group and 8 outputs.
func (f format) high256(w reg.GPVirtual, v reg.VecVirtual, g, q int) {
	h := YMM()
	at, shift, mask := f.high+32*q, 4-g, byte(16)
	if f.bits == 6 {
		at, shift, mask = f.high+g/4*group+32*q, 4-2*(g%4), 48
	}
	VMOVDQU(Mem{Base: w, Disp: at}, h)
	if shift > 0 {
		VPSLLW(Imm(uint64(shift)), h, h)
	} else if shift < 0 {
		VPSRLW(Imm(uint64(-shift)), h, h)
	}
	VPAND(everyByte(mask), h, h)
	VPOR(h, v, v)
}

// scales256 writes the scales and minima of a block as floats.
func (f format) scales256(w, header, to reg.GPVirtual) {
	put := func(disp, times, at int) {
		for q := range 4 {
			v := YMM()
			if f.header == 0 {
				VCVTPH2PS(Mem{Base: w, Disp: disp + 16*q}, v)
			} else {
				d := YMM()
				if f.split {
					VPMOVSXBD(Mem{Base: w, Disp: disp + 8*q}, v)
				} else {
					VPMOVZXBD(Mem{Base: w, Disp: disp + 8*q}, v)
				}
				VCVTDQ2PS(v, v)
				VCVTPH2PS(Mem{Base: header, Disp: times + 16*q}, d)
				VMULPS(d, v, v)
			}
			VMOVUPS(v, Mem{Base: to, Disp: at + 32*q})
		}
	}
	put(f.scale, 0, wideScale)
	if f.split {
		put(f.scale+panel, 0, wideSecond)
	}
	if f.minimum >= 0 {
		put(f.minimum, word, wideMinimum)
	}
}

// row256 adds a block's product with one row to its sums.
func (f format) row256(x, aux, y, w reg.GPVirtual) {
	if f.minimum >= 0 {
		m := YMM()
		VBROADCASTSS(Mem{Base: aux, Disp: 12}, m)
		for q := range 4 {
			sum := YMM()
			VMOVUPS(Mem{Base: y, Disp: 32 * q}, sum)
			VFMADD231PS(Mem{Base: w, Disp: wideMinimum + 32*q}, m, sum)
			VMOVUPS(sum, Mem{Base: y, Disp: 32 * q})
		}
	}
	if !f.split {
		f.part256(x, aux, y, w, 0, 8, 4, wideScale)
		return
	}
	f.part256(x, aux, y, w, 0, 4, 4, wideScale)
	f.part256(x, aux, y, w, 4, 8, 8, wideSecond)
}

// part256 adds the groups [from, to): neighbouring lanes of a sum belong to one output.
func (f format) part256(x, aux, y, w reg.GPVirtual, from, to, offset, scale int) {
	var sum [8]reg.VecVirtual
	for i := range sum {
		sum[i] = YMM()
	}
	for g := from; g < to; g++ {
		v := YMM()
		VPBROADCASTQ(Mem{Base: x, Disp: 8 * g}, v)
		for i := range sum {
			at := Mem{Base: w, Disp: 2*g*group + 32*i}
			if g == from {
				VPMADDWD(at, v, sum[i])
				continue
			}
			t := YMM()
			VPMADDWD(at, v, t)
			VPADDD(t, sum[i], sum[i])
		}
	}
	s, o := YMM(), YMM()
	VBROADCASTSS(Mem{Base: aux}, s)
	if f.offset {
		VPBROADCASTD(Mem{Base: aux, Disp: offset}, o)
	}
	for q := range 4 {
		i, t, out := sum[2*q], YMM(), YMM()
		VPHADDD(sum[2*q+1], i, i)
		VPERMQ(Imm(0xD8), i, i)
		if f.offset {
			VPADDD(o, i, i)
		}
		VCVTDQ2PS(i, i)
		VMULPS(Mem{Base: w, Disp: scale + 32*q}, s, t)
		VMOVUPS(Mem{Base: y, Disp: 32 * q}, out)
		VFMADD231PS(i, t, out)
		VMOVUPS(out, Mem{Base: y, Disp: 32 * q})
	}
}
