// Command gemm writes the microkernels of the matrix products.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/evex"
	"mor/internal/kernel/asm/vec"
)

// level is an instruction set with the tile that its registers hold: rows x 2 vectors of accumulators, two vectors of b, one broadcast or two.
type level struct {
	name   string
	lanes  int
	tiles  []int // heights, tallest first
	vector func() reg.VecVirtual
	madd   func(x, y, z reg.VecVirtual) // z += x·y
}

// ahead is how many bytes before its use b is fetched, for weights that come from memory: over the end of a page, where the CPU's own prefetch stops.
const ahead = 4096

// fetchEvery is for how many steps outer fetches one place: less often than memory answers.
const fetchEvery = 4

// At AVX512BF16 the words of a and b are pairs of bfloat16, and k counts pairs.
var levels = []level{
	{"AVX2", 8, []int{6, 4, 2, 1}, YMM, fma},
	{"AVX512", 16, []int{14, 8, 4, 2, 1}, ZMM, fma},
	{"AVX512BF16", 16, []int{14, 8, 4, 2, 1}, ZMM, dot},
}

func fma(x, y, z reg.VecVirtual) { VFMADD231PS(x, y, z) }
func dot(x, y, z reg.VecVirtual) { evex.VDPBF16PS(x, y, z) }

func main() {
	for _, l := range levels {
		for _, rows := range l.tiles {
			l.tile(rows)
			l.outer(rows)
		}
		l.column()
		l.peak()
	}
	for _, l := range levels[:2] {
		l.packRows()
	}
	transpose8()
	transpose16()
	evex.Generate()
}

// bytes of a vector.
func (l level) bytes() int { return 4 * l.lanes }

// tile writes c[rows, 2 vectors] (+)= Σ_p a(i,p)·b[p, 2 vectors], one chain of multiply-adds for each element, p ascending. Rows of c lie ldc bytes apart,
// a(i,p) lies at a + i·lda + 4p, and b is packed.
func (l level) tile(rows int) {
	TEXT(fmt.Sprintf("gemm%d%s", rows, l.name), NOSPLIT, "func(c *float32, ldc int, a *float32, lda int, b *float32, k int, acc int, next int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("gemm%d%s computes a tile of %d rows and %d columns. With several rows, it fetches half as many bytes as it reads of b, from next bytes behind b on.", rows, l.name, rows, 2*l.lanes))
	c, ldc := gp("c"), gp("ldc")
	a, lda := gp("a"), gp("lda")
	b, k, next := gp("b"), gp("k"), gp("next")
	ADDQ(b, next)
	sum := l.start(rows, c, ldc)
	l.rowsLoop(sum, a, lda, b, k, func(n int) {
		for at := 0; at < n*2*l.bytes(); at += 64 {
			if m := (Mem{Base: b, Disp: ahead + at}); rows == 1 { // nothing of b is read twice
				PREFETCHNTA(m)
			} else {
				PREFETCHT0(m)
			}
		}
		if half := n * l.bytes(); n == unroll && rows > 1 { // into the second cache: it is a panel ahead
			for at := 0; at < half; at += 64 {
				PREFETCHT1(Mem{Base: next, Disp: at})
			}
			ADDQ(I32(int32(half)), next)
		}
	})
	l.store(sum, c, ldc)
	VZEROUPPER()
	RET()
}

// column writes tiles of the tallest kind one above the other. While it computes one it fetches what the next needs: its part of c, and a's rows by groups of a few
// cache lines. Only a column of tiles whose rows are new wants the latter; for others, groups are nothing apart.
func (l level) column() {
	rows := l.tiles[0]
	TEXT("gemmColumn"+l.name, NOSPLIT, "func(tiles int, c *float32, ldc int, a *float32, lda int, b *float32, k int, acc int, group int, groups int, skip int, then *float32)")
	Pragma("noescape")
	Doc(fmt.Sprintf("gemmColumn%s computes tiles of %d rows and %d columns one above the other. It fetches c and a of each while it computes the one before, and in the last", l.name, rows, 2*l.lanes),
		fmt.Sprintf("c at then and a of the first. A row of a is groups of %d bytes, which lie group bytes apart, and the next row is skip bytes behind their end.", l.group()))
	tiles, c, a := gp("tiles"), gp("c"), gp("a")
	Label("tile")
	b, k, lda := gp("b"), gp("k"), gp("lda")
	l.fetchTile(tiles, c, rows)
	sum := l.start(rows, c, gp("ldc"))
	next, group, first := GP64(), gp("groups"), GP64()
	l.below(next, a, lda, rows, tiles, "a")
	MOVQ(a, first)
	l.rowsLoop(sum, first, lda, b, k, func(n int) {
		for disp := ahead; disp < ahead+n*2*l.bytes(); disp += 64 {
			PREFETCHT0(Mem{Base: b, Disp: disp})
		}
		if n < unroll {
			return
		}
		for disp := 0; disp < l.group(); disp += 64 {
			PREFETCHT1(Mem{Base: next, Disp: disp})
		}
		ADDQ(vec.Stack("group"), next)
		DECQ(group)
		JNZ(LabelRef("within"))
		ADDQ(vec.Stack("skip"), next)
		MOVQ(vec.Stack("groups"), group)
		Label("within")
	})
	l.store(sum, c, gp("ldc"))
	for range rows {
		ADDQ(lda, a)
	}
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// group is how many bytes of a row of a are fetched at once: as many as bring the next tile in time.
func (l level) group() int { return 16 * l.lanes }

// fetchTile fetches the next tile of c, or the one at then behind the last.
func (l level) fetchTile(tiles, c reg.GPVirtual, rows int) {
	at, ldc := GP64(), gp("ldc")
	l.below(at, c, ldc, rows, tiles, "then")
	for i := range rows {
		for disp := 0; disp < 2*l.bytes(); disp += 64 {
			PREFETCHT1(Mem{Base: at, Disp: disp})
		}
		if i+1 < rows {
			ADDQ(ldc, at)
		}
	}
}

// below sets at to so many rows below p, or to a parameter behind the last tile.
func (l level) below(at, p, ld reg.GPVirtual, rows int, tiles reg.GPVirtual, last string) {
	MOVQ(ld, at)
	IMUL3Q(Imm(uint64(rows)), at, at)
	ADDQ(p, at)
	CMPQ(tiles, Imm(1))
	CMOVQEQ(vec.Stack(last), at)
}

// outer writes c[rows, 2 vectors] += Σ_p a(p,i)·b[p, 2 vectors], one chain of multiply-adds for each element, p ascending: a sum of outer products of rows.
// Rows of c lie ldc bytes apart, those of a lda and those of b ldb. Every few p, a place of two cache lines is fetched for later into the second cache.
func (l level) outer(rows int) {
	TEXT(fmt.Sprintf("gemmOuter%d%s", rows, l.name), NOSPLIT,
		"func(c *float32, ldc int, a *float32, lda int, b *float32, ldb int, k int, next *float32, ldn int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("gemmOuter%d%s adds outer products to a tile of %d rows and %d columns, and fetches k/%d places from next on, ldn bytes apart.",
		rows, l.name, rows, 2*l.lanes, fetchEvery))
	c, ldc := gp("c"), gp("ldc")
	a, lda, b, ldb := gp("a"), gp("lda"), gp("b"), gp("ldb")
	k, next, ldn := gp("k"), gp("next"), gp("ldn")
	sum := l.sums(rows)
	l.load(sum, c, ldc)
	l.loop(k, fetchEvery, func(n int) {
		if n == fetchEvery {
			PREFETCHT1(Mem{Base: next})
			PREFETCHT1(Mem{Base: next, Disp: 64})
			ADDQ(ldn, next)
		}
		for range n {
			l.step(sum, b, 0, func(i int) Mem { return Mem{Base: a, Disp: 4 * i} })
			ADDQ(lda, a)
			ADDQ(ldb, b)
		}
	})
	l.store(sum, c, ldc)
	VZEROUPPER()
	RET()
}

// gp loads a parameter.
func gp(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

// sums are the accumulators of a tile.
func (l level) sums(rows int) [][2]reg.VecVirtual {
	sum := make([][2]reg.VecVirtual, rows)
	for i := range sum {
		sum[i] = [2]reg.VecVirtual{l.vector(), l.vector()}
	}
	return sum
}

// start returns accumulators of a tile, from c where acc is set and zero otherwise.
func (l level) start(rows int, c, ldc reg.GPVirtual) [][2]reg.VecVirtual {
	sum := l.sums(rows)
	CMPQ(vec.Stack("acc"), Imm(0))
	JE(LabelRef("zero"))
	l.load(sum, c, ldc)
	JMP(LabelRef("begin"))
	Label("zero")
	for i := range sum {
		for _, s := range sum[i] {
			l.zero(s)
		}
	}
	Label("begin")
	return sum
}

// zero sets a register to zero.
func (l level) zero(v reg.VecVirtual) {
	if l.lanes == 16 {
		VPXORD(v, v, v)
	} else {
		VXORPS(v, v, v)
	}
}

// load sets the accumulators from c.
func (l level) load(sum [][2]reg.VecVirtual, c, ldc reg.GPVirtual) {
	at := GP64()
	MOVQ(c, at)
	for i := range sum {
		for v, s := range sum[i] {
			VMOVUPS(Mem{Base: at, Disp: v * l.bytes()}, s)
		}
		if i+1 < len(sum) {
			ADDQ(ldc, at)
		}
	}
}

// store writes the accumulators to c, and leaves c at the row behind them.
func (l level) store(sum [][2]reg.VecVirtual, c, ldc reg.GPVirtual) {
	for i := range sum {
		for v, s := range sum[i] {
			VMOVUPS(s, Mem{Base: c, Disp: v * l.bytes()})
		}
		ADDQ(ldc, c)
	}
}

// step adds one p: address(i) is where a(i,p) lies, b's vectors lie at b + disp.
func (l level) step(sum [][2]reg.VecVirtual, b reg.GPVirtual, disp int, address func(i int) Mem) {
	b0, b1, x := l.vector(), l.vector(), l.vector()
	VMOVUPS(Mem{Base: b, Disp: disp}, b0)
	VMOVUPS(Mem{Base: b, Disp: disp + l.bytes()}, b1)
	for i := range sum {
		VBROADCASTSS(address(i), x)
		l.madd(b0, x, sum[i][0])
		l.madd(b1, x, sum[i][1])
	}
}

const unroll = 4 // steps of rowsLoop at once

// rowsLoop adds all steps, with whatever else is to be done with n of them. Three rows share a base register, the second and third by an index of lda.
func (l level) rowsLoop(sum [][2]reg.VecVirtual, a, lda, b, k reg.GPVirtual, also func(n int)) {
	bases := []reg.GPVirtual{a}
	if len(sum) > 3 {
		three := GP64()
		LEAQ(Mem{Base: lda, Index: lda, Scale: 2}, three)
		for i := 3; i < len(sum); i += 3 {
			base := GP64()
			MOVQ(bases[len(bases)-1], base)
			ADDQ(three, base)
			bases = append(bases, base)
		}
	}
	address := func(u int) func(i int) Mem {
		return func(i int) Mem {
			m := Mem{Base: bases[i/3], Disp: 4 * u}
			if i%3 > 0 {
				m.Index, m.Scale = lda, uint8(i%3)
			}
			return m
		}
	}
	l.loop(k, unroll, func(n int) {
		for u := range n {
			l.step(sum, b, u*2*l.bytes(), address(u))
		}
		also(n)
		for _, base := range bases {
			ADDQ(I32(int32(4*n)), base)
		}
		ADDQ(I32(int32(n*2*l.bytes())), b)
	})
}

// loop runs body(unroll) while that many are left, then body(1).
func (l level) loop(k reg.GPVirtual, unroll int, body func(n int)) {
	SUBQ(I32(int32(unroll)), k)
	JL(LabelRef("tail"))
	Label("wide")
	body(unroll)
	SUBQ(I32(int32(unroll)), k)
	JGE(LabelRef("wide"))
	Label("tail")
	ADDQ(I32(int32(unroll)), k)
	JZ(LabelRef("done"))
	Label("single")
	body(1)
	DECQ(k)
	JNZ(LabelRef("single"))
	Label("done")
}

// peak writes a loop of independent multiply-adds in registers: what the machine can do at most.
func (l level) peak() {
	const chains = 12
	TEXT("fmaPeak"+l.name, NOSPLIT, "func(n int)")
	Doc(fmt.Sprintf("fmaPeak%s does n rounds of %d independent multiply-adds of %d lanes.", l.name, chains, l.lanes))
	n := Load(Param("n"), GP64())
	x := l.vector()
	l.zero(x)
	sum := make([]reg.VecVirtual, chains)
	for i := range sum {
		sum[i] = l.vector()
		l.zero(sum[i])
	}
	Label("rounds")
	for _, s := range sum {
		l.madd(x, x, s)
	}
	DECQ(n)
	JNZ(LabelRef("rounds"))
	VZEROUPPER()
	RET()
}

// packRows writes panels of units of a cache line: whole rows of src are read, and each panel takes its part of every row.
func (l level) packRows() {
	TEXT("packRows"+l.name, NOSPLIT, "func(dst *float32, ldd int, src *float32, lds int, rows int, panels int, units int)")
	Pragma("noescape")
	Doc("packRows" + l.name + " copies rows, which lie lds bytes apart, into panels, which lie ldd bytes apart and take units of 16 values of each row.")
	dst, ldd := Load(Param("dst"), GP64()).(reg.GPVirtual), Load(Param("ldd"), GP64())
	src, lds := Load(Param("src"), GP64()).(reg.GPVirtual), Load(Param("lds"), GP64())
	rows, panels, units := Load(Param("rows"), GP64()), Load(Param("panels"), GP64()), Load(Param("units"), GP64())
	from, to, panel, at, unit := GP64(), GP64(), GP64(), GP64(), GP64()
	Label("row")
	MOVQ(src, from)
	MOVQ(dst, to)
	MOVQ(panels, panel)
	Label("panel")
	MOVQ(to, at)
	MOVQ(units, unit)
	Label("unit")
	for disp := 0; disp < 64; disp += l.bytes() {
		v := l.vector()
		VMOVUPS(Mem{Base: from, Disp: disp}, v)
		VMOVUPS(v, Mem{Base: at, Disp: disp})
	}
	ADDQ(Imm(64), from)
	ADDQ(Imm(64), at)
	DECQ(unit)
	JNZ(LabelRef("unit"))
	ADDQ(ldd, to)
	DECQ(panel)
	JNZ(LabelRef("panel"))
	ADDQ(lds, src)
	MOVQ(units, unit)
	SHLQ(Imm(6), unit)
	ADDQ(unit, dst)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}
