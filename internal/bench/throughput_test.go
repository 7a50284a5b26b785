package bench

import (
	"math"
	"testing"

	"mor/internal/infer"
	"mor/internal/kernel"
	"mor/internal/model"
)

// TestThroughput: the routers of random weights are set to the depth that is asked for, both schedules serve the same tokens, and a load of equal memory
// takes no more of it.
func TestThroughput(t *testing.T) {
	cpu, err := kernel.Open(2)
	if err != nil {
		t.Fatal(err)
	}
	defer cpu.Close()
	l := Load{Requests: 24, Batch: 6, Prompt: 8, Mean: 48, Deviation: 6}
	first := Throughput{WeightBytes: 1 << 20, Batch: 6, TextBytes: 1 << 20}
	for _, c := range []struct {
		n    int
		mean float64
	}{{2, 1.5}, {3, 2}, {3, 1.2}, {4, 3}} {
		config, err := model.Preset("tiny", "expert", model.MiddleCycle, c.n)
		if err != nil {
			t.Fatal(err)
		}
		config.VocabSize, config.Router.ThresholdRate = 256, 0.01
		m := model.New(config, cpu)
		m.Init(1)
		if err := SetDepth(t.Context(), m, c.mean, l); err != nil {
			t.Fatal(err)
		}
		var tokens uint64
		for _, s := range []infer.Schedule{infer.SequenceWise, infer.DepthWise} {
			said := 0
			r, err := Serve(t.Context(), m, s, &l, func(done, _ int) { said = done })
			if err != nil {
				t.Fatal(err)
			}
			if tokens == 0 {
				tokens = r.Tokens
			}
			if math.Abs(r.MeanDepth-c.mean) > 0.15 || r.Tokens != tokens || said != l.Requests || r.Bound <= 1 || r.WeightBytes != m.WeightBytes() {
				t.Errorf("%d recursions, mean depth %v: %+v after %d", c.n, c.mean, r, said)
			}
			equal, ok := r.Equal(&first, l)
			if taken := r.WeightBytes + int64(equal.Batch)*r.TextBytes; !ok || taken > 7<<20 || equal.Batch < l.Requests && taken+r.TextBytes <= 7<<20 {
				t.Errorf("equal memory: batch %d of %d texts takes %d", equal.Batch, l.Requests, taken)
			}
		}
	}
	if _, ok := (&Throughput{WeightBytes: 8 << 20}).Equal(&first, l); ok {
		t.Error("weights that take more than all of the memory leave room for a batch")
	}
}
