package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The queries of one row and one kv head are too few to fill the lanes of a register. Here keys lie in the lanes of the scores, whose groups of keyGroup
// keys are turned in registers as they are read, and values lie in those of the outputs. Each element is the same chain as in the tiles above.

// keyGroup keys lie stride bytes apart; groups lie anywhere. Scores of a query are fewKeys.
const (
	keyGroup = 16
	fewKeys  = 48
)

// few is the kernels for so many queries at once.
type few struct {
	width
	queries int
}

func (f few) name(of string) string { return fmt.Sprintf("attnFew%s%d%s", of, f.queries, f.level) }

// perGroup is how many registers a group of keys fills.
func (f few) perGroup() int { return 4 * keyGroup / f.bytes }

// fewKernels emits them for every number of queries that the registers have room for.
func fewKernels(w width, most int) {
	for q := 1; q <= most; q++ {
		f := few{w, q}
		f.scores()
		f.accumulate()
	}
	fewSoftmax(w)
}

// scores emits s[queries][48] = q·kᵀ for so many groups of keys. q is [depth][8], of which the first lanes are read.
func (f few) scores() {
	name := f.name("Scores")
	r := begin(name, name+" computes the scores s[queries][48] of groups of 16 keys, each group at its address, with rows stride bytes apart. q is [depth][8]; depth is a multiple of 4.",
		"s *float32, keys **float32, q *float32, stride, depth, groups int", "s", "keys", "stride", "groups")
	q, depth, here := GP64(), GP64(), GP64()
	keys := newRowAddresses(here, r["stride"], 4)
	bases := []reg.GPVirtual{GP64(), GP64(), GP64()}
	together := []int{3, 2, 1} // groups: independent chains hide the latency of a multiply-add
	if f.level == y.level {
		together = []int{1}
	}
	for _, m := range together {
		acc := func(v, i int) reg.VecPhysical { return f.vec(v*f.queries + i) }
		vectors := m * f.perGroup()
		next := vectors * f.queries
		countdown(r["groups"], m, func() {
			for g := range m {
				MOVQ(Mem{Base: r["keys"], Disp: 8 * g}, bases[g])
			}
			Load(Param("q"), q)
			Load(Param("depth"), depth)
			for i := range next {
				VXORPS(f.vec(i), f.vec(i), f.vec(i))
			}
			turn := func(v int, rows, spare []reg.VecPhysical) {
				if v%f.perGroup() == 0 {
					MOVQ(bases[v/f.perGroup()], here)
				}
				f.turn(rows, spare, keys)
			}
			countdown(depth, 4, func() {
				f.multiply(vectors, q, turn)
				for g := range m {
					ADDQ(Imm(16), bases[g])
				}
				ADDQ(U32(4*32), q)
			})
			for v := range vectors {
				for i := range f.queries {
					VMOVUPS(acc(v, i), Mem{Base: r["s"], Disp: 4*fewKeys*i + v*f.bytes})
				}
			}
			ADDQ(U32(4*keyGroup*m), r["s"])
			ADDQ(U32(8*m), r["keys"])
		})
	}
	end()
}

// multiply adds 4 values of the queries at q times those of the keys, which turn leaves in registers, to the scores in the first registers.
func (f few) multiply(vectors int, q reg.GPVirtual, turn func(v int, rows, spare []reg.VecPhysical)) {
	acc := func(v, i int) reg.VecPhysical { return f.vec(v*f.queries + i) }
	next := vectors * f.queries
	if next+5*vectors+3 >= len(f.all) {
		rows, x := f.from(next), f.from(next+4)
		for v := range vectors {
			turn(v, rows, x)
			for u := range 4 {
				for i := range f.queries {
					VBROADCASTSS(Mem{Base: q, Disp: 32*u + 4*i}, x[i])
					VFMADD231PS(x[i], rows[u], acc(v, i))
				}
			}
		}
		return
	}
	// There is room for all keys: the values of a query are spread once.
	rows, x := func(v int) []reg.VecPhysical { return f.from(next + 4*v) }, f.from(next+4*vectors)
	for v := range vectors {
		turn(v, rows(v), x)
	}
	for u := range 4 {
		for i := range f.queries {
			VBROADCASTSS(Mem{Base: q, Disp: 32*u + 4*i}, x[i])
		}
		for v := range vectors {
			for i := range f.queries {
				VFMADD231PS(x[i], rows(v)[u], acc(v, i))
			}
		}
	}
}

// turn reads 4 values of as many keys as a register has lanes, and leaves a register of all keys for each value; the base of the keys moves on by these.
func (f few) turn(rows, t []reg.VecPhysical, keys rowAddresses) {
	at := keys.base[0]
	for part := range f.bytes / 16 {
		for j := range 4 {
			switch key := keys.at(j, at, 0); {
			case part == 0:
				VMOVUPS(key, rows[j].AsX())
			case f.bytes == 64:
				VINSERTF32X4(Imm(uint64(part)), key, rows[j], rows[j])
			default:
				VINSERTF128(Imm(uint64(part)), key, rows[j], rows[j])
			}
		}
		LEAQ(Mem{Base: at, Index: keys.stride, Scale: 4}, at)
	}
	VUNPCKLPS(rows[1], rows[0], t[0])
	VUNPCKHPS(rows[1], rows[0], t[1])
	VUNPCKLPS(rows[3], rows[2], t[2])
	VUNPCKHPS(rows[3], rows[2], t[3])
	VUNPCKLPD(t[2], t[0], rows[0])
	VUNPCKHPD(t[2], t[0], rows[1])
	VUNPCKLPD(t[3], t[1], rows[2])
	VUNPCKHPD(t[3], t[1], rows[3])
}

// accumulate emits o[queries][e] = o·shrink + w·v.
func (f few) accumulate() {
	name := f.name("Accumulate")
	r := begin(name, name+" computes o[queries][e] = o·shrink + w·v with the weights w[queries][48] of keys in groups of 16, each group at its address, with rows stride bytes apart; e is a multiple of 16.",
		"o, w, shrink *float32, values **float32, stride, keys, e int", "o", "stride")
	pitch, e, offset := GP64(), GP64(), GP64()
	w, group, v, left, n := GP64(), GP64(), GP64(), GP64(), GP64()
	Load(Param("e"), e)
	MOVQ(e, pitch)
	SHLQ(Imm(2), pitch)
	outputs := newRowAddresses(r["o"], pitch, f.queries)
	out := func(i, reg int) Mem { return outputs.at(i, r["o"], reg*f.bytes) }
	XORQ(offset, offset)
	for _, regs := range []int{4, 2, 1} {
		if regs*f.bytes < 64 {
			continue
		}
		acc := func(i, j int) reg.VecPhysical { return f.vec(i*regs + j) }
		weight := func(i int) reg.VecPhysical { return f.vec(f.queries*regs + i) }
		value := f.vec(f.queries * (regs + 1))
		countdown(e, regs*f.bytes/4, func() {
			Load(Param("shrink"), v)
			for i := range f.queries {
				VBROADCASTSS(Mem{Base: v, Disp: 4 * i}, weight(i))
				for j := range regs {
					VMULPS(out(i, j), weight(i), acc(i, j))
				}
			}
			Load(Param("w"), w)
			Load(Param("values"), group)
			Load(Param("keys"), left)
			eachGroup(left, n, func() {
				MOVQ(Mem{Base: group}, v)
				ADDQ(offset, v)
				ADDQ(Imm(8), group)
			}, func() {
				for i := range f.queries {
					VBROADCASTSS(Mem{Base: w, Disp: 4 * fewKeys * i}, weight(i))
				}
				for j := range regs {
					VMOVUPS(Mem{Base: v, Disp: j * f.bytes}, value)
					for i := range f.queries {
						VFMADD231PS(value, weight(i), acc(i, j))
					}
				}
				ADDQ(r["stride"], v)
				ADDQ(Imm(4), w)
			})
			for i := range f.queries {
				for j := range regs {
					VMOVUPS(acc(i, j), out(i, j))
				}
			}
			ADDQ(U32(regs*f.bytes), r["o"])
			ADDQ(U32(regs*f.bytes), offset)
		})
	}
	end()
}

// eachGroup emits begin for each group of the keys that are left, and body for each of its keys, which n counts.
func eachGroup(left, n reg.GPVirtual, begin, body func()) {
	loop, done, whole := label("group"), label("grouped"), label("whole")
	Label(loop)
	CMPQ(left, Imm(0))
	JLE(LabelRef(done))
	MOVQ(left, n)
	CMPQ(n, Imm(keyGroup))
	JLE(LabelRef(whole))
	MOVQ(U32(keyGroup), n)
	Label(whole)
	SUBQ(n, left)
	begin()
	countdown(n, 1, body)
	JMP(LabelRef(loop))
	Label(done)
}

// fewSoftmax emits one step of the online softmax in base 2 of scores s[queries][48], of which groups of 16 are read.
func fewSoftmax(w width) {
	name := "attnFewSoftmax" + w.level
	r := begin(name, name+" turns the scores s[queries][48] of keys into weights 2^(s−m), with m and the sum l of the weights brought up to date and shrink = 2^(old m − m). What stands behind the keys up to a multiple of 16 must be −∞.",
		"s, m, l, shrink *float32, queries, keys int", "s", "m", "l", "shrink", "queries")
	t := tile{w, "", 1, 0}
	at, n := GP64(), GP64()
	top, half, sum := w.vec(0), w.vec(1), w.vec(2).AsX()
	all := t.streams(2, 3)
	exp2 := newExponential(w.from(3 + 3*len(all)))
	registers := func() { // of the keys, rounded up to whole groups
		Load(Param("keys"), n)
		ADDQ(Imm(keyGroup-1), n)
		ANDQ(I32(-keyGroup), n)
	}
	countdown(r["queries"], 1, func() {
		VBROADCASTSS(Mem{Base: r["m"]}, top)
		MOVQ(r["s"], at)
		registers()
		countdown(n, w.bytes/4, func() {
			VMAXPS(Mem{Base: at}, top, top)
			ADDQ(Imm(uint64(w.bytes)), at)
		})
		horizontalMax(w, top, half)
		one := all[:1]
		VBROADCASTSS(Mem{Base: r["m"]}, one[0].x)
		VSUBPS(top, one[0].x, one[0].x)
		exp2.emit(one)
		VMOVSS(top.AsX(), Mem{Base: r["m"]})
		VMOVSS(one[0].p.AsX(), Mem{Base: r["shrink"]})
		VMULSS(Mem{Base: r["l"]}, one[0].p.AsX(), sum)
		MOVQ(r["s"], at)
		registers()
		for _, k := range []int{len(all), 1} {
			countdown(n, k*w.bytes/4, func() {
				for i, e := range all[:k] {
					VMOVUPS(Mem{Base: at, Disp: i * w.bytes}, e.x)
					VSUBPS(top, e.x, e.x)
				}
				exp2.emit(all[:k])
				for i, e := range all[:k] {
					VMOVUPS(e.p, Mem{Base: at, Disp: i * w.bytes})
				}
				ADDQ(U32(k*w.bytes), at)
			})
		}
		MOVQ(r["s"], at)
		Load(Param("keys"), n)
		for _, k := range []int{8, 1} {
			countdown(n, k, func() {
				for i := range k {
					VADDSS(Mem{Base: at, Disp: 4 * i}, sum, sum)
				}
				ADDQ(Imm(uint64(4*k)), at)
			})
		}
		VMOVSS(sum, Mem{Base: r["l"]})
		ADDQ(U32(4*fewKeys), r["s"])
		for _, p := range []string{"m", "l", "shrink"} {
			ADDQ(Imm(4), r[p])
		}
	})
	end()
}

// horizontalMax has every lane of x become the largest.
func horizontalMax(w width, x, spare reg.VecPhysical) {
	if w.bytes == 64 {
		VEXTRACTF64X4(Imm(1), x, spare.AsY())
		VMAXPS(spare.AsY(), x.AsY(), x.AsY())
	}
	VEXTRACTF128(Imm(1), x.AsY(), spare.AsX())
	VMAXPS(spare.AsX(), x.AsX(), x.AsX())
	for _, order := range []uint64{0x4e, 0xb1} {
		VPERMILPS(Imm(order), x.AsX(), spare.AsX())
		VMAXPS(spare.AsX(), x.AsX(), x.AsX())
	}
	VBROADCASTSS(x.AsX(), x)
}
