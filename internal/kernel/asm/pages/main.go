// Command pages writes the conversions between float32 and the formats that cached keys and values are kept in.
package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/vec"
)

func main() {
	for _, w := range vec.Widths {
		widen(w)
		expand(w)
		round(w)
	}
	Generate()
}

// loop emits body n times, at least once, n being used up.
func loop(name string, n reg.GPVirtual, body func()) {
	Label(name)
	body()
	DECQ(n)
	JNZ(LabelRef(name))
}

// rows emits a sweep over rows of whole blocks. The rows of dst follow each other; those of src, whose values have so many bytes, lie stride bytes apart.
func rows(w vec.Width, p map[string]reg.GPVirtual, size int, begin func(), body func(src, dst Mem)) {
	loop("row", p["rows"], func() {
		at, n := GP64(), GP64()
		MOVQ(p["src"], at)
		MOVQ(p["blocks"], n)
		if begin != nil {
			begin()
		}
		loop("block", n, func() {
			for i := range w.Parts() {
				body(Mem{Base: at, Disp: i * w.Bytes / 4 * size}, Mem{Base: p["dst"], Disp: i * w.Bytes})
			}
			ADDQ(U32(vec.Block*size), at)
			ADDQ(U32(vec.Block*4), p["dst"])
		})
		ADDQ(p["stride"], p["src"])
	})
	vec.End()
}

func widen(w vec.Width) {
	p := w.Func("pageWiden", "turns rows of blocks of 16 bfloat16 into float32. The rows of src lie stride bytes apart.",
		"(dst *float32, src *uint16, rows, stride, blocks int)", "dst", "src", "rows", "stride", "blocks")
	rows(w, p, 2, nil, func(src, dst Mem) {
		v := w.New()
		VPMOVZXWD(src, v)
		VPSLLD(Imm(16), v, v)
		VMOVUPS(v, dst)
	})
}

func expand(w vec.Width) {
	p := w.Func("pageExpand", "multiplies rows of blocks of 16 integers by the scale of their row. The rows of src lie stride bytes apart, their scales step bytes.",
		"(dst *float32, src *int8, scale *float32, rows, stride, step, blocks int)", "dst", "src", "scale", "rows", "stride", "step", "blocks")
	s := w.New()
	rows(w, p, 1, func() {
		VBROADCASTSS(Mem{Base: p["scale"]}, s)
		ADDQ(p["step"], p["scale"])
	}, func(src, dst Mem) {
		v := w.New()
		VPMOVSXBD(src, v)
		VCVTDQ2PS(v, v)
		VMULPS(s, v, v)
		VMOVUPS(v, dst)
	})
}

// round is half.ToBF16.
func round(w vec.Width) {
	p := w.Func("pageRound", "rounds blocks of 16 floats to bfloat16, ties to even. A NaN stays a NaN.", "(dst *uint16, src *float32, blocks int)", "dst", "src", "blocks")
	one, below, quiet := w.Copy(vec.ConstBits(1)), w.Copy(vec.ConstBits(0x7fff)), w.Copy(vec.ConstBits(0x40))
	loop("block", p["blocks"], func() {
		var words []reg.VecVirtual
		for i := range w.Parts() {
			x, up, nan := w.Copy(Mem{Base: p["src"], Disp: i * w.Bytes}), w.New(), w.New()
			VPSRLD(Imm(16), x, nan)
			if w == vec.AVX512 {
				VPANDD(one, nan, up)
				VPORD(quiet, nan, nan)
			} else {
				VPAND(one, nan, up)
				VPOR(quiet, nan, nan)
			}
			VPADDD(below, up, up)
			VPADDD(x, up, up)
			VPSRLD(Imm(16), up, up)
			if w == vec.AVX512 {
				k := K()
				VCMPPS(Imm(3), x, x, k)
				VMOVDQA32(nan, k, up)
			} else {
				unordered := w.New()
				VCMPPS(Imm(3), x, x, unordered)
				VBLENDVPS(unordered, nan, up, up)
			}
			words = append(words, up)
		}
		if w == vec.AVX512 {
			VPMOVDW(words[0], Mem{Base: p["dst"]})
		} else {
			VPACKUSDW(words[1], words[0], words[0]) // by halves of the registers
			VPERMQ(Imm(0b11011000), words[0], words[0])
			VMOVDQU(words[0], Mem{Base: p["dst"]})
		}
		ADDQ(U32(vec.Block*4), p["src"])
		ADDQ(U32(vec.Block*2), p["dst"])
	})
	vec.End()
}
