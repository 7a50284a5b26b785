// Package safetensors reads and writes files of named tensors in the safetensors format, checking everything that a file
// says about itself before believing it.
//
// A file is an 8-byte little-endian length n, n bytes of JSON that map names to dtype, shape and byte range, and then the
// bytes of all tensors without gap or overlap (https://github.com/huggingface/safetensors#format).
package safetensors

import (
	"fmt"
	"math"
	"math/bits"
)

// DType is the format's name of an element type.
type DType string

// The element types with a whole number of bytes. The sub-byte types of the format (F4, F6) are refused by name.
const (
	Bool   DType = "BOOL"
	U8     DType = "U8"
	I8     DType = "I8"
	F8E4M3 DType = "F8_E4M3"
	F8E5M2 DType = "F8_E5M2"
	F8E8M0 DType = "F8_E8M0"
	I16    DType = "I16"
	U16    DType = "U16"
	F16    DType = "F16"
	BF16   DType = "BF16"
	I32    DType = "I32"
	U32    DType = "U32"
	F32    DType = "F32"
	I64    DType = "I64"
	U64    DType = "U64"
	F64    DType = "F64"
	C64    DType = "C64"
)

// Size is the number of bytes of one element, 0 for a type that this package does not know.
func (d DType) Size() int {
	switch d {
	case Bool, U8, I8, F8E4M3, F8E5M2, F8E8M0:
		return 1
	case I16, U16, F16, BF16:
		return 2
	case I32, U32, F32:
		return 4
	case I64, U64, F64, C64:
		return 8
	}
	return 0
}

// Tensor says what a file holds under a name. Treat Shape as read-only.
type Tensor struct {
	Name  string
	DType DType
	Shape []int // empty for a scalar

	begin, end int64 // byte range, counted from the end of the header
}

// Len is the number of elements.
func (t Tensor) Len() int {
	n := 1
	for _, dim := range t.Shape {
		n *= dim
	}
	return n
}

// String gives type and shape as in "F32 [256 64]".
func (t Tensor) String() string { return fmt.Sprintf("%s %v", t.DType, t.Shape) }

// byteSize is the size of a tensor of that type and shape, or an error where the type is unknown or the size overflows.
func byteSize(d DType, shape []int) (int64, error) {
	size := d.Size()
	if size == 0 {
		return 0, fmt.Errorf("dtype %q is not supported", d)
	}
	n := uint64(1)
	for _, dim := range shape {
		if dim < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", shape)
		}
		hi, lo := bits.Mul64(n, uint64(dim))
		if hi != 0 || lo > math.MaxInt64/8 || lo > math.MaxInt {
			return 0, fmt.Errorf("shape %v has more elements than any file can hold", shape)
		}
		n = lo
	}
	return int64(n) * int64(size), nil
}
