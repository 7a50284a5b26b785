package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestPageConversions: every level gives the bits of the definition, whatever the values and the width of a row, and writes nothing beside them.
func TestPageConversions(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	special := []uint32{0, 1 << 31, 1, 0x7fffff, 0x7f800000, 0xff800000, 0x7f800001, 0xffc00000, 0x7f7fffff, 0x3f808000, 0x3f818000, 0x3f808001, 0x7fbfffff}
	const rows, gap = 5, 3
	for _, level := range Levels() {
		for _, e := range []int{1, 8, 16, 20, 64, 80, 192} {
			src := make([]float32, rows*e)
			for i := range src {
				src[i] = math.Float32frombits(rng.Uint32())
				if rng.IntN(4) == 0 {
					src[i] = math.Float32frombits(special[rng.IntN(len(special))])
				}
			}
			got, want := make([]uint16, len(src)+1), make([]uint16, len(src)+1)
			level.roundRow(got[:len(src)], src)
			roundRowGeneric(want, src)
			if !slices.Equal(got, want) {
				t.Errorf("%s, %d values: rounded differently", level, len(src))
			}
			stride := e + gap
			narrow, small, scale := make([]uint16, rows*stride), make([]int8, rows*stride), make([]float32, 2*rows)
			for i := range narrow {
				narrow[i], small[i] = uint16(rng.Uint32()), int8(rng.Uint32())
			}
			for i := range scale {
				scale[i] = rng.Float32()
			}
			sameBits(t, level, e, func(l Level, dst []float32) { l.widenRows(dst[:rows*e], narrow, rows, stride, e) }, rows*e)
			sameBits(t, level, e, func(l Level, dst []float32) { l.expandRows(dst[:rows*e], small, scale, rows, stride, 2, e) }, rows*e)
		}
	}
}

// sameBits compares a conversion to n values at a level with the definition.
func sameBits(t *testing.T, level Level, e int, convert func(l Level, dst []float32), n int) {
	t.Helper()
	got, want := make([]float32, n+16), make([]float32, n+16)
	convert(level, got)
	convert(Generic, want)
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Errorf("%s, rows of %d: value %d is %v, expected %v", level, e, i, got[i], want[i])
			return
		}
	}
}
