package model_test

import (
	"slices"
	"strings"
	"testing"

	"mor/internal/golden"
	"mor/internal/kernel"
	"mor/internal/model"
)

// TestRecomputeDoesNotMatter: losses and gradients are the same bits whatever the tape keeps, on a tape that has seen other passes, and steady
// steps allocate nothing.
func TestRecomputeDoesNotMatter(t *testing.T) {
	kinds := golden.Kinds()
	deep := *kinds[0].Config
	deep.NumHiddenLayers = 7
	kinds = append(kinds, golden.Kind{Name: "deep", Config: &deep})
	for _, k := range kinds {
		t.Run(k.Name, func(t *testing.T) {
			m := newModel(t, k.Config, kernel.Levels()[len(kernel.Levels())-1], 2)
			b := withTargets(model.NewBatch(golden.Sequences(k.Config, 19, 33, 8)...))
			b.Docs = []int32{0, 7, 30}
			want, wantLoss := gradients(t, m, b, training)
			tape, grads := m.NewTape(), make([]float32, m.Layout.Size)
			for _, name := range model.Recomputes() {
				var err error
				if tape.Recompute, err = model.ParseRecompute(name); err != nil {
					t.Fatal(err)
				}
				var l model.Losses
				step := func() {
					clear(grads)
					if err := m.Forward(tape, b, training, true); err != nil {
						t.Fatal(err)
					}
					m.Backward(tape, grads, model.Norm{Targets: targets(b), Share: 1}, &l)
				}
				step()
				if a := testing.AllocsPerRun(2, step); a > 0 {
					t.Errorf("%s: %v allocations in a steady step", name, a)
				}
				if !slices.Equal(grads, want) || l.Total != wantLoss.Total || l.Aux != wantLoss.Aux {
					t.Errorf("%s: loss %v, want %v; gradients differ by up to %.1e", name, l.Total, wantLoss.Total, maxDiff(grads, want))
				}
			}
		})
	}
}

func TestParseRecompute(t *testing.T) {
	if _, err := model.ParseRecompute("blok"); err == nil || !strings.Contains(err.Error(), `"block"`) {
		t.Errorf("got %v, want an error that names block", err)
	}
}
