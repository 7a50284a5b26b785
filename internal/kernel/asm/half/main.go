// Command half writes the microkernels of products with weights of 16 bits, which are widened to float32 on the way.
package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/vec"
)

// level is an instruction set with the heights of its tiles, tallest first. A tile is two vectors wide.
type level struct {
	name   string
	lanes  int
	tiles  []int
	vector func() reg.VecVirtual
}

var levels = []level{
	{"AVX2", 8, []int{6, 4, 2, 1}, YMM},
	{"AVX512", 16, []int{14, 8, 4, 2, 1}, ZMM},
}

// ahead is how many bytes before their use weights are fetched: over the end of a page, where the CPU's own prefetch stops.
const ahead = 4096

// stride is the bytes of an input in a panel of 32 outputs; BF16 has pairs of inputs.
const stride = 64

func main() {
	for _, l := range levels {
		for _, rows := range l.tiles {
			l.tile("F16", rows, 1, l.f16)
			l.tile("BF16", rows, 2, l.bf16)
		}
	}
	Generate()
}

// tile writes c[rows, 2 vectors] (+)= Σ_p a(i,p)·b[p, 2 vectors], one chain of multiply-adds for each element, p ascending. Rows of c lie ldc bytes apart,
// those of a lda. A step takes so many inputs; k counts steps.
func (l level) tile(kind string, rows, inputs int, step func(sum [][2]reg.VecVirtual, b reg.GPVirtual, disp int, a func(i, p int) Mem)) {
	TEXT(fmt.Sprintf("gemm%s%d%s", kind, rows, l.name), attr.NOSPLIT, "func(c *float32, ldc int, a *float32, lda int, b *byte, k int, acc int, next int)")
	Pragma("noescape")
	Doc(fmt.Sprintf("gemm%s%d%s computes a tile of %d rows and %d columns. With several rows, it fetches half as many bytes as it reads of b, from next bytes behind b on.", kind, rows, l.name, rows, 2*l.lanes))
	load := func(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }
	c, ldc, a, lda, b, k, acc := load("c"), load("ldc"), load("a"), load("lda"), load("b"), load("k"), load("acc")
	next := load("next")
	ADDQ(b, next)
	sum := l.start(c, ldc, acc, rows)
	bases := []reg.GPVirtual{a} // three rows share one
	for i := 3; i < rows; i += 3 {
		base := GP64()
		LEAQ(Mem{Base: bases[len(bases)-1], Index: lda, Scale: 2}, base)
		ADDQ(lda, base)
		bases = append(bases, base)
	}
	body := func(steps int) {
		for u := range steps {
			step(sum, b, u*inputs*stride, func(i, p int) Mem {
				m := Mem{Base: bases[i/3], Disp: 4 * (u*inputs + p)}
				if i%3 > 0 {
					m.Index, m.Scale = lda, uint8(i%3)
				}
				return m
			})
		}
		for at := 0; at < steps*inputs*stride; at += 64 {
			if m := (Mem{Base: b, Disp: ahead + at}); rows == 1 { // nothing of b is read twice
				PREFETCHNTA(m)
			} else {
				PREFETCHT0(m)
			}
		}
		if half := steps * inputs * stride / 2; half >= 64 && rows > 1 { // into the second cache: it is a panel ahead
			for at := 0; at < half; at += 64 {
				PREFETCHT1(Mem{Base: next, Disp: at})
			}
			ADDQ(I32(int32(half)), next)
		}
		for _, base := range bases {
			ADDQ(I32(int32(4*steps*inputs)), base)
		}
		ADDQ(I32(int32(steps*inputs*stride)), b)
	}
	loop(k, 4/inputs, body)
	for i := range rows {
		for v, s := range sum[i] {
			VMOVUPS(s, Mem{Base: c, Disp: 4 * v * l.lanes})
		}
		ADDQ(ldc, c)
	}
	VZEROUPPER()
	RET()
}

// start sets the accumulators from c when acc is not zero, otherwise to zero.
func (l level) start(c, ldc, acc reg.GPVirtual, rows int) [][2]reg.VecVirtual {
	sum := make([][2]reg.VecVirtual, rows)
	for i := range sum {
		sum[i] = [2]reg.VecVirtual{l.vector(), l.vector()}
		for _, s := range sum[i] {
			VXORPS(s, s, s)
		}
	}
	TESTQ(acc, acc)
	JZ(LabelRef("begin"))
	at := GP64()
	MOVQ(c, at)
	for i := range sum {
		for v, s := range sum[i] {
			VMOVUPS(Mem{Base: at, Disp: 4 * v * l.lanes}, s)
		}
		ADDQ(ldc, at)
	}
	Label("begin")
	return sum
}

// loop runs body(unroll) while that many are left, then body(1).
func loop(k reg.GPVirtual, unroll int, body func(n int)) {
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

// f16 adds one input.
func (l level) f16(sum [][2]reg.VecVirtual, b reg.GPVirtual, disp int, a func(i, p int) Mem) {
	w := [2]reg.VecVirtual{l.vector(), l.vector()}
	for v := range w {
		VCVTPH2PS(Mem{Base: b, Disp: disp + 2*v*l.lanes}, w[v])
	}
	l.add(sum, w, 0, a)
}

// upper is the mask of the upper half of a word.
const upper = math.MaxUint32 << 16 & math.MaxUint32

// bf16 adds two inputs: the first is in the lower halves of the words.
func (l level) bf16(sum [][2]reg.VecVirtual, b reg.GPVirtual, disp int, a func(i, p int) Mem) {
	for p := range 2 {
		w := [2]reg.VecVirtual{l.vector(), l.vector()}
		for v := range w {
			VMOVUPS(Mem{Base: b, Disp: disp + 4*v*l.lanes}, w[v])
			switch {
			case p == 0:
				VPSLLD(Imm(16), w[v], w[v])
			case l.lanes == 16:
				VPANDD_BCST(vec.ConstBits(upper), w[v], w[v])
			default:
				VPAND(vec.ConstBits(upper), w[v], w[v])
			}
		}
		l.add(sum, w, p, a)
	}
}

// add adds input p with the weights w.
func (l level) add(sum [][2]reg.VecVirtual, w [2]reg.VecVirtual, p int, a func(i, p int) Mem) {
	x := l.vector()
	for i := range sum {
		VBROADCASTSS(a(i, p), x)
		VFMADD231PS(w[0], x, sum[i][0])
		VFMADD231PS(w[1], x, sum[i][1])
	}
}
