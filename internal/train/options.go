// Package train is the training loop: step, evaluate, log, save, and a resume that continues bit for bit.
package train

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/optim"
	"mor/internal/strict"
)

// Options say everything that a run depends on. The keys are those of the YAML file and, with dashes, of the flags.
type Options struct {
	Out  string `json:"out"`  // the run's directory: checkpoints, metrics.jsonl, config.yaml
	Init string `json:"init"` // a model to go on from, in place of size and kind: its configuration, weights and tokenizer
	Size string `json:"size"` // preset that model starts from
	Kind string `json:"kind"`

	Data          []string `json:"data"` // files, folders, globs; none: the Go installation's source
	TextField     string   `json:"text_field"`
	MaxBytes      int64    `json:"max_bytes"`
	ValidFraction float64  `json:"valid_fraction"`
	ValidMaxBytes int64    `json:"valid_max_bytes"`
	Tokenizer     string   `json:"tokenizer"`  // a tokenizer.json; none: one is trained
	VocabSize     int      `json:"vocab_size"` // of the tokenizer that is trained
	PreTokenizer  string   `json:"pre_tokenizer"`
	DocumentMask  bool     `json:"document_mask"`

	Context    int    `json:"context"`     // tokens of a sequence
	Batch      int    `json:"batch"`       // sequences of a step
	MicroBatch int    `json:"micro_batch"` // sequences computed at once; gradients of a step are accumulated
	Steps      int    `json:"steps"`
	Seed       uint64 `json:"seed"`
	Threads    int    `json:"threads"`

	Recompute      string `json:"recompute"`       // what a step does not keep for backward: none, block, all
	Dtype          string `json:"dtype"`           // of the operands of products: fp32, bf16; auto: what the CPU is fastest with
	OptimizerDtype string `json:"optimizer_dtype"` // of AdamW's moments: fp32, bf16
	IgnoreMemory   bool   `json:"ignore_memory"`   // train even where the memory is not expected to suffice

	LR            float64 `json:"lr"`
	MinLR         float64 `json:"min_lr"`
	Schedule      string  `json:"schedule"`
	Warmup        int     `json:"warmup"` // steps; below 0: a twentieth of them
	DecayFraction float64 `json:"decay_fraction"`
	WeightDecay   float64 `json:"weight_decay"`
	Beta1         float64 `json:"beta1"`
	Beta2         float64 `json:"beta2"`
	Eps           float64 `json:"eps"`
	Clip          float64 `json:"clip"`

	LogEvery    int   `json:"log_every"`
	EvalEvery   int   `json:"eval_every"`
	EvalBytes   int64 `json:"eval_bytes"` // held-out text of an evaluation during training; the last one reads all
	SampleEvery int   `json:"sample_every"`
	SaveEvery   int   `json:"save_every"`
	Keep        int   `json:"keep"` // checkpoints kept beside the best

	Model *model.Config `json:"model"`
}

// Defaults is the run that `mor train` does without a flag: the schedule suits a run of minutes. The paper trains with lr 3e-3, beta2 0.95 and decay_fraction 0.2.
func Defaults() Options {
	return Options{
		Out: filepath.Join("runs", "default"), Size: "tiny", Kind: "expert",
		TextField: "text", ValidFraction: 0.01, ValidMaxBytes: 400_000, VocabSize: 4096, PreTokenizer: "smollm",
		Context: 256, Batch: 8, MicroBatch: 8, Steps: 2000, Seed: 1, Recompute: "none", Dtype: "auto", OptimizerDtype: "fp32",
		LR: 2.5e-3, Schedule: "wsd", Warmup: -1, DecayFraction: 0.7, WeightDecay: 0.1, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, Clip: 1,
		LogEvery: 100, EvalEvery: 500, EvalBytes: 64 << 10, SaveEvery: 500, Keep: 2,
	}
}

// Schedule of the learning rate.
func (o *Options) schedule() optim.Schedule {
	s := optim.Schedule{Kind: optim.Kind(o.Schedule), LR: o.LR, MinLR: o.MinLR, Warmup: o.Warmup, Steps: o.Steps}
	if s.Kind == optim.WSD {
		s.DecayFraction = o.DecayFraction
	}
	return s
}

func (o *Options) optimizer() optim.Config {
	return optim.Config{Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps, WeightDecay: o.WeightDecay, Clip: o.Clip,
		BF16: o.OptimizerDtype == "bf16", Seed: o.Seed}
}

// Validate names the first option that makes no sense.
func (o *Options) Validate() error {
	for _, f := range []struct {
		key   string
		value int
		least int
	}{
		{"context", o.Context, 2}, {"batch", o.Batch, 1}, {"micro_batch", o.MicroBatch, 1}, {"steps", o.Steps, 1},
		{"log_every", o.LogEvery, 1}, {"keep", o.Keep, 1}, {"threads", o.Threads, 0}, {"eval_every", o.EvalEvery, 0},
		{"sample_every", o.SampleEvery, 0}, {"save_every", o.SaveEvery, 0}, {"eval_bytes", int(o.EvalBytes), 1},
		{"max_bytes", int(o.MaxBytes), 0}, {"valid_max_bytes", int(o.ValidMaxBytes), 1},
	} {
		if f.value < f.least {
			return fmt.Errorf("%s: %d: expected at least %d", f.key, f.value, f.least)
		}
	}
	switch {
	case o.Out == "":
		return fmt.Errorf("out: empty: name the run's directory")
	case o.Batch%o.MicroBatch != 0:
		return fmt.Errorf("micro_batch: %d does not divide batch %d", o.MicroBatch, o.Batch)
	case !(o.ValidFraction > 0 && o.ValidFraction < 1):
		return fmt.Errorf("valid_fraction: %v: expected a share above 0 and below 1", o.ValidFraction)
	case o.Model == nil:
		return fmt.Errorf("model: missing: give a size and a kind, or the keys of a config.json")
	case o.Context > o.Model.MaxPositionEmbeddings:
		return fmt.Errorf("context: %d is longer than the model's max_position_embeddings %d", o.Context, o.Model.MaxPositionEmbeddings)
	}
	if _, err := model.ParseRecompute(o.Recompute); err != nil {
		return err
	}
	if _, err := model.ParseDtype(o.Dtype); err != nil && o.Dtype != "auto" {
		return fmt.Errorf("%w, or auto", err)
	}
	if o.OptimizerDtype != "fp32" && o.OptimizerDtype != "bf16" {
		return fmt.Errorf("optimizer_dtype: %q: expected fp32 or bf16", o.OptimizerDtype)
	}
	if err := o.schedule().Validate(); err != nil {
		return err
	}
	if err := o.optimizer().Validate(); err != nil {
		return err
	}
	if err := o.Model.Validate(); err != nil {
		return fmt.Errorf("model.%w", err)
	}
	return nil
}

// Load merges options: the defaults, the preset of size and kind, the keys of a YAML file (path may be empty), and what set does, which are the
// flags. set runs twice: flags decide the preset too.
func Load(path string, set func(*Options) error) (Options, error) {
	o := Defaults()
	if err := o.merge(path, set); err != nil {
		return o, err
	}
	sharing, n := model.MiddleCycle, 3
	if o.Model != nil && o.Model.Recursion != nil {
		if s := o.Model.Recursion.Sharing; s != "" {
			sharing = s
		}
		if k := o.Model.Recursion.NumRecursion; k != 0 {
			n = k
		}
	}
	preset, err := model.Preset(o.Size, o.Kind, sharing, n)
	if err != nil {
		return o, err
	}
	preset.MaxPositionEmbeddings = o.Context // beyond it nothing is trained
	o = Defaults()
	o.Model = preset
	err = o.merge(path, set)
	if o.Warmup < 0 {
		o.Warmup = o.Steps / 20
	}
	return o, err
}

// Continue merges the options of a checkpoint with a YAML file and flags, for a run that is resumed.
func Continue(saved *Options, path string, set func(*Options) error) (Options, error) {
	o := *saved
	config, err := model.ParseConfig(saved.Model.JSON())
	if err != nil {
		return o, err
	}
	o.Model, o.Data = config, slices.Clone(saved.Data) // decoding writes into what is there
	return o, o.merge(path, set)
}

// ChooseDtype turns a dtype of auto into that of the run that is resumed, if any, or else into what this CPU is fastest with.
func (o *Options) ChooseDtype(cpu *kernel.CPU, saved *State) {
	switch {
	case o.Dtype != "auto":
	case saved != nil:
		o.Dtype = saved.Options.Dtype
	case cpu.HasBF16():
		o.Dtype = model.BF16.String()
	default:
		o.Dtype = model.FP32.String()
	}
}

// merge applies the keys of a YAML file, then the flags.
func (o *Options) merge(path string, set func(*Options) error) error {
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := o.mergeYAML(text); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return set(o)
}

func (o *Options) mergeYAML(text []byte) error {
	data, err := yaml.YAMLToJSON(text)
	if err != nil {
		return fmt.Errorf("not valid YAML: %s", strings.Join(strings.Fields(err.Error()), " "))
	}
	if strings.TrimSpace(string(data)) == "null" {
		return nil
	}
	return strict.JSON(data, o)
}

// Set changes one option by its path and a YAML value: "model.router.alpha", "0.2".
func (o *Options) Set(path, value string) error {
	var v any
	if err := yaml.Unmarshal([]byte(value), &v); err != nil {
		return fmt.Errorf("%s: %q is not a YAML value", path, value)
	}
	keys := strings.Split(path, ".")
	for i := len(keys) - 1; i >= 0; i-- {
		v = map[string]any{keys[i]: v}
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s: %q: %w", path, value, err)
	}
	return strict.JSON(data, o)
}

// YAML is the merged options as a configuration file.
func (o *Options) YAML() ([]byte, error) {
	data, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(data)
}

// free are the options that a resumed run may change: what it computes does not depend on them, but for steps, which moves the end of
// the schedule.
var free = map[string]bool{"out": true, "steps": true, "threads": true, "log_every": true, "eval_every": true, "eval_bytes": true,
	"sample_every": true, "save_every": true, "keep": true, "recompute": true, "ignore_memory": true, "size": true, "kind": true}

// Conflict names the first option that a resumed run must not change and does.
func (o *Options) Conflict(saved *Options) error {
	a, b := reflect.ValueOf(*o), reflect.ValueOf(*saved)
	for i := range a.NumField() {
		key := a.Type().Field(i).Tag.Get("json")
		if free[key] || reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			continue
		}
		mine, _ := json.Marshal(a.Field(i).Interface())
		theirs, _ := json.Marshal(b.Field(i).Interface())
		return fmt.Errorf("%s is %s, but %s in the checkpoint: leave it out to resume, or start a new run with another --out", key, mine, theirs)
	}
	return nil
}
