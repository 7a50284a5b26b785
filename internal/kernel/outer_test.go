//go:build unix

package kernel

import (
	"slices"
	"testing"
)

// TestOuterProductsStayInsideTheirOperands: gradients of weights read and write nothing beside their operands, however these lie, and place does not matter.
func TestOuterProductsStayInsideTheirOperands(t *testing.T) {
	for _, s := range [][3]int{{1, 1, 1}, {7, 33, 15}, {131, 1024, 17}, {300, 31, 1024}, {262, 96, 260}, {3, 300, 2048}} {
		n, in, out := s[0], s[1], s[2]
		for _, level := range Levels()[1:] {
			c := mustCPU(t, level, 2)
			var want, wantBF16 []float32
			for _, start := range []bool{true, false} {
				operand := func(values int) []float32 {
					x := guarded(t, values, start)
					for i := range x {
						x[i] = float32(i%17) - 8
					}
					return x
				}
				dw, dy, x := operand(in*out), operand(n*out), operand(n*in)
				c.LinearBackwardWeight(dw, dy, x, n, in, out)
				if want == nil {
					want = slices.Clone(dw)
				}
				if !slices.Equal(dw, want) {
					t.Errorf("%s %v: another place, other bits", level, s)
				}
				if !c.HasBF16() {
					continue
				}
				dw, dy16, x16 := operand(in*out), guarded(t, words(n, out), start), guarded(t, words(n, in), start)
				c.RoundRows(dy16, dy, n, out)
				c.RoundRows(x16, x, n, in)
				c.LinearBackwardWeightBF16Rows(dw, dy16, x16, n, in, out)
				if wantBF16 == nil {
					wantBF16 = slices.Clone(dw)
				}
				if !slices.Equal(dw, wantBF16) {
					t.Errorf("%s %v in bf16: another place, other bits", level, s)
				}
			}
		}
	}
}

// TestShares: parts are no larger than asked, and there is work for everybody where the result has enough of it.
func TestShares(t *testing.T) {
	for _, rows := range []int{1, 3, 19, 101, 3512} {
		for _, cols := range []int{1, 8, 22, 48} {
			for _, workers := range []int{1, 2, 3, 16, 128} {
				down, across := shares(rows, cols, 18, 8, workers)
				if down < 1 || down > rows || across < 1 || across > cols || (rows+down-1)/down > 18 || (cols+across-1)/across > 8 {
					t.Errorf("%d × %d: %d × %d parts", rows, cols, down, across)
				}
				if down*across < min(rows*cols/4, workers) {
					t.Errorf("%d × %d: %d × %d parts for %d workers", rows, cols, down, across, workers)
				}
			}
		}
	}
}
