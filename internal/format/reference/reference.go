// Package reference reads the checkpoints of the method's published PyTorch code: config.json, train.yaml and model.safetensors or pytorch_model.bin.
package reference

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mor/internal/format/safetensors"
	"mor/internal/format/torch"
	"mor/internal/kernel"
	"mor/internal/model"
)

// Options says what to do with what the model cannot share.
type Options struct {
	// KeepUntied keeps weights that differ between recursions though they should be shared, as LoRA of full rank, which gives the same result.
	// Without it they are an error. The published code of July 2025 trains such checkpoints: its routers get attention layers of their own.
	KeepUntied bool
}

// Report says what a model was made from.
type Report struct {
	Weights string   `json:"weights"` // the file
	Layers  []Layer  `json:"unique_layers"`
	Untied  []string `json:"untied"` // projections that differ between recursions and were kept
	Notes   []string `json:"notes"`
	names   *names
}

// Layer names the entries of the checkpoint that are one layer of the model.
type Layer struct {
	Unique int      `json:"unique_layer"`
	From   []string `json:"from"`
}

// weights is an open file of tensors.
type weights interface {
	Names() []string
	Info(name string) (safetensors.Tensor, bool)
	Float32s(dst []float32, name string) error
	Close() error
}

// Convert reads the checkpoint in a folder as a model on the given CPU. Weights that are stored once for each use are compared before copies are
// dropped.
func Convert(dir string, cpu *kernel.CPU, o Options) (*model.Model, *Report, error) {
	l, s, err := readSettings(dir)
	if err != nil {
		return nil, nil, err
	}
	c, err := config(l, s)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", filepath.Join(dir, "train.yaml"), err)
	}
	w, path, err := openWeights(dir)
	if err != nil {
		return nil, nil, err
	}
	defer w.Close()
	r := &Report{Weights: filepath.Base(path), Notes: []string{}, Untied: []string{}}
	r.names = newNames(c, func(prefix string) bool {
		return slices.ContainsFunc(w.Names(), func(n string) bool { return strings.HasPrefix(n, prefix) })
	})
	for u, from := range r.names.copies {
		r.Layers = append(r.Layers, Layer{u, from})
	}
	if err := r.check(c, w); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := r.head(c, w); err != nil {
		return nil, nil, err
	}
	untied, err := r.untied(c, w, o)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	m := model.New(c, cpu)
	return m, r, r.fill(m, w, untied)
}

// openWeights opens the file of weights that is there.
func openWeights(dir string) (weights, string, error) {
	path := filepath.Join(dir, "model.safetensors")
	if _, err := os.Stat(path); err == nil {
		f, err := safetensors.Open(path)
		return f, path, err
	}
	path = filepath.Join(dir, "pytorch_model.bin")
	if _, err := os.Stat(path); err == nil {
		f, err := torch.Open(path)
		return f, path, err
	}
	return nil, "", fmt.Errorf("%s: no weights: expected model.safetensors or pytorch_model.bin", dir)
}

// check compares names and shapes with what the configuration says, before any weight is read. A tensor that is nowhere used is an error.
func (r *Report) check(c *model.Config, w weights) error {
	used := map[string]bool{"lm_head.weight": true} // head looks at it
	for _, t := range model.NewLayout(c, model.NewPlan(c)).Tensors {
		for _, name := range r.names.sources(t.Name) {
			used[name] = true
			info, ok := w.Info(name)
			if !ok {
				if name == "lm_head.weight" {
					return fmt.Errorf("tensor %s is missing, but config.json says tie_word_embeddings: false", name)
				}
				return fmt.Errorf("tensor %s is missing: a %s has it", name, describe(c))
			}
			if !slices.Equal(info.Shape, t.Shape) {
				return fmt.Errorf("tensor %s has shape %v, expected %v from config.json", name, info.Shape, t.Shape)
			}
		}
	}
	for _, name := range w.Names() {
		if !used[name] && !strings.HasSuffix(name, ".rotary_emb.inv_freq") { // computed from rope_theta
			return fmt.Errorf("tensor %s is not expected: a %s has none such", name, describe(c))
		}
	}
	return nil
}

// describe names the kind of model that train.yaml asks for.
func describe(c *model.Config) string {
	switch {
	case c.Recursion == nil:
		return fmt.Sprintf("vanilla model of %d layers", c.NumHiddenLayers)
	case c.Router == nil:
		return fmt.Sprintf("recursive model of %d layers, %s, num_recursion %d", c.NumHiddenLayers, c.Recursion.Sharing, c.Recursion.NumRecursion)
	}
	return fmt.Sprintf("%s-choice model of %d layers, %s, num_recursion %d", c.Router.Type, c.NumHiddenLayers, c.Recursion.Sharing, c.Recursion.NumRecursion)
}

// head unties the output head where it is stored with values of its own: the published code loses the tie when it makes a recursive model.
func (r *Report) head(c *model.Config, w weights) error {
	info, ok := w.Info("lm_head.weight")
	if !ok || !c.TieWordEmbeddings {
		return nil
	}
	if want := []int{c.VocabSize, c.HiddenSize}; !slices.Equal(info.Shape, want) {
		return fmt.Errorf("%s: tensor %s has shape %v, expected %v from config.json", r.Weights, info.Name, info.Shape, want)
	}
	diff, err := largest(w, "lm_head.weight", "model.embed_tokens.weight")
	if err == nil && diff != 0 {
		c.TieWordEmbeddings = false
		r.Notes = append(r.Notes, fmt.Sprintf("the head is untied: config.json says tied, but lm_head.weight differs from the embedding by up to %.2g", diff))
	}
	return err
}

// largest is the largest difference between two tensors of the same shape; +Inf for one that is not a number on one side only.
func largest(w weights, a, b string) (float64, error) {
	info, _ := w.Info(a)
	x, y := make([]float32, info.Len()), make([]float32, info.Len())
	if err := w.Float32s(x, a); err != nil {
		return 0, err
	}
	if err := w.Float32s(y, b); err != nil {
		return 0, err
	}
	worst := 0.0
	for i, v := range x {
		if math.Float32bits(v) == math.Float32bits(y[i]) {
			continue
		}
		d := math.Abs(float64(v) - float64(y[i]))
		if math.IsNaN(d) {
			d = math.Inf(1)
		}
		worst = max(worst, d)
	}
	return worst, nil
}

// fill reads the weights of m, and makes the LoRA of what is untied.
func (r *Report) fill(m *model.Model, w weights, untied []difference) error {
	for i := range m.Layout.Tensors {
		t := &m.Layout.Tensors[i]
		if from := r.names.sources(t.Name); from != nil {
			if err := w.Float32s(t.Of(m.W), from[0]); err != nil {
				return err
			}
		}
	}
	for _, d := range untied {
		if err := d.correct(m, w); err != nil {
			return err
		}
	}
	return nil
}
