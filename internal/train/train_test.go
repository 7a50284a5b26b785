package train

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mor/internal/checkpoint"
	"mor/internal/corpus"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/token"
)

// text is n bytes that are not all alike.
func text(n int) []byte {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of %d: %x\n", i, i*i%97, i*7919%4096)
	}
	return []byte(b.String()[:n])
}

func testOptions(t *testing.T, set func(*Options) error) Options {
	o, err := Load("", func(o *Options) error {
		o.Out = filepath.Join(t.TempDir(), "run")
		o.Context, o.Batch, o.MicroBatch, o.Steps, o.VocabSize, o.ValidMaxBytes, o.EvalBytes = 16, 4, 2, 6, 280, 2000, 500
		o.EvalEvery, o.SaveEvery = 3, 3
		if o.Model != nil {
			o.Model.HiddenSize, o.Model.IntermediateSize, o.Model.NumAttentionHeads, o.Model.NumKeyValueHeads, o.Model.HeadDim = 16, 24, 2, 1, 8
		}
		return set(o)
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func unchanged(*Options) error { return nil }

// newTrainer makes a tokenizer and a corpus of a text, and a trainer on them.
func newTrainer(t *testing.T, o Options) *Trainer { return newTrainerOf(t, o, 2) }

// newTrainerOf is newTrainer with so many workers.
func newTrainerOf(t *testing.T, o Options, workers int) *Trainer {
	dir := t.TempDir()
	path := filepath.Join(dir, "text.txt")
	if err := os.WriteFile(path, text(30000), 0o666); err != nil {
		t.Fatal(err)
	}
	tok, err := token.Train(t.Context(), slices.Values([][]byte{text(30000)}), token.TrainOptions{VocabSize: o.VocabSize})
	if err != nil {
		t.Fatal(err)
	}
	eot, _ := tok.EOT()
	data, err := corpus.Build(t.Context(), corpus.Options{Sources: corpus.Sources{Paths: []string{path}}, ValidFraction: o.ValidFraction, ValidMaxBytes: o.ValidMaxBytes,
		CacheDir: filepath.Join(dir, "cache")}, corpus.Encoder{Append: tok.AppendEncodePlain, VocabSize: tok.VocabSize(), EOT: eot, Hash: tok.Hash()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { data.Close() })
	cpu, err := kernel.Open(workers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cpu.Close)
	o.Model.VocabSize = tok.VocabSize()
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	tr, err := New(o, data, tok, cpu)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// TestWorkersDoNotMatter: steps leave the same weights and moments, bit for bit, and the same records with 1, 3 and 128 workers, in both precisions.
func TestWorkersDoNotMatter(t *testing.T) {
	for _, kind := range []string{"vanilla", "expert", "token"} {
		for _, dtype := range model.Dtypes() {
			o := testOptions(t, func(o *Options) error {
				o.Kind, o.Dtype, o.OptimizerDtype, o.EvalEvery, o.SaveEvery = kind, dtype, dtype, 0, 0
				return nil
			})
			c := *o.Model
			var first *Trainer
			var want []Record
			for _, workers := range []int{1, 3, 128} {
				own := c
				o.Model = &own
				tr := newTrainerOf(t, o, workers)
				got := steps(t, tr, 3)
				if first == nil {
					first, want = tr, got
				}
				if !reflect.DeepEqual(got, want) || !slices.Equal(tr.Model.W, first.Model.W) || !slices.Equal(tr.opt.M, first.opt.M) || !slices.Equal(tr.opt.V16, first.opt.V16) {
					t.Errorf("%s %s: %d workers: records %+v, weights or moments differ from those of one: %+v", kind, dtype, workers, got, want)
				}
			}
		}
	}
}

// TestDivergenceStops: a loss or gradient that is not finite stops the run, names step, tensor and last checkpoint, and changes no weight.
func TestDivergenceStops(t *testing.T) {
	for _, c := range []struct{ tensor, want string }{
		{"model.norm.weight", "at step 4: the loss is NaN"},
		{"model.routers.1.weight", "at step 4: "},
	} {
		o := testOptions(t, unchanged)
		tr := newTrainer(t, o)
		dir, err := checkpoint.Lock(o.Out)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		_, err = tr.Run(t.Context(), dir, Events{Save: func(string) {
			tensor, _ := tr.Model.Layout.Tensor(c.tensor)
			tensor.Of(tr.Model.W)[0] = float32(math.NaN())
		}})
		if !errors.Is(err, ErrDiverged) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "step-000003") {
			t.Errorf("%s: got %v, want %q and the checkpoint of step 3", c.tensor, err, c.want)
		}
		if tr.State.Step != 3 {
			t.Errorf("%s: the trainer stands behind step %d", c.tensor, tr.State.Step)
		}
	}
}

// TestGradientOverflowNamesTheTensor: finite losses can have infinite gradients.
func TestGradientOverflowNamesTheTensor(t *testing.T) {
	tr := newTrainer(t, testOptions(t, unchanged))
	norm, _ := tr.Model.Layout.Tensor("model.layers.0.input_layernorm.weight")
	down, _ := tr.Model.Layout.Tensor("model.layers.0.mlp.up_proj.weight")
	for i := range norm.Of(tr.Model.W) {
		norm.Of(tr.Model.W)[i] = 1e30
	}
	clear(down.Of(tr.Model.W))
	before := slices.Clone(tr.Model.W)
	var r Record
	err := tr.Step(&r)
	if err != nil && !strings.Contains(err.Error(), "is not finite") && !strings.Contains(err.Error(), "the loss is") {
		t.Errorf("got %v", err)
	}
	if err != nil && !slices.Equal(before, tr.Model.W) {
		t.Error("weights changed in a step that failed")
	}
}

func TestLoadMerges(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run.yaml")
	if err := os.WriteFile(path, []byte("lr: 0.001\nsize: small\nkind: token\nmodel:\n  recursion: {num_recursion: 2}\n  router: {z_coef: 0.5}\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	o, err := Load(path, func(o *Options) error { o.Batch = 7; return o.Set("model.router.gate", "sigmoid") })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][3]any{
		{"lr from the file", o.LR, 0.001}, {"batch from the flag", o.Batch, 7}, {"steps by default", o.Steps, Defaults().Steps},
		{"warmup derived", o.Warmup, o.Steps / 20}, {"kind", o.Model.Router.Type, "token"}, {"recursions", o.Model.Recursion.NumRecursion, 2},
		{"layers raised", o.Model.NumHiddenLayers, 8}, {"z_coef", o.Model.Router.ZCoef, 0.5}, {"gate by path", o.Model.Router.Gate, "sigmoid"}, {"kept from the preset", o.Model.Router.BalancingCoef, 0.1},
		{"context", o.Model.MaxPositionEmbeddings, o.Context},
	} {
		if c[1] != c[2] {
			t.Errorf("%v: got %v, want %v", c[0], c[1], c[2])
		}
	}
}

func TestConflict(t *testing.T) {
	saved := testOptions(t, unchanged)
	saved.Model.VocabSize = 300
	for _, c := range []struct {
		change func(*Options) error
		want   string
	}{
		{unchanged, ""},
		{func(o *Options) error { o.Steps, o.Threads, o.EvalEvery = 99, 3, 1; return nil }, ""},
		{func(o *Options) error { o.LR = 1; return nil }, "lr is 1, but 0.0025 in the checkpoint"},
		{func(o *Options) error { return o.Set("model.router.alpha", "0.5") }, "model is"},
		{func(o *Options) error { o.Data = []string{"x"}; return nil }, `data is ["x"], but null`},
	} {
		o, err := Continue(&saved, "", c.change)
		if err != nil {
			t.Fatal(err)
		}
		err = o.Conflict(&saved)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// TestStepDoesNotAllocate: a training step, data included, needs no new memory.
func TestStepDoesNotAllocate(t *testing.T) {
	tr := newTrainer(t, testOptions(t, func(o *Options) error { o.Steps = 1000; return nil }))
	var r Record
	step := func() {
		if err := tr.Step(&r); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		step()
	}
	if a := testing.AllocsPerRun(10, step); a > 2 { // the z-scores of the record
		t.Errorf("%v allocations", a)
	}
}

// TestEvaluationDoesNotDependOnBatches: each token is predicted once, in the same windows, however many are computed at once.
func TestEvaluationDoesNotDependOnBatches(t *testing.T) {
	var want Evaluation
	for i, micro := range []int{1, 2, 4} {
		tr := newTrainer(t, testOptions(t, func(o *Options) error { o.MicroBatch = micro; return nil }))
		got, err := tr.Evaluate(t.Context(), 0, model.Causal)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			want = got
		}
		if got.Tokens != want.Tokens || math.Abs(got.Loss-want.Loss) > 1e-9 || got.MeanDepth != want.MeanDepth || got.Bytes != want.Bytes {
			t.Errorf("micro_batch %d: %+v, want %+v", micro, got, want)
		}
	}
}

// TestFinalEvaluation: the last measurement on all held-out text counts, of the routing that comes first.
func TestFinalEvaluation(t *testing.T) {
	dir := t.TempDir()
	if e, ok := FinalEvaluation(dir); ok {
		t.Errorf("found %+v where there is no record", e)
	}
	m, err := OpenMetrics(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, r := range []any{
		Record{Type: "step", Step: 10},
		Evaluation{Type: "eval", Step: 10, Routing: "causal", Loss: 5, Final: true},
		Evaluation{Type: "eval", Step: 20, Routing: "causal", Loss: 4, Final: true},
		Evaluation{Type: "eval", Step: 20, Routing: "topk", Loss: 3, Final: true},
		Evaluation{Type: "eval", Step: 30, Routing: "causal", Loss: 2},
	} {
		if err := m.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if e, ok := FinalEvaluation(dir); !ok || e.Step != 20 || e.Routing != "causal" || e.Loss != 4 {
		t.Errorf("got %+v, %v, expected the causal one of step 20", e, ok)
	}
}
