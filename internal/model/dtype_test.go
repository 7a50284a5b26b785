package model_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"mor/internal/golden"
	"mor/internal/kernel"
	"mor/internal/model"
)

// eachBF16 runs a test for every kind on a CPU with units for bfloat16.
func eachBF16(t *testing.T, run func(t *testing.T, c *model.Config, b *model.Batch)) {
	if !kernel.Has(kernel.AVX512BF16) {
		t.Skip("this CPU lacks avx512bf16")
	}
	for _, k := range golden.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			b := withTargets(model.NewBatch(golden.Sequences(k.Config, 19, 33, 8)...))
			b.Docs = []int32{0, 7, 30}
			run(t, k.Config, b)
		})
	}
}

func bf16Model(t *testing.T, c *model.Config, workers int) *model.Model {
	m := newModel(t, c, kernel.AVX512BF16, workers)
	m.SetDtype(model.BF16)
	return m
}

// TestBF16IsClose: losses and gradients of bfloat16 products are near those of float32.
func TestBF16IsClose(t *testing.T) {
	eachBF16(t, func(t *testing.T, c *model.Config, b *model.Batch) {
		want, wantLoss := gradients(t, newModel(t, c, kernel.AVX512, 2), b, training)
		got, loss := gradients(t, bf16Model(t, c, 2), b, training)
		if r := math.Abs(loss.CE/wantLoss.CE - 1); !(r < 0.01) || r == 0 {
			t.Errorf("loss %v, in float32 %v", loss.CE, wantLoss.CE)
		}
		var dot, a, b2 float64
		for i, v := range got {
			dot += float64(v) * float64(want[i])
			a += float64(v) * float64(v)
			b2 += float64(want[i]) * float64(want[i])
		}
		if cos := dot / math.Sqrt(a*b2); !(cos > 0.98) {
			t.Errorf("the cosine between the gradients is %.4f", cos)
		}
	})
}

// TestBF16Bits: neither workers, nor what the tape keeps, nor earlier passes show in losses and gradients, and steady steps allocate nothing.
func TestBF16Bits(t *testing.T) {
	eachBF16(t, func(t *testing.T, c *model.Config, b *model.Batch) {
		want, wantLoss := gradients(t, bf16Model(t, c, 1), b, training)
		for _, workers := range []int{2, 128} {
			got, loss := gradients(t, bf16Model(t, c, workers), b, training)
			if !slices.Equal(got, want) || loss.Total != wantLoss.Total {
				t.Errorf("%d workers: loss %v, want %v; gradients differ by up to %.1e", workers, loss.Total, wantLoss.Total, maxDiff(got, want))
			}
		}
		m := bf16Model(t, c, 2)
		tape, grads := m.NewTape(), make([]float32, m.Layout.Size)
		var l model.Losses
		for _, tape.Recompute = range []model.Recompute{model.RecomputeNone, model.RecomputeBlock, model.RecomputeAll} {
			step := func() {
				clear(grads)
				m.WeightsChanged()
				if err := m.Forward(tape, b, training, true); err != nil {
					t.Fatal(err)
				}
				m.Backward(tape, grads, model.Norm{Targets: targets(b), Share: 1}, &l)
			}
			step()
			if a := testing.AllocsPerRun(2, step); a > 0 {
				t.Errorf("%s: %v allocations in a steady step", tape.Recompute, a)
			}
			if !slices.Equal(grads, want) || l.Total != wantLoss.Total {
				t.Errorf("%s: loss %v, want %v; gradients differ by up to %.1e", tape.Recompute, l.Total, wantLoss.Total, maxDiff(grads, want))
			}
		}
	})
}

// TestWeightsChanged: what is laid out once a step follows the weights.
func TestWeightsChanged(t *testing.T) {
	eachBF16(t, func(t *testing.T, c *model.Config, b *model.Batch) {
		m := bf16Model(t, c, 2)
		_, before := gradients(t, m, b, training)
		change := func(m *model.Model) {
			for i := range m.Layout.Trained {
				m.W[i] *= 1.25
			}
		}
		change(m)
		m.WeightsChanged()
		fresh := bf16Model(t, c, 2)
		change(fresh)
		got, loss := gradients(t, m, b, training)
		want, wantLoss := gradients(t, fresh, b, training)
		if !slices.Equal(got, want) || loss.Total != wantLoss.Total || loss.Total == before.Total {
			t.Errorf("loss %v, before %v, of a new model %v", loss.Total, before.Total, wantLoss.Total)
		}
	})
}

func TestParseDtype(t *testing.T) {
	if _, err := model.ParseDtype("bf61"); err == nil || !strings.Contains(err.Error(), `"bf16"`) {
		t.Errorf("got %v, want an error that names bf16", err)
	}
	for _, name := range model.Dtypes() {
		if d, err := model.ParseDtype(name); err != nil || d.String() != name {
			t.Errorf("%s: got %v, %v", name, d, err)
		}
	}
}
