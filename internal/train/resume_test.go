package train

import (
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"mor/internal/checkpoint"
	"mor/internal/golden"
)

// TestResumeIsExact: for every kind of model, two steps, a checkpoint and two more steps of what it is read into are four steps: weights, moments,
// state and records, bit for bit. Every
// other kind runs with bfloat16 moments and recomputation, which a resumed run may change.
func TestResumeIsExact(t *testing.T) {
	for i, k := range golden.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			o := testOptions(t, func(o *Options) error { o.SaveEvery, o.EvalEvery = 0, 0; return nil })
			c := *k.Config
			o.Model, o.DocumentMask = &c, k.Name == "vanilla"
			if i%2 == 1 {
				o.OptimizerDtype, o.Recompute = "bf16", "block"
			}
			whole := newTrainer(t, o)
			steps(t, whole, 2)
			dir, err := checkpoint.Lock(filepath.Join(t.TempDir(), "run"))
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			path, err := whole.Save(dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := steps(t, whole, 2)
			state, err := ReadState(path)
			if err != nil {
				t.Fatal(err)
			}
			state.Options.Recompute = "all" // may change
			resumed, err := Resume(path, state, state.Options, whole.data, whole.Tok, whole.Model.CPU())
			if err != nil {
				t.Fatal(err)
			}
			if got := steps(t, resumed, 2); !reflect.DeepEqual(got, want) {
				t.Errorf("records %+v, want %+v", got, want)
			}
			if !slices.Equal(resumed.Model.W, whole.Model.W) || !slices.Equal(resumed.opt.M, whole.opt.M) || !slices.Equal(resumed.opt.V, whole.opt.V) ||
				!slices.Equal(resumed.opt.M16, whole.opt.M16) || !slices.Equal(resumed.opt.V16, whole.opt.V16) {
				t.Error("weights or moments differ")
			}
			whole.Options.Recompute = "all"
			if !reflect.DeepEqual(resumed.State, whole.State) {
				t.Errorf("state %+v, want %+v", resumed.State, whole.State)
			}
		})
	}
}

// steps trains n steps and returns copies of their records, without times.
func steps(t *testing.T, tr *Trainer, n int) []Record {
	var out []Record
	for range n {
		var r Record
		if err := tr.Step(&r); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}
