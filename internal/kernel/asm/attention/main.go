// Command attention generates the assembly of tiled attention for every vector width.
//
// A tile's queries lie in the lanes, so a softmax needs no operation across lanes, and every reduction is one chain of
// multiply-adds in the order of its index, whatever the width.
package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"

	"mor/internal/kernel/asm/evex"
	"mor/internal/kernel/asm/vec"
)

// width is one kind of vector register.
type width struct {
	level string
	bytes int
	all   []reg.VecPhysical
}

// vec is the register i.
func (w width) vec(i int) reg.VecPhysical { return w.all[i] }

// from is the registers from i on.
func (w width) from(i int) []reg.VecPhysical { return w.all[i:] }

// tile is rows×regs accumulators; its lanes are the width's times regs.
type tile struct {
	width
	suffix     string
	regs, rows int
}

var (
	y = width{"AVX2", 32, []reg.VecPhysical{
		reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7,
		reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15}}
	z = width{"AVX512", 64, []reg.VecPhysical{
		reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7,
		reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
		reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23,
		reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31}}
	wideY   = tile{y, "AVX2", 2, 6}
	narrowY = tile{y, "NarrowAVX2", 1, 12}
	wideZ   = tile{z, "AVX512", 2, 8}
	narrowZ = tile{z, "NarrowAVX512", 1, 16}
)

func main() {
	constants()
	for _, t := range []tile{wideY, narrowY, wideZ, narrowZ} {
		scores(t)
		softmax(t)
		softmaxBackward(t)
		accumulate(t)
		outer(t)
		laneDots(t)
	}
	index := pairIndex()
	softmaxBF16(wideZ, index)
	softmaxBackwardBF16(wideZ, index)
	scaleLanes(wideZ)
	for _, w := range vec.Widths {
		gather(w)
		scatter(w)
	}
	sums()
	addScaled()
	prefetch("attnPrefetch", "second", PREFETCHT1)
	prefetch("attnPrefetchNear", "first", PREFETCHT0)
	fewKernels(y, 3)
	fewKernels(z, 4)
	evex.Generate()
}

// row is the size of one row of a tile in bytes.
func (t tile) row() int { return t.regs * t.bytes }

// acc is the accumulator of row i and register column j.
func (t tile) acc(i, j int) reg.VecPhysical { return t.vec(i*t.regs + j) }

// begin starts a function and loads its parameters into registers.
func begin(name, doc, params string, load ...string) map[string]reg.GPVirtual {
	TEXT(name, attr.NOSPLIT, "func("+params+")")
	Doc(doc)
	Pragma("noescape")
	regs := map[string]reg.GPVirtual{}
	for _, p := range load {
		regs[p] = GP64()
		Load(Param(p), regs[p])
	}
	return regs
}

func end() {
	VZEROUPPER()
	RET()
}

var labels int

// label makes a name that is unique in its function.
func label(name string) string {
	labels++
	return fmt.Sprintf("%s%d", name, labels)
}

// countdown emits body while at least step remain in n.
func countdown(n reg.GPVirtual, step int, body func()) {
	loop, done := label("loop"), label("done")
	CMPQ(n, Imm(uint64(step)))
	JLT(LabelRef(done))
	Label(loop)
	body()
	SUBQ(Imm(uint64(step)), n)
	CMPQ(n, Imm(uint64(step)))
	JGE(LabelRef(loop))
	Label(done)
}
