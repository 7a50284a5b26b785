package model_test

import (
	"testing"

	"mor/internal/golden"
	"mor/internal/kernel"
	"mor/internal/model"
)

// TestTrainingFootprint: the tape takes what is predicted, for every kind, type of products and way to recompute.
func TestTrainingFootprint(t *testing.T) {
	for _, k := range golden.Kinds() {
		for _, name := range model.Recomputes() {
			for _, dtype := range []model.Dtype{model.FP32, model.BF16} {
				t.Run(k.Name+"/"+name+"/"+dtype.String(), func(t *testing.T) { checkFootprint(t, k.Config, name, dtype) })
			}
		}
	}
}

func checkFootprint(t *testing.T, config *model.Config, name string, dtype model.Dtype) {
	c := *config
	c.HiddenSize, c.IntermediateSize, c.NumHiddenLayers, c.MaxPositionEmbeddings = 32, 80, 3*(c.NumHiddenLayers-2)+2, 256
	if c.Recursion == nil || !c.Recursion.Sharing.Middle() {
		c.NumHiddenLayers = 3 * config.NumHiddenLayers
	}
	m := newModel(t, &c, kernel.Levels()[len(kernel.Levels())-1], 2)
	m.SetDtype(dtype)
	b := withTargets(model.NewBatch(golden.Sequences(&c, 256, 256, 256, 256)...))
	tape, mode := m.NewTape(), training
	tape.Recompute, _ = model.ParseRecompute(name)
	mode.Step = 1
	if err := m.Forward(tape, b, mode, true); err != nil {
		t.Fatal(err)
	}
	var l model.Losses
	m.Backward(tape, make([]float32, m.Layout.Size), model.Norm{Targets: targets(b), Share: 1}, &l)
	want := model.TrainingFootprint(&c, 4, 256, tape.Recompute, m.Dtype())
	got, predicted := float64(tape.Bytes()), float64(want.Tape+want.Backward)
	tolerance := 0.05
	if c.Token() { // the tokens decide
		tolerance = 0.5
	}
	if c.MoE != nil && name != "none" { // how many rows an expert gets
		tolerance = 0.15
	}
	if r := predicted / got; r < 1-tolerance || r > 1+tolerance {
		t.Errorf("predicted %.0f bytes of tape and %d of backward, measured %.0f: ratio %.3f", predicted, want.Backward, got, r)
	}
}
