// Package half converts float32 from and to the two 16-bit formats, F16 (IEEE 754 binary16) and BF16.
package half

import "math"

func BF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// ToBF16 rounds to nearest, ties to even. A NaN stays a NaN.
func ToBF16(x float32) uint16 {
	b := math.Float32bits(x)
	if x != x {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// F16 is exact.
func F16(h uint16) float32 {
	sign, exp, frac := uint32(h)>>15<<31, uint32(h)>>10&0x1f, uint32(h)&0x3ff
	switch exp {
	case 0: // zero and subnormals: frac * 2^-24
		return math.Float32frombits(math.Float32bits(float32(frac)*0x1p-24) | sign)
	case 0x1f:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

// ToF16 rounds to nearest, ties to even. A NaN stays a NaN.
func ToF16(x float32) uint16 {
	b := math.Float32bits(x)
	sign, abs := uint16(b>>16&0x8000), b&^(1<<31)
	switch {
	case abs > 0xff<<23:
		return sign | 0x7e00 | uint16(abs>>13&0x3ff)
	case abs >= (127+16)<<23:
		return sign | 0x7c00
	case abs < (127-14)<<23: // subnormal: the sum has the step 2^-24 as its last bit, so the addition rounds
		return sign | uint16(math.Float32bits(math.Float32frombits(abs)+0.5)-math.Float32bits(0.5))
	}
	abs -= (127 - 15) << 23
	return sign | uint16((abs+0xfff+abs>>13&1)>>13)
}
