// Command quant writes the products of activations in int8 with weights in blocks of few bits, and what turns activations into int8.
//
// A panel of weights is 32 outputs. Its record for a block of 32 inputs holds the quanta, byte by byte for 8 bits, otherwise two to a byte, in groups
// of 4 inputs for each output, then the bits above the fourth, then scales and minima. Blocks of blocks (K types) begin with a header of scales of scales.
package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const (
	ahead  = 4096      // bytes before their use that weights are fetched: over the end of a page, where the CPU's own prefetch stops
	panel  = 32        // outputs
	line   = 64        // bytes; a scale for each output in half precision
	tile   = 4 * panel // bytes of a row of the tile of sums
	auxes  = 16        // bytes that describe a block of activations: scale, offset times sum (of its halves), scale times sum
	word   = 2 * panel // bytes of half-precision scales
	group  = 4 * panel // bytes of 4 inputs for each output
	half   = group / 2 // of 16 outputs
	blockX = 32        // bytes of a block of activations
)

// format says where the parts of a block lie in its record. Offsets of parts that are not there are -1.
type format struct {
	name           string
	bits           int
	high           int  // the bits above the fourth
	scale, minimum int  // half precision, or bytes with a header
	offset         bool // quanta are unsigned by an offset, which the activations' sums undo
	split          bool // scales are of 16 inputs
	header         int  // bytes
	record         int  // bytes
}

var formats = []format{
	{"Q8_0", 8, -1, 1024, -1, true, false, 0, 1088},
	{"Q4_0", 4, -1, 512, -1, true, false, 0, 576},
	{"Q4_1", 4, -1, 512, 576, false, false, 0, 640},
	{"Q5_0", 5, 512, 640, -1, true, false, 0, 704},
	{"Q5_1", 5, 512, 640, 704, false, false, 0, 768},
	{"Q4K", 4, -1, 512, 544, false, false, 128, 576},
	{"Q5K", 5, 512, 640, 672, false, false, 128, 704},
	{"Q6K", 6, 512, 768, -1, true, true, 64, 832},
}

func main() {
	for _, f := range formats {
		f.vnni()
		f.avx2()
	}
	quantize512()
	quantize256()
	Generate()
}

// arguments are those of a product.
type arguments struct {
	y, x, ldx, aux, ldaux, w, blocks, rows reg.GPVirtual
}

func (f format) begin(level string, scratch bool) (a arguments, at reg.GPVirtual) {
	signature := "func(y *float32, x *byte, ldx int, aux *float32, ldaux int, w *byte, blocks int, rows int)"
	if scratch {
		signature = "func(y *float32, x *byte, ldx int, aux *float32, ldaux int, w *byte, blocks int, rows int, scratch *byte)"
	}
	TEXT("dot"+f.name+level, attr.NOSPLIT, signature)
	Pragma("noescape")
	Doc(fmt.Sprintf("dot%s%s adds to the tile y[rows, %d] the products of rows of activations with a panel of weights.", f.name, level, panel))
	load := func(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }
	a = arguments{load("y"), load("x"), load("ldx"), load("aux"), load("ldaux"), load("w"), load("blocks"), load("rows")}
	if scratch {
		at = load("scratch")
	}
	return a, at
}

// loop emits body for each block, with the pointers moved on; head comes before every eighth where the format has a header.
func (f format) loop(a arguments, head, body func()) {
	var left reg.GPVirtual
	Label("super")
	if f.header > 0 {
		left = GP64()
		MOVQ(U32(8), left)
		head()
		ADDQ(U32(uint32(f.header)), a.w)
	}
	Label("block")
	for at := 0; at < f.record; at += line {
		PREFETCHT0(Mem{Base: a.w, Disp: ahead + at})
	}
	body()
	ADDQ(U32(uint32(f.record)), a.w)
	ADDQ(Imm(blockX), a.x)
	ADDQ(Imm(auxes), a.aux)
	if f.header > 0 {
		SUBQ(Imm(1), a.blocks)
		DECQ(left)
		JNZ(LabelRef("block"))
		TESTQ(a.blocks, a.blocks)
		JNZ(LabelRef("super"))
	} else {
		DECQ(a.blocks)
		JNZ(LabelRef("block"))
	}
	VZEROUPPER()
	RET()
}

// eachRow emits body for every row: x, aux and y point to its parts.
func (a arguments) eachRow(ldx reg.GPVirtual, body func(x, aux, y reg.GPVirtual)) {
	x, aux, y, n := GP64(), GP64(), GP64(), GP64()
	MOVQ(a.x, x)
	MOVQ(a.aux, aux)
	MOVQ(a.y, y)
	MOVQ(a.rows, n)
	Label("row")
	body(x, aux, y)
	ADDQ(ldx, x)
	ADDQ(a.ldaux, aux)
	ADDQ(U32(tile), y)
	DECQ(n)
	JNZ(LabelRef("row"))
}

var bytes = map[byte]Mem{}

// everyByte is 64 times a byte in memory.
func everyByte(b byte) Mem {
	if m, ok := bytes[b]; ok {
		return m
	}
	m := GLOBL(fmt.Sprintf("quant%02x", b), attr.RODATA|attr.NOPTR)
	for i := range 8 {
		DATA(8*i, U64(0x0101010101010101*uint64(b)))
	}
	bytes[b] = m
	return m
}
