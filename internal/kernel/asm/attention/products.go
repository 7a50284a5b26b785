package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// scores emits c[rows][lanes] = a[rows][depth]·b[depth][lanes]; rows of a lie stride bytes apart. The last block repeats its last
// row, so that c must have room for rows rounded up to the tile's.
func scores(t tile) {
	r := begin("attnScores"+t.suffix, "attnScores"+t.suffix+" computes c[rows][lanes] = a[rows][depth]·b[depth][lanes], in whole blocks of rows.",
		"c, a, b *float32, rows, stride, depth int", "c", "a", "rows")
	stride, depth := stackParam("stride"), stackParam("depth")
	p := []reg.GPVirtual{r["a"]}
	for i := 1; i < t.rows; i++ {
		p = append(p, GP64())
	}
	off, b, n := GP64(), GP64(), GP64()
	Label("block")
	for i := 1; i < t.rows; i++ {
		MOVQ(p[i-1], p[i])
		ADDQ(stride, p[i])
		CMPQ(r["rows"], Imm(uint64(i)))
		CMOVQLE(p[i-1], p[i])
	}
	Load(Param("b"), b)
	XORQ(off, off)
	for i := range t.rows * t.regs {
		VXORPS(t.vec(i), t.vec(i), t.vec(i))
	}
	step := func(u int) {
		bs, a := t.rows*t.regs, t.rows*t.regs+t.regs
		for j := range t.regs {
			VMOVUPS(Mem{Base: b, Disp: u*t.row() + j*t.bytes}, t.vec(bs+j))
		}
		for i := range t.rows {
			VBROADCASTSS(Mem{Base: p[i], Index: off, Scale: 1, Disp: 4 * u}, t.vec(a))
			for j := range t.regs {
				VFMADD231PS(t.vec(bs+j), t.vec(a), t.acc(i, j))
			}
		}
	}
	const unroll = 4
	MOVQ(depth, n)
	countdown(n, unroll, func() {
		for u := range unroll {
			step(u)
		}
		ADDQ(Imm(4*unroll), off)
		ADDQ(U32(unroll*t.row()), b)
	})
	countdown(n, 1, func() {
		step(0)
		ADDQ(Imm(4), off)
		ADDQ(U32(t.row()), b)
	})
	for i := range t.rows {
		for j := range t.regs {
			VMOVUPS(t.acc(i, j), Mem{Base: r["c"], Disp: i*t.row() + j*t.bytes})
		}
	}
	MOVQ(stride, n)
	IMUL3Q(U32(t.rows), n, n)
	ADDQ(n, r["a"])
	ADDQ(U32(t.rows*t.row()), r["c"])
	SUBQ(Imm(uint64(t.rows)), r["rows"])
	JG(LabelRef("block"))
	end()
}

// blocks are the numbers of rows that a product takes at once: the tile's, then smaller ones for the rest.
func blocks(rows int) []int {
	out := []int{rows}
	for _, m := range []int{4, 2, 1} {
		if m < rows {
			out = append(out, m)
		}
	}
	return out
}

// accumulate emits c[rows][lanes] = c·scale[lanes] + aᵀ·b with a[depth][rows], rows stride bytes apart, and b[depth][lanes].
func accumulate(t tile) {
	r := begin("attnAccumulate"+t.suffix, "attnAccumulate"+t.suffix+" computes c[rows][lanes] = c·scale[lanes] + a[depth][rows]ᵀ·b[depth][lanes].",
		"c, a, b, scale *float32, rows, stride, depth int", "c", "a", "rows", "stride")
	ap, b, n, scale := GP64(), GP64(), GP64(), GP64()
	for _, m := range blocks(t.rows) {
		countdown(r["rows"], m, func() {
			bs, a := m*t.regs, m*t.regs+t.regs
			MOVQ(r["a"], ap)
			Load(Param("b"), b)
			Load(Param("scale"), scale)
			for j := range t.regs {
				VMOVUPS(Mem{Base: scale, Disp: j * t.bytes}, t.vec(bs+j))
			}
			for i := range m {
				for j := range t.regs {
					VMULPS(Mem{Base: r["c"], Disp: i*t.row() + j*t.bytes}, t.vec(bs+j), t.acc(i, j))
				}
			}
			step := func(u int) {
				for j := range t.regs {
					VMOVUPS(Mem{Base: b, Disp: u*t.row() + j*t.bytes}, t.vec(bs+j))
				}
				for i := range m {
					VBROADCASTSS(Mem{Base: ap, Disp: 4 * i}, t.vec(a))
					for j := range t.regs {
						VFMADD231PS(t.vec(bs+j), t.vec(a), t.acc(i, j))
					}
				}
				ADDQ(r["stride"], ap)
			}
			const unroll = 2
			Load(Param("depth"), n)
			countdown(n, unroll, func() {
				for u := range unroll {
					step(u)
				}
				ADDQ(U32(unroll*t.row()), b)
			})
			countdown(n, 1, func() {
				step(0)
				ADDQ(U32(t.row()), b)
			})
			for i := range m {
				for j := range t.regs {
					VMOVUPS(t.acc(i, j), Mem{Base: r["c"], Disp: i*t.row() + j*t.bytes})
				}
			}
			ADDQ(U32(4*m), r["a"])
			ADDQ(U32(m*t.row()), r["c"])
		})
	}
	end()
}

// outer emits c[rows][cols] += a[rows][lanes]·b[lanes][cols] over the first depth lanes, rows of c at a time; cols is a multiple of
// the width.
func outer(t tile, rows int) {
	r := begin("attnOuter"+t.suffix, "attnOuter"+t.suffix+" computes c[rows][cols] += a[rows][lanes]·b[depth][cols] over the first depth lanes; cols is a multiple of the width.",
		"c, a, b *float32, rows, cols, depth int", "c", "b", "cols")
	cols, stride, cp, ap, bp, left, n := r["cols"], GP64(), GP64(), GP64(), GP64(), GP64(), GP64()
	MOVQ(cols, stride)
	SHLQ(Imm(2), stride)
	lanes := t.bytes / 4
	for _, regs := range []int{2, 1} {
		countdown(cols, regs*lanes, func() {
			Load(Param("rows"), left)
			Load(Param("a"), ap)
			MOVQ(r["c"], cp)
			for _, m := range blocks(rows) {
				countdown(left, m, func() { outerBlock(t, m, regs, r["b"], cp, ap, bp, stride, n) })
			}
			ADDQ(U32(regs*t.bytes), r["c"])
			ADDQ(U32(regs*t.bytes), r["b"])
		})
	}
	end()
}

// outerBlock emits the product of m rows and regs registers, and moves cp and ap on to the next rows.
func outerBlock(t tile, m, regs int, b, cp, ap, bp, stride, n reg.GPVirtual) {
	acc := func(i, j int) reg.VecPhysical { return t.vec(i*regs + j) }
	bs, a := m*regs, m*regs+regs
	walk := func(visit func(i, j int, at Mem)) {
		for i := range m {
			for j := range regs {
				visit(i, j, Mem{Base: bp, Disp: j * t.bytes})
			}
			ADDQ(stride, bp)
		}
	}
	MOVQ(cp, bp)
	walk(func(i, j int, at Mem) { VMOVUPS(at, acc(i, j)) })
	MOVQ(b, bp)
	step := func(u int) {
		for j := range regs {
			VMOVUPS(Mem{Base: bp, Disp: j * t.bytes}, t.vec(bs+j))
		}
		for i := range m {
			VBROADCASTSS(Mem{Base: ap, Disp: i*t.row() + 4*u}, t.vec(a))
			for j := range regs {
				VFMADD231PS(t.vec(bs+j), t.vec(a), acc(i, j))
			}
		}
		ADDQ(stride, bp)
	}
	const unroll = 2
	Load(Param("depth"), n)
	countdown(n, unroll, func() {
		for u := range unroll {
			step(u)
		}
		ADDQ(Imm(4*unroll), ap)
	})
	countdown(n, 1, func() {
		step(0)
		ADDQ(Imm(4), ap)
	})
	MOVQ(cp, bp)
	walk(func(i, j int, at Mem) { VMOVUPS(acc(i, j), at) })
	MOVQ(bp, cp)
	Load(Param("depth"), n)
	SHLQ(Imm(2), n)
	SUBQ(n, ap)
	ADDQ(U32(m*t.row()), ap)
}
