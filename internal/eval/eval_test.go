package eval

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mor/internal/corpus"
	"mor/internal/golden"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/token"
)

// setup makes a model of a kind, a tokenizer that fits it, and a shard of text.
func setup(t *testing.T, c *model.Config, workers int) (*model.Model, *token.Tokenizer, *corpus.Shard) {
	text := strings.Repeat("func (r *Reader) Read(p []byte) (n int, err error) { return 42, io.EOF }\n", 40)
	tok, err := token.Train(t.Context(), slices.Values([][]byte{[]byte(text)}), token.TrainOptions{VocabSize: 270})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.txt"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	eot, _ := tok.EOT()
	data, err := corpus.Build(t.Context(), corpus.Options{Sources: corpus.Sources{Paths: []string{dir}}, CacheDir: filepath.Join(dir, "cache")},
		corpus.Encoder{Append: tok.AppendEncodePlain, VocabSize: tok.VocabSize(), EOT: eot, Hash: tok.Hash()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { data.Close() })
	cpu, err := kernel.Open(workers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cpu.Close)
	with := *c
	with.VocabSize = tok.VocabSize()
	m := model.New(&with, cpu)
	m.Init(3)
	return m, tok, data.Train
}

func modes(c *model.Config) []model.Mode {
	if c.Expert() {
		return []model.Mode{{Routing: model.Causal}, {Routing: model.TopK}}
	}
	return []model.Mode{{Routing: model.Causal}}
}

// TestRunDoesNotDependOnBatchAndWorkers, for every kind; and the parts add up.
func TestRunDoesNotDependOnBatchAndWorkers(t *testing.T) {
	for _, k := range golden.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			var want []*Result
			for i, c := range []struct{ batch, workers int }{{1, 1}, {3, 2}, {8, 3}} {
				m, tok, shard := setup(t, k.Config, c.workers)
				var got []*Result
				for _, mode := range modes(k.Config) {
					r, err := Run(t.Context(), m, tok, shard, Options{Context: 24, Batch: c.batch, MaxBytes: 900, Mode: mode})
					if err != nil {
						t.Fatal(err)
					}
					checkSums(t, r)
					got = append(got, r)
				}
				if i == 0 {
					want = got
				} else if !reflect.DeepEqual(got, want) {
					t.Errorf("batch %d, %d workers: %+v, want %+v", c.batch, c.workers, got, want)
				}
			}
		})
	}
}

// checkSums: shares sum to one, and the classes' means to the whole's.
func checkSums(t *testing.T, r *Result) {
	t.Helper()
	share, depth, loss := 0.0, 0.0, 0.0
	for _, c := range r.Classes {
		share, depth, loss = share+c.Share, depth+c.Share*c.MeanDepth, loss+c.Share*c.Loss
	}
	hist := 0.0
	for _, f := range r.Histogram {
		hist += f
	}
	for _, c := range []struct {
		name      string
		got, want float64
	}{{"shares of the classes", share, 1}, {"histogram", hist, 1}, {"mean depth of the classes", depth, r.MeanDepth}, {"loss of the classes", loss, r.Loss},
		{"perplexity", math.Log(r.Perplexity), r.Loss}} {
		if math.Abs(c.got-c.want) > 1e-6 {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
}

// TestRunAgainstOneWindowAtATime: losses, depths and agreement equal those of full logits in float64.
func TestRunAgainstOneWindowAtATime(t *testing.T) {
	for _, k := range golden.Kinds() {
		if !k.Config.Expert() {
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			m, tok, shard := setup(t, k.Config, 1)
			mode := model.Mode{Routing: model.TopK}
			got, err := Run(t.Context(), m, tok, shard, Options{Context: 24, Batch: 4, MaxBytes: 900, Mode: mode})
			if err != nil {
				t.Fatal(err)
			}
			w, err := corpus.NewWindows(shard, 24, 900)
			if err != nil {
				t.Fatal(err)
			}
			tape, sum := m.NewTape(), 0.0
			tokens, targets := make([]int32, 24), make([]int32, 24)
			for {
				n, _ := w.Next(tokens, targets, nil)
				if n == 0 {
					break
				}
				if err := m.Forward(tape, model.NewBatch(tokens[:n]), mode, false); err != nil {
					t.Fatal(err)
				}
				logits := make([]float32, n*m.Config.VocabSize)
				m.Logits(logits, tape, 0, n)
				for i := range n {
					sum += naiveLoss(logits[i*m.Config.VocabSize:(i+1)*m.Config.VocabSize], targets[i])
				}
			}
			if want := sum / float64(w.Tokens()); math.Abs(got.Loss-want) > 1e-5 {
				t.Errorf("loss %v, want %v", got.Loss, want)
			}
			for r, rec := range got.Recursions {
				if rec.Agreement == nil || *rec.Agreement < 0 || *rec.Agreement > 1 {
					t.Errorf("recursion %d: agreement %v", r, rec.Agreement)
				}
			}
		})
	}
}

func naiveLoss(logits []float32, target int32) float64 {
	sum := 0.0
	for _, v := range logits {
		sum += math.Exp(float64(v))
	}
	return math.Log(sum) - float64(logits[target])
}

func TestClassOf(t *testing.T) {
	for _, c := range []struct {
		text string
		want string
	}{{" ", "white space"}, {"\n\t\t", "white space"}, {"(", "punctuation"}, {" {", "punctuation"}, {"7", "digits"}, {" 42", "digits"}, {" func", "word start"},
		{"Reader", "word start"}, {"ing", "word continuation"}, {"é", "word continuation"}, {"", "special"}, {"\xff", "punctuation"}} {
		if got := classNames[classOf([]byte(c.text), false)]; got != c.want {
			t.Errorf("%q: %s, want %s", c.text, got, c.want)
		}
	}
	if classNames[classOf([]byte("<|endoftext|>"), true)] != "special" {
		t.Error("a control token is special")
	}
}
