package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/vec"
)

// laneDots emits out[lanes] = the sum over rows of a·b.
func laneDots(t tile) {
	name := "attnLaneDots" + t.suffix
	r := begin(name, name+" computes out[lanes], the sum of a[rows][lanes]·b[rows][lanes] over the rows.", "out, a, b *float32, rows int", "out", "a", "b", "rows")
	for j := range t.regs {
		VXORPS(t.vec(j), t.vec(j), t.vec(j))
	}
	countdown(r["rows"], 1, func() {
		for j := range t.regs {
			VMOVUPS(Mem{Base: r["a"], Disp: j * t.bytes}, t.vec(t.regs+j))
			VFMADD231PS(Mem{Base: r["b"], Disp: j * t.bytes}, t.vec(t.regs+j), t.vec(j))
		}
		ADDQ(Imm(uint64(t.row())), r["a"])
		ADDQ(Imm(uint64(t.row())), r["b"])
	})
	for j := range t.regs {
		VMOVUPS(t.vec(j), Mem{Base: r["out"], Disp: j * t.bytes})
	}
	end()
}

// addScaled emits y[n] += x·scale.
func addScaled() {
	r := begin("attnAddScaled", "attnAddScaled computes y[n] += x·scale.", "y, x *float32, n int, scale float32", "y", "x", "n")
	s := reg.Y0
	VBROADCASTSS(vec.Stack("scale"), s)
	countdown(r["n"], 8, func() {
		VMOVUPS(Mem{Base: r["y"]}, reg.Y1)
		VFMADD231PS(Mem{Base: r["x"]}, s, reg.Y1)
		VMOVUPS(reg.Y1, Mem{Base: r["y"]})
		ADDQ(Imm(32), r["y"])
		ADDQ(Imm(32), r["x"])
	})
	countdown(r["n"], 1, func() {
		VMOVSS(Mem{Base: r["y"]}, reg.X1)
		VFMADD231SS(Mem{Base: r["x"]}, reg.X0, reg.X1)
		VMOVSS(reg.X1, Mem{Base: r["y"]})
		ADDQ(Imm(4), r["y"])
		ADDQ(Imm(4), r["x"])
	})
	end()
}

// prefetch emits the prefetches of rows of so many bytes that lie stride bytes apart.
func prefetch(name, where string, line func(Op)) {
	r := begin(name, name+" prefetches rows of so many bytes that lie stride bytes apart into the "+where+" cache.", "p *float32, rows, stride, bytes int", "p", "rows", "stride")
	at, n := GP64(), GP64()
	countdown(r["rows"], 1, func() {
		MOVQ(r["p"], at)
		Load(Param("bytes"), n)
		ADDQ(U32(63), n)
		countdown(n, 64, func() {
			line(Mem{Base: at})
			ADDQ(Imm(64), at)
		})
		ADDQ(r["stride"], r["p"])
	})
	end()
}
