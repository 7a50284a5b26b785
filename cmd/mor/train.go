package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mor/internal/checkpoint"
	"mor/internal/corpus"
	"mor/internal/format/folder"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/source"
	"mor/internal/token"
	"mor/internal/train"
)

// trainCommand holds the flags of `mor train`.
type trainCommand struct {
	options train.Options // where the flags are parsed to
	config  string
	model   string
	sharing string
	n       int
	set     []string
	resume  bool
	json    bool
	color   string
	prompt  string
}

// trainUsage describes the option of each key that is a flag.
var trainUsage = map[string]string{
	"out": "run directory: checkpoints, metrics.jsonl, config.yaml", "size": "preset of the model: " + strings.Join(model.Sizes(), ", "),
	"init": "model to go on from, in place of --size and --kind: a folder (mor convert makes them; Hugging Face), a GGUF file, a run",
	"kind": "kind of model: " + strings.Join(model.Kinds(), ", "),
	"data": "files, folders or globs of text, code, .jsonl; also .gz, .zst, .tar.gz; .parquet, .arrow, dataset folders (default: the Go installation's source)", "text_field": "field of a .jsonl line, or column of a .parquet or .arrow file, that holds the text",
	"max_bytes": "read at most so much text (0: all)", "valid_fraction": "share of the documents held out", "valid_max_bytes": "most held-out text kept",
	"tokenizer": "a tokenizer.json, a folder or run that has one, or a .gguf file (default: one is trained on the data)", "vocab_size": "tokens of the tokenizer that is trained",
	"pre_tokenizer": "what it splits text with before it merges: " + strings.Join(token.PreTokenizers(), ", "),
	"document_mask": "attention stays inside its document", "context": "tokens of a sequence", "batch": "sequences of a step",
	"micro_batch": "sequences computed at once", "steps": "steps to train", "seed": "seed of weights and data order", "threads": "compute threads (0: one for each CPU)",
	"recompute":       "none, block or all: keep less of a step for backward and compute it again, for less memory and more time",
	"dtype":           "type of the operands of products: fp32, bf16, or auto: bf16 where the CPU has units for it; elsewhere bf16 computes with fp32",
	"optimizer_dtype": "type of AdamW's moments: fp32, or bf16 with stochastic rounding", "ignore_memory": "train even where the memory is not expected to suffice",
	"lr": "highest learning rate", "min_lr": "last learning rate", "schedule": "wsd, cosine or constant", "warmup": "steps of linear warm-up (below 0: a twentieth of the steps)",
	"decay_fraction": "wsd: share of the steps that decay", "weight_decay": "AdamW's weight decay, on matrices", "beta1": "AdamW's first decay", "beta2": "AdamW's second decay",
	"eps": "AdamW's epsilon", "clip": "largest gradient norm (0: no clipping)", "log_every": "print every so many steps", "eval_every": "evaluate every so many steps (0: only at the end)",
	"eval_bytes": "held-out text of an evaluation before the last", "sample_every": "write a sample every so many steps (0: only at the end)",
	"save_every": "save every so many steps (0: only at the end)", "keep": "checkpoints kept beside the best",
}

func newTrain() *cobra.Command {
	t := &trainCommand{options: train.Defaults()}
	cmd := &cobra.Command{
		Use:   "train",
		Short: "Train a model; without a flag, a small Mixture-of-Recursions model on the Go source that every Go installation has",
		Long: `Train a model on text. Without a flag it reads the Go source under GOROOT/src, trains a byte-level BPE tokenizer and a small
expert-choice Mixture-of-Recursions model on it, and writes checkpoints to runs/default.

Options come from the defaults, then a YAML file (--config), then flags; the result is saved as config.yaml in the run directory. Every key
of the file can also be set by --set, those of the model under "model.".`,
		Example: `  mor train
  mor train --data book.txt --data 'notes/*.md' --steps 1000 --out runs/books
  mor train --kind vanilla --out runs/vanilla            # the same, without recursion
  mor train --sharing cycle --num-recursion 2 --set model.router.gate=tanh
  mor train --config run.yaml --lr 1e-3
  mor train --init recursive-folder --out runs/uptrained # go on from what mor convert made
  mor train --resume                                     # continue runs/default`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.run(cmd) },
	}
	f := cmd.Flags()
	t.optionFlags(f)
	f.StringVar(&t.config, "config", "", "YAML file of options")
	f.StringVar(&t.model, "model", "", "a config.json, in place of --size and --kind")
	f.StringVar(&t.sharing, "sharing", "", "cycle, sequence, middle_cycle or middle_sequence (default middle_cycle)")
	f.IntVar(&t.n, "num-recursion", 0, "recursions N (default 3)")
	f.StringArrayVar(&t.set, "set", nil, "any option by its path, e.g. model.router.alpha=0.2")
	f.BoolVar(&t.resume, "resume", false, "continue the run in --out from its latest checkpoint")
	f.BoolVar(&t.json, "json", false, "print records as JSON Lines")
	f.StringVar(&t.color, "color", "auto", "colour the sample by depth: auto, always, never")
	f.StringVar(&t.prompt, "prompt", "", "prompt of the samples (default: a new text begins; for the Go source, some code)")
	return cmd
}

// optionFlags adds a flag for each key of the options that trainUsage describes.
func (t *trainCommand) optionFlags(f *pflag.FlagSet) {
	v := reflect.ValueOf(&t.options).Elem()
	for i := range v.NumField() {
		key := v.Type().Field(i).Tag.Get("json")
		usage, ok := trainUsage[key]
		if !ok {
			continue
		}
		name := strings.ReplaceAll(key, "_", "-")
		switch p := v.Field(i).Addr().Interface().(type) {
		case *string:
			f.StringVar(p, name, *p, usage)
		case *[]string:
			f.StringArrayVar(p, name, nil, usage)
		case *int:
			f.IntVar(p, name, *p, usage)
		case *int64:
			f.Int64Var(p, name, *p, usage)
		case *uint64:
			f.Uint64Var(p, name, *p, usage)
		case *float64:
			f.Float64Var(p, name, *p, usage)
		case *bool:
			f.BoolVar(p, name, *p, usage)
		}
	}
}

// apply puts the flags that were given into o.
func (t *trainCommand) apply(flags *pflag.FlagSet, o *train.Options) error {
	if flags.Changed("init") {
		o.Init = t.options.Init
	}
	if o.Init != "" && !t.resume {
		var err error
		if o.Init, err = resolveModel(o.Init); err != nil {
			return fmt.Errorf("init: %w", err)
		}
	}
	if o.Model != nil {
		c, err := t.given(o)
		if err != nil {
			return err
		}
		if c != nil {
			o.Model = c
		}
	}
	from, to := reflect.ValueOf(t.options), reflect.ValueOf(o).Elem()
	for i := range from.NumField() {
		name := strings.ReplaceAll(from.Type().Field(i).Tag.Get("json"), "_", "-")
		if flag := flags.Lookup(name); flag != nil && flag.Changed && name != "model" {
			to.Field(i).Set(from.Field(i))
		}
	}
	if flags.Changed("batch") && !flags.Changed("micro-batch") {
		o.MicroBatch = min(o.MicroBatch, o.Batch)
	}
	if t.sharing != "" || t.n != 0 {
		if err := t.applyRecursion(o); err != nil {
			return err
		}
	}
	for _, s := range t.set {
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("--set %s: expected key=value, e.g. model.router.alpha=0.2", s)
		}
		if err := o.Set(key, value); err != nil {
			return fmt.Errorf("--set %s: %w", s, err)
		}
	}
	return nil
}

// given is the configuration that --init or --model names, nil for none.
func (t *trainCommand) given(o *train.Options) (*model.Config, error) {
	switch {
	case o.Init != "" && !t.resume:
		return source.Config(o.Init)
	case t.model != "":
		return folder.ReadConfig(t.model)
	}
	return nil, nil
}

// applyRecursion puts --sharing and --num-recursion where the preset is made from.
func (t *trainCommand) applyRecursion(o *train.Options) error {
	if o.Kind == "vanilla" || o.Model != nil && o.Model.Recursion == nil && t.model != "" {
		return fmt.Errorf("--sharing, --num-recursion: a vanilla model has no recursion: leave them out, or use another --kind")
	}
	if o.Model == nil {
		o.Model = &model.Config{}
	}
	if o.Model.Recursion == nil {
		o.Model.Recursion = &model.Recursion{}
	}
	if t.sharing != "" {
		o.Model.Recursion.Sharing = model.Sharing(t.sharing)
	}
	if t.n != 0 {
		o.Model.Recursion.NumRecursion = t.n
	}
	return nil
}

func (t *trainCommand) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	if _, err := useColor(t.color, cmd.OutOrStdout()); err != nil {
		return err
	}
	r := &trainRun{trainCommand: t, out: cmd.OutOrStdout()}
	o, path, err := t.merged(cmd.Flags(), r)
	if err != nil {
		return err
	}
	if !t.resume {
		if info, err := checkpoint.Latest(o.Out); err == nil {
			return fmt.Errorf("%s holds a run that reached step %d: continue it with --resume, or start another one with --out DIR", o.Out, info.Step)
		}
	}
	dir, err := checkpoint.Lock(o.Out)
	if err != nil {
		return err
	}
	defer dir.Close()
	cpu, err := openCPU(o.Threads)
	if err != nil {
		return err
	}
	defer cpu.Close()
	o.ChooseDtype(cpu, r.state)
	if r.tok, r.data, err = r.prepare(ctx, &o, path); err != nil {
		return err
	}
	defer r.data.Close()
	if err := o.Validate(); err != nil {
		return err
	}
	debug.FreeOSMemory() // what the data took
	r.footprint = o.Footprint(cpu)
	if err := r.footprint.Fits("lower --micro-batch or --context, keep less with --recompute all or --optimizer-dtype bf16, or insist with --ignore-memory"); err != nil && !o.IgnoreMemory {
		return err
	}
	if r.trainer, err = r.start(&o, path, cpu); err != nil {
		return err
	}
	debug.FreeOSMemory() // what --init took
	return r.train(ctx, dir)
}

// merged returns the options of the run and, when it is resumed, the checkpoint that it continues.
func (t *trainCommand) merged(flags *pflag.FlagSet, r *trainRun) (train.Options, string, error) {
	apply := func(o *train.Options) error { return t.apply(flags, o) }
	o, err := train.Load(t.config, apply)
	if err != nil || !t.resume {
		return o, "", err
	}
	info, err := checkpoint.Latest(o.Out)
	if errors.Is(err, checkpoint.ErrNone) || errors.Is(err, os.ErrNotExist) {
		return o, "", fmt.Errorf("--resume: %s holds no checkpoint: start the run without --resume", o.Out)
	}
	if err != nil {
		return o, "", err
	}
	if r.state, err = train.ReadState(info.Path); err != nil {
		return o, "", err
	}
	out := o.Out
	o, err = train.Continue(&r.state.Options, t.config, apply)
	o.Out = out
	return o, info.Path, err
}

// prepare reads the tokenizer and the data, or trains and builds them.
func (r *trainRun) prepare(ctx context.Context, o *train.Options, resumed string) (*token.Tokenizer, *corpus.Dataset, error) {
	opt, err := r.corpusOptions(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	tok, err := r.tokenizer(ctx, o, opt, resumed)
	if err != nil {
		return nil, nil, err
	}
	eot, ok := tok.EOT()
	if !ok {
		return nil, nil, fmt.Errorf("%s: the tokenizer has no end-of-text token, which separates documents: add <|endoftext|> to its added_tokens", o.Tokenizer)
	}
	if o.Model.VocabSize == 0 {
		o.Model.VocabSize = tok.VocabSize()
	}
	if o.Model.VocabSize < tok.VocabSize() {
		return nil, nil, fmt.Errorf("model.vocab_size: %d is smaller than the tokenizer's %d", o.Model.VocabSize, tok.VocabSize())
	}
	data, err := corpus.Build(ctx, opt, corpus.Encoder{Append: tok.AppendEncodePlain, VocabSize: tok.VocabSize(), EOT: eot, Hash: tok.Hash()})
	if err != nil {
		return nil, nil, err
	}
	r.bar.finish()
	if data.Valid == nil {
		data.Close()
		return nil, nil, fmt.Errorf("data: too little to hold any text out for evaluation: give more, or raise valid_fraction")
	}
	r.printData(data)
	return tok, data, nil
}

func (r *trainRun) corpusOptions(ctx context.Context, o *train.Options) (corpus.Options, error) {
	src := corpus.Sources{Paths: o.Data}
	if len(o.Data) == 0 {
		var err error
		if src, err = corpus.GoSource(ctx); err != nil {
			return corpus.Options{}, err
		}
	}
	r.printf("data       %s\n", strings.Join(src.Paths, " "))
	src.TextField, src.MaxBytes = o.TextField, o.MaxBytes
	return corpus.Options{
		Sources: src, ValidFraction: o.ValidFraction, ValidMaxBytes: o.ValidMaxBytes, Workers: o.Threads,
		Progress: r.corpusProgress, Log: r.logger(),
	}, nil
}

// tokenizerSample is how much text a tokenizer is trained on.
const tokenizerSample = 16 << 20

func (r *trainRun) tokenizer(ctx context.Context, o *train.Options, opt corpus.Options, resumed string) (*token.Tokenizer, error) {
	switch {
	case resumed != "":
		return token.Load(filepath.Join(resumed, folder.TokenizerFile))
	case o.Tokenizer != "":
		return openTokenizer(o.Tokenizer)
	case o.Init != "":
		if tok, err := source.Tokenizer(o.Init); tok != nil || err != nil {
			return tok, err
		}
		return nil, fmt.Errorf("%s has no %s: name one with --tokenizer", o.Init, folder.TokenizerFile)
	}
	sample, err := corpus.Sample(ctx, opt, tokenizerSample)
	if err != nil {
		return nil, err
	}
	r.bar.finish()
	tok, err := token.Train(ctx, slices.Values(sample), token.TrainOptions{VocabSize: o.VocabSize, Pre: o.PreTokenizer, Workers: o.Threads})
	if err != nil {
		return nil, err
	}
	n := 0
	for _, s := range sample {
		n += len(s)
	}
	r.printf("tokenizer  byte-level BPE, %s tokens, trained on %s of the training text\n", group(tok.VocabSize()), formatSize(int64(n)))
	return tok, nil
}

func (r *trainRun) start(o *train.Options, resumed string, cpu *kernel.CPU) (*train.Trainer, error) {
	if resumed == "" {
		return train.New(*o, r.data, r.tok, cpu)
	}
	if r.state.Step > o.Steps {
		return nil, fmt.Errorf("--steps %d: the run has reached step %d already", o.Steps, r.state.Step)
	}
	return train.Resume(resumed, r.state, *o, r.data, r.tok, cpu)
}
