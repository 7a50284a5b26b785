// Package evex adds the bfloat16 instructions that Go's assembler lacks: they are written as bytes, with the instruction as a comment behind.
package evex

import (
	"fmt"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/reg"
)

// encoding is an instruction of the map 0F38 with W 0 on 512-bit registers.
type encoding struct {
	prefix uint32 // the pp field: 2 for F3, 3 for F2
	opcode uint32
}

var encodings = map[string]encoding{
	"VDPBF16PS":      {2, 0x52},
	"VCVTNE2PS2BF16": {3, 0x72},
}

// VDPBF16PS adds to each float of z the product of the upper and then that of the lower halves of x and y.
func VDPBF16PS(x, y, z reg.Register) {
	emit("VDPBF16PS", []operand.Op{x, y, z}, []operand.Op{x, y, z})
}

// VCVTNE2PS2BF16 rounds the floats of x to the lower half of z, and those of y to the upper.
func VCVTNE2PS2BF16(x, y, z reg.Register) {
	emit("VCVTNE2PS2BF16", []operand.Op{x, y, z}, []operand.Op{x, y})
}

// emit places an instruction that stays symbolic until its registers are known.
func emit(name string, operands, inputs []operand.Op) {
	build.Instruction(&ir.Instruction{Opcode: name, Operands: operands, Inputs: inputs, Outputs: operands[2:]})
}

// Generate is avo's Generate with a pass behind the compilation that encodes the instructions of this package.
func Generate() {
	pass.Compile = pass.Concat(pass.Compile, pass.FunctionPass(encode))
	build.Generate()
}

func encode(f *ir.Function) error {
	var nodes []ir.Node
	for _, n := range f.Nodes {
		i, ok := n.(*ir.Instruction)
		if !ok {
			nodes = append(nodes, n)
			continue
		}
		e, ok := encodings[i.Opcode]
		if !ok {
			nodes = append(nodes, n)
			continue
		}
		id := func(k int) uint32 { return uint32(i.Operands[k].(reg.Physical).PhysicalIndex()) }
		first, rest := e.bytes(id(0), id(1), id(2))
		text := fmt.Sprintf("%s %s, %s, %s", i.Opcode, i.Operands[0].Asm(), i.Operands[1].Asm(), i.Operands[2].Asm())
		nodes = append(nodes, &ir.Instruction{Opcode: "LONG", Operands: []operand.Op{operand.U32(first)}},
			&ir.Instruction{Opcode: "WORD", Operands: []operand.Op{operand.U16(rest)}}, ir.NewComment(text))
	}
	f.Nodes = nodes
	return nil
}

// bytes encodes an instruction on registers, x in the rm field, y in vvvv and z in reg: the first four bytes, and the other two.
func (e encoding) bytes(x, y, z uint32) (uint32, uint16) {
	not := func(v, bit uint32) uint32 { return ^v >> bit & 1 } // extension bits are stored inverted
	p0 := not(z, 3)<<7 | not(x, 4)<<6 | not(x, 3)<<5 | not(z, 4)<<4 | 2
	p1 := (^y&15)<<3 | 1<<2 | e.prefix
	p2 := uint32(2)<<5 | not(y, 4)<<3
	return 0x62 | p0<<8 | p1<<16 | p2<<24, uint16(e.opcode | (0xc0|z&7<<3|x&7)<<8)
}
