package model_test

import (
	"math"
	"slices"
	"testing"

	"mor/internal/golden"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/quant"
)

// held is a model for inference with the weights of m in a type.
func held(t *testing.T, m *model.Model, q quant.Type) *model.Model {
	out, err := m.Held(q)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// rounded is a model with a slab, whose matrices have the values that those of another have.
func rounded(m, from *model.Model) *model.Model {
	out := model.New(m.Config, m.CPU())
	copy(out.W, m.W)
	for i := range from.Layout.Tensors {
		t := &from.Layout.Tensors[i]
		if w := from.Matrix(t); w != nil {
			to, _ := out.Layout.Tensor(t.Name)
			for row := range w.Out {
				w.Row(to.Of(out.W)[row*w.In:(row+1)*w.In], row)
			}
		}
	}
	return out
}

func logitsOf(t *testing.T, m *model.Model, b *model.Batch) []float32 {
	tape := m.NewTape()
	if err := m.Forward(tape, b, model.Mode{}, false); err != nil {
		t.Fatal(err)
	}
	out := make([]float32, b.Rows()*m.Config.VocabSize)
	m.Logits(out, tape, 0, b.Rows())
	return out
}

// TestHeldWeights: in F32 and F16 a model for inference computes the bits of a model with the same values in a slab; where activations are rounded it comes near.
func TestHeldWeights(t *testing.T) {
	eachKind(t, func(t *testing.T, c *model.Config, level kernel.Level) {
		m := newModel(t, c, level, 2)
		b := model.NewBatch(golden.Sequences(c, 19, 1, 8)...)
		for _, q := range []quant.Type{quant.F32, quant.F16} {
			run := held(t, m, q)
			if got, want := logitsOf(t, run, b), logitsOf(t, rounded(m, run), b); !slices.Equal(got, want) {
				t.Errorf("%s: logits differ by %.1e", q, maxDiff(got, want))
			}
		}
		if c.Recursion == nil && c.MoE == nil { // a router may decide otherwise
			for _, q := range []quant.Type{quant.BF16, quant.Q8_0} {
				run := held(t, m, q)
				got, want, size := logitsOf(t, run, b), logitsOf(t, rounded(m, run), b), 0.0
				for _, v := range want {
					size = max(size, math.Abs(float64(v)))
				}
				if d := maxDiff(got, want); !(d <= 0.05*size) {
					t.Errorf("%s: logits of up to %.2f differ by %.2f", q, size, d)
				}
			}
		}
	})
}

// TestInferenceDoesNotTrain: a pass that backward would follow is refused.
func TestInferenceDoesNotTrain(t *testing.T) {
	c := golden.Kinds()[0].Config
	run := held(t, newModel(t, c, kernel.Generic, 1), quant.F32)
	if err := run.Forward(run.NewTape(), model.NewBatch(golden.Sequences(c, 5)...), model.Mode{Training: true}, true); err == nil {
		t.Error("accepted")
	}
}
