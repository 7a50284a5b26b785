// Package quant stores numbers in blocks of few bits: the block formats of ggml, which GGUF files hold and the kernels run on.
package quant

import (
	"encoding/binary"
	"fmt"
	"math"

	"mor/internal/half"
)

// Type is how the values of a tensor are stored: ggml's number for it.
type Type uint32

// The types that are known.
const (
	F32  Type = 0
	F16  Type = 1
	Q4_0 Type = 2
	Q4_1 Type = 3
	Q5_0 Type = 6
	Q5_1 Type = 7
	Q8_0 Type = 8
	Q4_K Type = 12
	Q5_K Type = 13
	Q6_K Type = 14
	BF16 Type = 30
)

// format describes the blocks of a type.
type format struct {
	name   string
	values int                               // of a block
	bytes  int                               // of a block
	expand func(dst []float32, block []byte) // with one value a block: of any number of them
	shrink func(block []byte, src []float32) // nil: a type that is only read
}

// formatOf returns the format of a type.
func formatOf(t Type) (format, bool) {
	switch t {
	case F32:
		return format{"F32", 1, 4, expandF32, shrinkF32}, true
	case F16:
		return format{"F16", 1, 2, expandF16, shrinkF16}, true
	case BF16:
		return format{"BF16", 1, 2, expandBF16, shrinkBF16}, true
	case Q4_0:
		return format{"Q4_0", 32, 18, expandQ4_0, shrinkQ4_0}, true
	case Q4_1:
		return format{"Q4_1", 32, 20, expandQ4_1, shrinkQ4_1}, true
	case Q5_0:
		return format{"Q5_0", 32, 22, expandQ5_0, nil}, true
	case Q5_1:
		return format{"Q5_1", 32, 24, expandQ5_1, nil}, true
	case Q8_0:
		return format{"Q8_0", 32, 34, expandQ8_0, shrinkQ8_0}, true
	case Q4_K:
		return format{"Q4_K", 256, 144, expandQ4K, nil}, true
	case Q5_K:
		return format{"Q5_K", 256, 176, expandQ5K, nil}, true
	case Q6_K:
		return format{"Q6_K", 256, 210, expandQ6K, nil}, true
	}
	return format{}, false
}

// Known tells whether the type is one of the constants.
func (t Type) Known() bool {
	_, ok := formatOf(t)
	return ok
}

// Values is how many values a block holds.
func (t Type) Values() int {
	f, _ := formatOf(t)
	return f.values
}

// Bytes is how many bytes a block takes.
func (t Type) Bytes() int {
	f, _ := formatOf(t)
	return f.bytes
}

// ParseType is the type of a name, as String gives it.
func ParseType(name string) (Type, error) {
	for t := range BF16 + 1 {
		if t.Known() && t.String() == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("%q: not a type of weights", name)
}

func (t Type) String() string {
	if f, ok := formatOf(t); ok {
		return f.name
	}
	if name, ok := others[t]; ok {
		return name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// others names GGUF's types that are not read.
var others = map[Type]string{9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S",
	23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4"}

// Expand writes the values of whole blocks to dst, which has room for exactly them.
func (t Type) Expand(dst []float32, blocks []byte) {
	f, _ := formatOf(t)
	if f.values == 1 { // expand takes any number of them
		f.expand(dst, blocks)
		return
	}
	for len(dst) > 0 {
		f.expand(dst[:f.values], blocks[:f.bytes])
		dst, blocks = dst[f.values:], blocks[f.bytes:]
	}
}

// Shrink writes values as whole blocks, by ggml's reference rounding.
func (t Type) Shrink(blocks []byte, src []float32) {
	f, _ := formatOf(t)
	if f.values == 1 {
		f.shrink(blocks, src)
		return
	}
	for len(src) > 0 {
		f.shrink(blocks[:f.bytes], src[:f.values])
		src, blocks = src[f.values:], blocks[f.bytes:]
	}
}

func f16(b []byte) float32 { return half.F16(binary.LittleEndian.Uint16(b)) }

func putF16(b []byte, x float32) { binary.LittleEndian.PutUint16(b, half.ToF16(x)) }

func expandF32(dst []float32, b []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
}

func shrinkF32(b []byte, src []float32) {
	for i, x := range src {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(x))
	}
}

func expandF16(dst []float32, b []byte) {
	for i := range dst {
		dst[i] = f16(b[2*i:])
	}
}

func shrinkF16(b []byte, src []float32) {
	for i, x := range src {
		putF16(b[2*i:], x)
	}
}

func expandBF16(dst []float32, b []byte) {
	for i := range dst {
		dst[i] = half.BF16(binary.LittleEndian.Uint16(b[2*i:]))
	}
}

func shrinkBF16(b []byte, src []float32) {
	for i, x := range src {
		binary.LittleEndian.PutUint16(b[2*i:], half.ToBF16(x))
	}
}

// Blocks of 32: a scale (and a minimum), then for 5 bits the high ones, then the low 4 bits of values 0 to 15 and, in the high nibbles, 16 to 31.

func expandQ4_0(dst []float32, b []byte) {
	d := f16(b)
	for i, q := range b[2:18] {
		dst[i], dst[i+16] = float32(int(q&15)-8)*d, float32(int(q>>4)-8)*d
	}
}

func expandQ4_1(dst []float32, b []byte) {
	d, m := f16(b), f16(b[2:])
	for i, q := range b[4:20] {
		dst[i], dst[i+16] = float32(q&15)*d+m, float32(q>>4)*d+m
	}
}

// fifth returns the values of a byte of low nibbles with the fifth bits of values i and i+16.
func fifth(q byte, high uint32, i int) (lo, hi int) {
	return int(q&15) | int(high>>i&1)<<4, int(q>>4) | int(high>>(i+16)&1)<<4
}

func expandQ5_0(dst []float32, b []byte) {
	d, high := f16(b), binary.LittleEndian.Uint32(b[2:])
	for i, q := range b[6:22] {
		lo, hi := fifth(q, high, i)
		dst[i], dst[i+16] = float32(lo-16)*d, float32(hi-16)*d
	}
}

func expandQ5_1(dst []float32, b []byte) {
	d, m, high := f16(b), f16(b[2:]), binary.LittleEndian.Uint32(b[4:])
	for i, q := range b[8:24] {
		lo, hi := fifth(q, high, i)
		dst[i], dst[i+16] = float32(lo)*d+m, float32(hi)*d+m
	}
}

func expandQ8_0(dst []float32, b []byte) {
	d := f16(b)
	for i, q := range b[2:34] {
		dst[i] = float32(int8(q)) * d
	}
}

// Super-blocks of 256: eight sub-blocks of 32 (Q6_K: sixteen of 16), whose scales are quantised too.

// subScale returns the 6-bit scale and minimum of sub-block j from the 12 bytes that pack them.
func subScale(s []byte, j int) (scale, minimum uint8) {
	if j < 4 {
		return s[j] & 63, s[j+4] & 63
	}
	return s[j+4]&15 | s[j-4]>>6<<4, s[j+4]>>4 | s[j]>>6<<4
}

func expandQ4K(dst []float32, b []byte) {
	d, dmin, scales, q := f16(b), f16(b[2:]), b[4:16], b[16:144]
	for j := range 8 {
		scale, minimum := subScale(scales, j)
		sc, m := d*float32(scale), dmin*float32(minimum)
		for i := range 32 {
			v := q[j/2*32+i] >> (4 * (j & 1)) & 15
			dst[32*j+i] = sc*float32(v) - m
		}
	}
}

func expandQ5K(dst []float32, b []byte) {
	d, dmin, scales, high, q := f16(b), f16(b[2:]), b[4:16], b[16:48], b[48:176]
	for j := range 8 {
		scale, minimum := subScale(scales, j)
		sc, m := d*float32(scale), dmin*float32(minimum)
		for i := range 32 {
			v := q[j/2*32+i]>>(4*(j&1))&15 | high[i]>>j&1<<4
			dst[32*j+i] = sc*float32(v) - m
		}
	}
}

func expandQ6K(dst []float32, b []byte) {
	low, high, scales, d := b[:128], b[128:192], b[192:208], f16(b[208:])
	for j := range 8 { // runs of 32 values
		part, run := j/4, j%4
		for i := range 32 {
			v := low[64*part+32*(run&1)+i] >> (4 * (run >> 1)) & 15
			v |= high[32*part+i] >> (2 * run) & 3 << 4
			dst[32*j+i] = d * float32(int8(scales[8*part+2*run+i/16])) * float32(int(v)-32)
		}
	}
}

func shrinkQ8_0(b []byte, src []float32) {
	top := float32(0)
	for _, x := range src {
		top = max(top, float32(math.Abs(float64(x))))
	}
	d := top / 127
	inverse := float32(0)
	if d != 0 {
		inverse = 1 / d
	}
	putF16(b, d)
	for i, x := range src {
		b[2+i] = byte(int8(math.Round(float64(x * inverse))))
	}
}

func shrinkQ4_0(b []byte, src []float32) {
	top, signed := float32(0), float32(0)
	for _, x := range src {
		if a := float32(math.Abs(float64(x))); a > top {
			top, signed = a, x
		}
	}
	d := signed / -8
	inverse := float32(0)
	if d != 0 {
		inverse = 1 / d
	}
	putF16(b, d)
	quantum := func(x float32) byte { return byte(min(15, int8(float32(x*inverse)+8.5))) } // no fused multiply-add, as ggml rounds
	for i := range 16 {
		b[2+i] = quantum(src[i]) | quantum(src[i+16])<<4
	}
}

func shrinkQ4_1(b []byte, src []float32) {
	low, high := src[0], src[0]
	for _, x := range src {
		low, high = min(low, x), max(high, x)
	}
	d := (high - low) / 15
	inverse := float32(0)
	if d != 0 {
		inverse = 1 / d
	}
	putF16(b, d)
	putF16(b[2:], low)
	quantum := func(x float32) byte { return byte(min(15, int8(float32((x-low)*inverse)+0.5))) }
	for i := range 16 {
		b[4+i] = quantum(src[i]) | quantum(src[i+16])<<4
	}
}
