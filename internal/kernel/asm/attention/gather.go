package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/vec"
)

// queries is where the values of queries lie: those of lane i of a group at base, rows[i]·stride and heads[i]·width bytes on.
type queries struct{ base, rows, heads, stride, width, at, col reg.GPVirtual }

// newQueries takes the places from the parameters of a function.
func newQueries(r map[string]reg.GPVirtual, base string) queries {
	return queries{r[base], r["rows"], r["heads"], r["stride"], r["width"], GP64(), GP64()}
}

// value is where the values of lane i begin, from the column at hand on.
func (q queries) value(i int) Mem {
	head := GP64()
	MOVQ(Mem{Base: q.rows, Disp: 8 * i}, q.at)
	IMULQ(q.stride, q.at)
	MOVQ(Mem{Base: q.heads, Disp: 8 * i}, head)
	IMULQ(q.width, head)
	ADDQ(head, q.at)
	ADDQ(q.col, q.at)
	return Mem{Base: q.base, Index: q.at, Scale: 1}
}

// next goes on to the next group of lanes.
func (q queries) next(lanes int) {
	ADDQ(U32(8*lanes), q.rows)
	ADDQ(U32(8*lanes), q.heads)
}

// gather emits the copy of the values of queries, and their transpose times a scale.
func gather(w vec.Width) {
	lanes := w.Bytes / 4
	r := begin("attnGather"+w.Level, "attnGather"+w.Level+" copies values of queries to dst, whose rows lie pad bytes apart, unless it is nil, and times scale to dstT[cols][lanes]. The values of lane i lie rows[i]·stride and heads[i]·width bytes from src. Lanes, and the columns of a block, are as many as a register has.",
		"dst, dstT, src *float32, rows, heads *int, stride, width, pad, lanes, blocks int, scale float32", "dst", "dstT", "src", "rows", "heads", "stride", "width", "lanes")
	q, left, row, blocks, to, here := newQueries(r, "src"), GP64(), GP64(), GP64(), GP64(), GP64()
	MOVQ(r["lanes"], left)
	MOVQ(r["lanes"], row)
	SHLQ(Imm(2), row)
	scale := w.Broadcast(vec.Stack("scale"))
	countdown(left, lanes, func() {
		MOVQ(r["dstT"], to)
		XORQ(q.col, q.col)
		Load(Param("blocks"), blocks)
		countdown(blocks, 1, func() {
			values, skip := make([]reg.VecVirtual, lanes), label("transpose")
			for i := range values {
				values[i] = w.Copy(q.value(i))
			}
			TESTQ(r["dst"], r["dst"])
			JEQ(LabelRef(skip))
			MOVQ(r["dst"], here)
			for _, v := range values {
				VMOVUPS(v, Mem{Base: here, Index: q.col, Scale: 1})
				ADDQ(vec.Stack("pad"), here)
			}
			Label(skip)
			w.Transpose(values, func(_ int, v reg.VecVirtual) {
				VMULPS(scale, v, v)
				VMOVUPS(v, Mem{Base: to})
				ADDQ(row, to)
			})
			ADDQ(U32(w.Bytes), q.col)
		})
		q.next(lanes)
		ADDQ(U32(w.Bytes), r["dstT"])
		TESTQ(r["dst"], r["dst"])
		nowhere := label("nowhere")
		JEQ(LabelRef(nowhere))
		MOVQ(vec.Stack("pad"), here)
		IMUL3Q(U32(lanes), here, here)
		ADDQ(here, r["dst"])
		Label(nowhere)
	})
	end()
}

// scatter emits what gather does, the other way round.
func scatter(w vec.Width) {
	lanes := w.Bytes / 4
	r := begin("attnScatter"+w.Level, "attnScatter"+w.Level+" copies srcT[cols][lanes], times the scale of their lane, to the first queries, of which there are some: those of lane i lie rows[i]·stride and heads[i]·width bytes from dst. The columns of a block are as many as a register has lanes.",
		"dst, srcT, scale *float32, rows, heads *int, stride, width, queries, lanes, blocks int", "dst", "srcT", "scale", "rows", "heads", "stride", "width", "queries", "lanes")
	q, blocks, from := newQueries(r, "dst"), GP64(), GP64()
	SHLQ(Imm(2), r["lanes"])
	loop := label("group")
	Label(loop)
	scale := w.Copy(Mem{Base: r["scale"]})
	MOVQ(r["srcT"], from)
	XORQ(q.col, q.col)
	Load(Param("blocks"), blocks)
	countdown(blocks, 1, func() {
		values, done := make([]reg.VecVirtual, lanes), label("stored")
		for i := range values {
			values[i] = w.New()
			VMULPS(Mem{Base: from}, scale, values[i])
			ADDQ(r["lanes"], from)
		}
		w.Transpose(values, func(i int, v reg.VecVirtual) {
			if i > 0 {
				CMPQ(r["queries"], Imm(uint64(i)))
				JLE(LabelRef(done))
			}
			VMOVUPS(v, q.value(i))
		})
		Label(done)
		ADDQ(U32(w.Bytes), q.col)
	})
	q.next(lanes)
	ADDQ(U32(w.Bytes), r["srcT"])
	ADDQ(U32(w.Bytes), r["scale"])
	SUBQ(Imm(uint64(lanes)), r["queries"])
	JG(LabelRef(loop))
	end()
}

// logarithm is the coefficients of log2(f) = s·(c0 + c1·s² + …) with s = (f−1)/(f+1) and f within √½ and √2: absolute error 4e-8 before rounding.
var logarithm = []float32{2 / math.Ln2, 2 / (3 * math.Ln2), 2 / (5 * math.Ln2), 2 / (7 * math.Ln2)}

// sums emits what is left to do with the sums of softmax.
func sums() {
	const rootHalf, one = 0x3f3504f3, 1
	r := begin("attnSums", "attnSums computes lse = ln(2^m·l) and inverse = 1/l of so many lanes, a multiple of 8, with l above 0.", "lse, inverse, m, l *float32, lanes int", "lse", "inverse", "m", "l", "lanes")
	w := vec.AVX2
	countdown(r["lanes"], 8, func() {
		l, exponent, f, s := w.Copy(Mem{Base: r["l"]}), w.New(), w.New(), w.New()
		VPSUBD(vec.ConstBits(rootHalf), l, exponent)
		VPSRAD(Imm(23), exponent, exponent)
		VPSLLD(Imm(23), exponent, f)
		VPSUBD(f, l, f)
		VCVTDQ2PS(exponent, exponent)
		above := w.New()
		VADDPS(vec.Const(one), f, above)
		VSUBPS(vec.Const(one), f, f)
		VDIVPS(above, f, s)
		square, sum := w.New(), w.Copy(vec.Const(logarithm[len(logarithm)-1]))
		VMULPS(s, s, square)
		for i := len(logarithm) - 2; i >= 0; i-- {
			VFMADD213PS(vec.Const(logarithm[i]), square, sum)
		}
		VFMADD213PS(exponent, s, sum)
		nan := w.New() // where l is not finite
		VSUBPS(l, l, nan)
		VADDPS(nan, sum, sum)
		VADDPS(Mem{Base: r["m"]}, sum, sum)
		VMULPS(vec.Const(math.Ln2), sum, sum)
		VMOVUPS(sum, Mem{Base: r["lse"]})
		inverse := w.Copy(vec.Const(one))
		VDIVPS(l, inverse, inverse)
		VMOVUPS(inverse, Mem{Base: r["inverse"]})
		for _, p := range []string{"lse", "inverse", "m", "l"} {
			ADDQ(Imm(32), r[p])
		}
	})
	end()
}
