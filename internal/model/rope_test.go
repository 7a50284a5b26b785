package model

import (
	"math"
	"testing"
)

// TestRopeTable: a position has its cosines and sines whatever was asked for before, up to the context's last one, and none beyond it is made.
func TestRopeTable(t *testing.T) {
	c := &Config{HeadDim: 8, RopeTheta: 10000, MaxPositionEmbeddings: 1000}
	r := newRope(c)
	for _, positions := range [][]int32{nil, {0}, {3, 255}, {256}, {7}, {700, 2}, {999}} {
		table := r.table(positions)
		if len(table) > c.MaxPositionEmbeddings*c.HeadDim {
			t.Fatalf("%v: %d values, expected at most %d", positions, len(table), c.MaxPositionEmbeddings*c.HeadDim)
		}
		for _, pos := range positions {
			for i, freq := range c.RopeFrequencies() {
				sin, cos := math.Sincos(float64(pos) * freq)
				if row := table[int(pos)*8:]; row[i] != float32(cos) || row[4+i] != float32(sin) {
					t.Errorf("position %d, pair %d: %v and %v, expected %v and %v", pos, i, row[i], row[4+i], cos, sin)
				}
			}
		}
	}
	short := newRope(&Config{HeadDim: 8, RopeTheta: 10000, MaxPositionEmbeddings: 16})
	if n := len(short.table([]int32{15})); n != 16*8 {
		t.Errorf("%d values of a context of 16 positions", n)
	}
}
