package train

import (
	"strings"
	"testing"

	"mor/internal/kernel"
)

// TestFits: a run that no machine has the memory for is refused in one line that says what to do; a small one is not.
func TestFits(t *testing.T) {
	large := Footprint{Weights: 1 << 55}
	if err := large.Fits("lower --context"); err == nil {
		t.Skip("this system does not tell how much memory is free")
	} else if s := err.Error(); strings.Contains(s, "\n") || !strings.Contains(s, "36028.80 GB") && !strings.Contains(s, "36028797.02 GB") || !strings.HasSuffix(s, ": lower --context") {
		t.Errorf("error %q", s)
	}
	small := Footprint{Weights: 1 << 10}
	if err := small.Fits("lower --context"); err != nil {
		t.Error(err)
	}
}

// TestFootprintShrinks: every saving saves.
func TestFootprintShrinks(t *testing.T) {
	o := testOptions(t, unchanged)
	o.Model.VocabSize = 280
	cpu, err := kernel.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	defer cpu.Close()
	last := int64(1 << 62)
	for _, s := range []struct{ recompute, dtype string }{{"none", "fp32"}, {"none", "bf16"}, {"block", "bf16"}} {
		o.Recompute, o.OptimizerDtype = s.recompute, s.dtype
		f := o.Footprint(cpu)
		if sum := f.Weights + f.Gradients + f.Moments + f.Tape + f.Backward + f.Kernels; sum >= last {
			t.Errorf("%v: %d bytes, %d before", s, sum, last)
		} else {
			last = sum
		}
	}
}
