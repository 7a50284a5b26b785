package model_test

import (
	"slices"
	"testing"

	"mor/internal/golden"
	"mor/internal/kernel"
	"mor/internal/memory"
	"mor/internal/model"
)

// TestClearGradients: steps whose gradients take over the tape's memory have the gradients of steps that do not, again and again, and when the batch changes.
func TestClearGradients(t *testing.T) {
	levels := kernel.Levels()
	for _, k := range golden.Kinds() {
		if !slices.Contains([]string{"vanilla", "expert"}, k.Name) {
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			c := *k.Config
			c.HiddenSize, c.IntermediateSize, c.NumHiddenLayers, c.MaxPositionEmbeddings = 256, 704, 8, 128
			m := newModel(t, &c, levels[len(levels)-1], 2)
			tape, grads := m.NewTape(), memory.Make[float32](m.Layout.Size)
			for step, rows := range []int{4, 4, 2, 4} {
				b := withTargets(model.NewBatch(golden.Sequences(&c, slices.Repeat([]int{128}, rows)...)...))
				want, _ := gradients(t, m, b, training)
				m.ClearGradients(tape, grads)
				if err := m.Forward(tape, b, training, true); err != nil {
					t.Fatal(err)
				}
				var l model.Losses
				m.Backward(tape, grads, model.Norm{Targets: targets(b), Share: 1}, &l)
				if !slices.Equal(grads, want) {
					t.Fatalf("step %d: gradients differ", step)
				}
			}
		})
	}
}
