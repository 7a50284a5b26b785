package quant_test

import (
	"encoding/binary"
	"math"
	"testing"

	"mor/internal/half"
	"mor/internal/quant"
)

// TestExpand compares a block of each type with the values that the gguf package of Python (0.19) reads from it: the first three, three from the middle, the last
// three, and the sum of i·value, i from 1.
func TestExpand(t *testing.T) {
	scales := []float32{0.0375, -0.21}
	for _, c := range []struct {
		name   string
		places []int // of the scales in the block
		some   []float32
		sum    float64
	}{
		{"Q4_0", []int{0}, []float32{0.037506103515625, 0.037506103515625, -0.037506103515625, -0.187530517578125, -0.07501220703125, 0.07501220703125, -0.262542724609375, 0.262542724609375, 0.22503662109375}, -8.438873291015625},
		{"Q4_1", []int{0, 2}, []float32{0.052581787109375, -0.097442626953125, -0.13494873046875, 0.16510009765625, 0.352630615234375, -0.022430419921875, 0.31512451171875, 0.352630615234375, -0.172454833984375}, 39.84014892578125},
		{"Q5_0", []int{0}, []float32{0.07501220703125, -0.22503662109375, -0.412567138671875, 0.187530517578125, 0.412567138671875, 0.112518310546875, 0.037506103515625, 0.112518310546875, 0.22503662109375}, 21.716033935546875},
		{"Q5_1", []int{0, 2}, []float32{0.577667236328125, 0.727691650390625, 0.39013671875, -0.097442626953125, 0.802703857421875, -0.022430419921875, 0.61517333984375, 0.16510009765625, 0.952728271484375}, 214.13101196289062},
		{"Q8_0", []int{0}, []float32{2.137847900390625, 3.938140869140625, -3.338043212890625, -0.37506103515625, 0.60009765625, 1.912811279296875, 3.938140869140625, 2.137847900390625, 0.862640380859375}, 235.83837890625},
		{"Q4_K", []int{0, 2}, []float32{19.90435791015625, 33.069000244140625, 19.90435791015625, 3.412322998046875, 20.47760009765625, 7.3504638671875, 24.6904296875, 23.490234375, 23.490234375}, 550351.6716003418},
		{"Q5_K", []int{0, 2}, []float32{30.143524169921875, 34.53173828125, 12.590667724609375, 25.72845458984375, 7.3504638671875, 34.917449951171875, 41.4931640625, 16.2890625, 12.6884765625}, 906235.9485473633},
		{"Q6_K", []int{208}, []float32{1.012664794921875, -3.037994384765625, 8.438873291015625, 4.20068359375, -4.20068359375, 11.5518798828125, 80.48809814453125, -11.101806640625, 27.7545166015625}, 194618.45852661133},
	} {
		kind, err := quant.ParseType(c.name)
		if err != nil {
			t.Fatal(err)
		}
		block, values := make([]byte, kind.Bytes()), make([]float32, kind.Values())
		for i := range block {
			block[i] = byte((7*i*i + 13*i + 3) % 251)
		}
		for i, at := range c.places {
			binary.LittleEndian.PutUint16(block[at:], half.ToF16(scales[i]))
		}
		kind.Expand(values, block)
		n, sum := len(values), 0.0
		for i, v := range values {
			sum += float64(i+1) * float64(v)
		}
		for i, at := range []int{0, 1, 2, n / 2, n/2 + 1, n/2 + 2, n - 3, n - 2, n - 1} {
			if d := math.Abs(float64(values[at] - c.some[i])); d > 1e-5 {
				t.Errorf("%s: value %d is %v, want %v", c.name, at, values[at], c.some[i])
			}
		}
		if math.Abs(sum-c.sum) > 1e-5*math.Abs(c.sum)+1e-3 {
			t.Errorf("%s: sum %v, want %v", c.name, sum, c.sum)
		}
	}
}
