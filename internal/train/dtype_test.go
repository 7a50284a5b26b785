package train

import (
	"math"
	"testing"

	"mor/internal/kernel"
)

// TestBF16Learns: behind 200 steps on the same text the losses of bfloat16 and float32 products are within 1 %.
func TestBF16Learns(t *testing.T) {
	if testing.Short() {
		t.Skip("trains 800 steps")
	}
	if !kernel.Has(kernel.AVX512BF16) {
		t.Skip("this CPU lacks avx512bf16")
	}
	for _, kind := range []string{"vanilla", "expert"} {
		loss := map[string]float64{}
		for _, dtype := range []string{"fp32", "bf16"} {
			tr := newTrainer(t, testOptions(t, func(o *Options) error {
				o.Kind, o.Dtype, o.Steps, o.Context, o.LR, o.EvalEvery, o.SaveEvery = kind, dtype, 200, 64, 1e-3, 0, 0
				if o.Model != nil {
					o.Model.HiddenSize, o.Model.IntermediateSize, o.Model.HeadDim = 64, 160, 32
					o.Model.MaxPositionEmbeddings = o.Context
				}
				return nil
			}))
			records := steps(t, tr, 200)
			for _, r := range records[180:] {
				loss[dtype] += r.Loss / 20
			}
			if first := records[0].Loss; loss[dtype] > first/2 {
				t.Errorf("%s %s: the loss went from %.3f to %.3f only", kind, dtype, first, loss[dtype])
			}
		}
		d := loss["bf16"]/loss["fp32"] - 1
		t.Logf("%s: losses behind 200 steps: fp32 %.4f, bf16 %.4f, %+.2f %%", kind, loss["fp32"], loss["bf16"], 100*d)
		if math.Abs(d) > 0.01 || d == 0 {
			t.Errorf("%s: losses behind 200 steps: fp32 %.4f, bf16 %.4f", kind, loss["fp32"], loss["bf16"])
		}
	}
}

// TestChooseDtype: auto is what the CPU is fastest with, or what a resumed run has.
func TestChooseDtype(t *testing.T) {
	for _, level := range kernel.Levels() {
		cpu, err := kernel.New(level, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer cpu.Close()
		best := "fp32"
		if level == kernel.AVX512BF16 {
			best = "bf16"
		}
		for _, c := range []struct {
			asked string
			saved *State
			want  string
		}{{"auto", nil, best}, {"bf16", nil, "bf16"}, {"fp32", nil, "fp32"}, {"auto", &State{Options: Options{Dtype: "fp32"}}, "fp32"},
			{"auto", &State{Options: Options{Dtype: "bf16"}}, "bf16"}, {"fp32", &State{Options: Options{Dtype: "bf16"}}, "fp32"}} {
			o := Options{Dtype: c.asked}
			if o.ChooseDtype(cpu, c.saved); o.Dtype != c.want {
				t.Errorf("%s: %s becomes %s, want %s", level, c.asked, o.Dtype, c.want)
			}
		}
	}
}
