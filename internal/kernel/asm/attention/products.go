package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/vec"
)

// blocks are the numbers of rows that a product takes at once: the tile's, then smaller ones for the rest.
func blocks(rows int) []int {
	out := []int{rows}
	for _, m := range []int{8, 4, 2, 1} {
		if m < rows {
			out = append(out, m)
		}
	}
	return out
}

// rowAddresses are the addresses of rows that lie stride apart, with one base register for every four.
type rowAddresses struct {
	base            []reg.GPVirtual
	stride, stride3 reg.GPVirtual
}

func newRowAddresses(first, stride reg.GPVirtual, rows int) rowAddresses {
	a := rowAddresses{base: []reg.GPVirtual{first}, stride: stride, stride3: GP64()}
	LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, a.stride3)
	for i := 4; i < rows; i += 4 {
		a.base = append(a.base, GP64())
	}
	return a
}

// spread sets the other bases from the first, for so many rows.
func (a rowAddresses) spread(rows int) {
	for i := 1; 4*i < rows; i++ {
		LEAQ(Mem{Base: a.base[i-1], Index: a.stride, Scale: 4}, a.base[i])
	}
}

// at is the address of row i relative to the base of its four, disp bytes on.
func (a rowAddresses) at(i int, base reg.GPVirtual, disp int) Mem {
	m := Mem{Base: base, Disp: disp}
	switch i % 4 {
	case 1, 2:
		m.Index, m.Scale = a.stride, uint8(i%4)
	case 3:
		m.Index, m.Scale = a.stride3, 1
	}
	return m
}

// advance moves all bases of so many rows on by disp bytes.
func (a rowAddresses) advance(rows, disp int) {
	for i := 0; 4*i < rows; i++ {
		ADDQ(U32(disp), a.base[i])
	}
}

// scores emits c[rows][lanes] = a[rows][depth]·b[depth][lanes]; rows of a lie stride bytes apart. Whole blocks prefetch what lies next and
// other bytes behind each row.
func scores(t tile) {
	r := begin("attnScores"+t.suffix, "attnScores"+t.suffix+" computes c[rows][lanes] = a[rows][depth]·b[depth][lanes], and prefetches the rows that lie next and other bytes behind.",
		"c, a, b *float32, rows, stride, depth, next, other int", "c", "a", "rows", "stride")
	b, n, ahead := GP64(), GP64(), GP64()
	addr := newRowAddresses(r["a"], r["stride"], t.rows)
	for _, m := range blocks(t.rows) {
		acc := func(i, j int) reg.VecPhysical { return t.vec(i*t.regs + j) }
		bs, a := m*t.regs, m*t.regs+t.regs
		step := func(u int) {
			for j := range t.regs {
				VMOVUPS(Mem{Base: b, Disp: u*t.row() + j*t.bytes}, t.vec(bs+j))
			}
			for i := range m {
				VBROADCASTSS(addr.at(i, addr.base[i/4], 4*u), t.vec(a))
				for j := range t.regs {
					VFMADD231PS(t.vec(bs+j), t.vec(a), acc(i, j))
				}
			}
		}
		steps := func(unroll int, and func(u int)) {
			countdown(n, unroll, func() {
				for u := range unroll {
					step(u)
					and(u)
				}
				addr.advance(m, 4*unroll)
				ADDQ(U32(unroll*t.row()), b)
			})
		}
		countdown(r["rows"], m, func() {
			addr.spread(m)
			Load(Param("b"), b)
			Load(Param("depth"), n)
			for i := range m * t.regs {
				VXORPS(t.vec(i), t.vec(i), t.vec(i))
			}
			if m == t.rows {
				steps(lineFloats, func(u int) {
					if u >= m {
						return
					}
					for _, what := range []string{"next", "other"} {
						MOVQ(addr.base[u/4], ahead)
						ADDQ(vec.Stack(what), ahead)
						PREFETCHT1(addr.at(u, ahead, 0))
					}
				})
			}
			steps(4, func(int) {})
			steps(1, func(int) {})
			for i := range m {
				for j := range t.regs {
					VMOVUPS(acc(i, j), Mem{Base: r["c"], Disp: i*t.row() + j*t.bytes})
				}
			}
			// Back to the first row of this block, and on to that of the next.
			Load(Param("depth"), n)
			SHLQ(Imm(2), n)
			SUBQ(n, r["a"])
			MOVQ(r["stride"], n)
			IMUL3Q(U32(m), n, n)
			ADDQ(n, r["a"])
			ADDQ(U32(m*t.row()), r["c"])
		})
	}
	end()
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

// outer emits c[rows][cols] += a[rows][lanes]·b[lanes][cols] over the first depth lanes; cols is a multiple of the width.
func outer(t tile) {
	r := begin("attnOuter"+t.suffix, "attnOuter"+t.suffix+" computes c[rows][cols] += a[rows][lanes]·b[depth][cols] over the first depth lanes; cols is a multiple of the width.",
		"c, a, b *float32, rows, cols, depth int", "c", "b", "cols")
	cols, stride, cp, ap, bp, left, n := r["cols"], GP64(), GP64(), GP64(), GP64(), GP64(), GP64()
	MOVQ(cols, stride)
	SHLQ(Imm(2), stride)
	lanes := t.bytes / 4
	const most = 2 // registers of b at once
	for _, regs := range []int{most, 1} {
		countdown(cols, regs*lanes, func() {
			Load(Param("rows"), left)
			Load(Param("a"), ap)
			MOVQ(r["c"], cp)
			for _, m := range blocks(t.rows * t.regs / most) {
				countdown(left, m, func() { outerBlock(t, m, regs, r["b"], cp, ap, bp, stride, n) })
			}
			ADDQ(U32(regs*t.bytes), r["c"])
			ADDQ(U32(regs*t.bytes), r["b"])
		})
	}
	end()
}

// lineFloats is how many values a cache line holds.
const lineFloats = 16

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
