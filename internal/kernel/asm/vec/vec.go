// Package vec writes vector code once for every register width.
//
// Data is swept in blocks of 16 floats, which are one ZMM register or two YMM registers. Sums keep one partial sum for each of a
// fixed number of lanes, counted in blocks, so that all widths round alike.
package vec

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Block is the number of floats that every width handles in whole registers.
const Block = 16

// Width is one kind of vector register.
type Width struct {
	Level string // how the names of its functions end
	Bytes int
}

// The widths that code is made for. The code of AVX2 must not use registers from 16 on.
var (
	AVX2   = Width{"AVX2", 32}
	AVX512 = Width{"AVX512", 64}
	Widths = []Width{AVX2, AVX512}
)

// Parts is the number of registers in a block.
func (w Width) Parts() int { return 4 * Block / w.Bytes }

// New returns a register that is not in use.
func (w Width) New() reg.VecVirtual {
	if w == AVX512 {
		return ZMM()
	}
	return YMM()
}

// Zero returns a register of zeros.
func (w Width) Zero() reg.VecVirtual {
	v := w.New()
	VXORPS(v, v, v)
	return v
}

// Zeros returns so many registers of zeros.
func (w Width) Zeros(n int) []reg.VecVirtual {
	out := make([]reg.VecVirtual, n)
	for i := range out {
		out[i] = w.Zero()
	}
	return out
}

// Broadcast returns a register with the float at m in every lane.
func (w Width) Broadcast(m Mem) reg.VecVirtual {
	v := w.New()
	VBROADCASTSS(m, v)
	return v
}

// Copy returns a register with the value of a register or of memory.
func (w Width) Copy(from Op) reg.VecVirtual {
	v := w.New()
	VMOVUPS(from, v)
	return v
}

// low is the lower half of the floats of v, as memory operands and conversions want it.
func (w Width) low(v reg.VecVirtual) reg.Register {
	if w == AVX512 {
		return v.AsY()
	}
	return v.AsX()
}

var constants = map[uint32]Mem{}

// Fill returns a register with f in every lane.
func (w Width) Fill(f float32) reg.VecVirtual { return w.Broadcast(Const(f)) }

// Operation is an instruction whose first operand may lie in memory: a whole register, or one value for all lanes.
type Operation struct{ Vector, Broadcast func(ops ...Op) }

// The operations that constants are used with.
var (
	Sub      = Operation{VSUBPS, VSUBPS_BCST}
	MulAdd   = Operation{VFMADD213PS, VFMADD213PS_BCST}   // the constant is added
	TakeAway = Operation{VFNMADD231PS, VFNMADD231PS_BCST} // the constant is a factor
	Flip     = Operation{VXORPS, VXORPS_BCST}
	And      = Operation{VANDPS, VANDPS_BCST}
)

// Apply emits an operation with a constant from memory, of which a wide register takes one value: the linker aligns no data to cache lines, and a load of 64 bytes
// across two takes twice as long.
func (w Width) Apply(o Operation, constant Mem, ops ...Op) {
	emit := o.Vector
	if w == AVX512 {
		emit = o.Broadcast
	}
	emit(append([]Op{constant}, ops...)...)
}

// Const is 16 times f in memory.
func Const(f float32) Mem { return ConstBits(math.Float32bits(f)) }

// ConstBits is 16 times a float or an integer of these bits in memory.
func ConstBits(bits uint32) Mem {
	if m, ok := constants[bits]; ok {
		return m
	}
	m := GLOBL(fmt.Sprintf("c%08x", bits), attr.RODATA|attr.NOPTR)
	for i := range Block {
		DATA(4*i, U32(bits))
	}
	constants[bits] = m
	return m
}

// Func starts a function for the Go side. params are as in Go, and those of load come in registers; a slice is its first element.
func (w Width) Func(name, doc, signature string, load ...string) map[string]reg.GPVirtual {
	TEXT(name+w.Level, attr.NOSPLIT, "func"+signature)
	Doc(name + w.Level + " " + doc)
	Pragma("noescape")
	regs := map[string]reg.GPVirtual{}
	for _, p := range load {
		regs[p] = GP64()
		b, err := Param(p).Resolve()
		if err != nil {
			b, err = Param(p).Base().Resolve()
		}
		if err != nil {
			panic(err)
		}
		MOVQ(b.Addr, regs[p])
	}
	return regs
}

// Len loads the length of a slice.
func Len(slice string) reg.GPVirtual {
	n := GP64()
	Load(Param(slice).Len(), n)
	return n
}

// Stack is a parameter as a memory operand.
func Stack(param string) Mem {
	b, err := Param(param).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// Result is the function's only result as a memory operand.
func Result() Mem { return ResultAt(0) }

// ResultAt is one of the function's results as a memory operand.
func ResultAt(i int) Mem {
	b, err := ReturnIndex(i).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// End ends a function.
func End() {
	VZEROUPPER()
	RET()
}

var labels int

// NewLabel makes a name that no other label has.
func NewLabel(name string) string {
	labels++
	return fmt.Sprintf("%s%d", name, labels)
}
