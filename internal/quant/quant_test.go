package quant

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
)

// TestShrink: what is written stands for values within the rounding of the type, and is written alike again.
func TestShrink(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		t     Type
		steps float64 // of the range or the largest magnitude
	}{{F32, 1e9}, {F16, 1000}, {BF16, 128}, {Q8_0, 127}, {Q4_0, 8}, {Q4_1, 15}} {
		for range 50 {
			src, got := make([]float32, 64), make([]float32, 64)
			low, high, top := math.Inf(1), math.Inf(-1), 0.0
			for i := range src {
				src[i] = float32(rng.NormFloat64())
				low, high, top = min(low, float64(src[i])), max(high, float64(src[i])), max(top, math.Abs(float64(src[i])))
			}
			blocks, again := make([]byte, 64/c.t.Values()*c.t.Bytes()), make([]byte, 64/c.t.Values()*c.t.Bytes())
			c.t.Shrink(blocks, src)
			c.t.Expand(got, blocks)
			span := top
			if c.t == Q4_1 {
				span = high - low
			}
			for i := range src {
				limit := 1.01 * span / c.steps // a step: Q4_0 cuts off the side that is opposite to the largest
				if d := math.Abs(float64(got[i] - src[i])); d > limit {
					t.Fatalf("%s: %v became %v, limit %v", c.t, src[i], got[i], limit)
				}
			}
			c.t.Shrink(again, got)
			if c.t.Values() == 1 && !bytes.Equal(blocks, again) {
				t.Fatalf("%s: written again, the bytes differ", c.t)
			}
		}
		zeros, blocks := make([]float32, 32), make([]byte, 32/c.t.Values()*c.t.Bytes())
		c.t.Shrink(blocks, zeros)
		c.t.Expand(zeros, blocks)
		for _, v := range zeros {
			if v != 0 {
				t.Fatalf("%s: zeros became %v", c.t, v)
			}
		}
	}
}

// TestParseType: every type is found by its name, and nothing else.
func TestParseType(t *testing.T) {
	for _, q := range []Type{F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K} {
		if got, err := ParseType(q.String()); err != nil || got != q {
			t.Errorf("%s: %v, %v", q, got, err)
		}
	}
	for _, name := range []string{"", "type 4", "q8_0"} {
		if _, err := ParseType(name); err == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}
