package uptrain_test

import (
	"math"
	"testing"

	"mor/internal/golden"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/uptrain"
)

// TestUnroll: a recursive model and its unrolled copy give the same logits; what cannot be unrolled exactly says what is lost, or is refused.
func TestUnroll(t *testing.T) {
	cpu, err := kernel.New(kernel.Generic, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer cpu.Close()
	for _, k := range golden.Kinds() {
		c := *k.Config
		m := model.New(&c, cpu)
		m.Init(1)
		for i := range m.Layout.Tensors { // corrections with an effect
			if x := &m.Layout.Tensors[i]; x.Shape[0] > 1 && len(x.Shape) == 2 {
				for j := range x.Of(m.W) {
					x.Of(m.W)[j] += 0.01 * float32(j%7)
				}
			}
		}
		u, lost, err := uptrain.Unroll(m)
		if c.Recursion != nil && c.Recursion.Encoding {
			if err == nil {
				t.Errorf("%s: unrolled although it has a recursion encoding", k.Name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", k.Name, err)
			continue
		}
		if exact := c.Router == nil && !c.KVSharing(); exact != (len(lost) == 0) {
			t.Errorf("%s: lost %q", k.Name, lost)
		} else if !exact {
			continue
		}
		b := model.NewBatch(golden.Sequences(&c, 9, 4)...)
		want, got := logits(t, m, b), logits(t, u, b)
		for i := range want {
			if d := math.Abs(float64(got[i] - want[i])); !(d <= 1e-4) {
				t.Fatalf("%s: logit %d is %v, want %v", k.Name, i, got[i], want[i])
			}
		}
	}
}

func logits(t *testing.T, m *model.Model, b *model.Batch) []float32 {
	tape := m.NewTape()
	if err := m.Forward(tape, b, model.Mode{}, false); err != nil {
		t.Fatal(err)
	}
	out := make([]float32, b.Rows()*m.Config.VocabSize)
	m.Logits(out, tape, 0, b.Rows())
	return out
}
