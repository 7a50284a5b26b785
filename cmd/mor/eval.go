package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mor/internal/corpus"
	"mor/internal/eval"
	"mor/internal/model"
	"mor/internal/source"
	"mor/internal/token"
	"mor/internal/train"
)

// evalCommand holds the flags of `mor eval`.
type evalCommand struct {
	data       []string
	textField  string
	text       string
	stride     int
	minContext int
	tasks      []string
	task       eval.TaskOptions
	options    eval.Options
	routing    []string
	depthCurve bool
	thresholds []float64
	threads    int
	weights    string
	json       bool
	bar        progress

	flags *pflag.FlagSet
}

// evalKinds are what can be measured: the flag that chooses it, and the flags that have a meaning there alone.
var evalKinds = []struct {
	by    string
	flags []string
}{
	{"data", []string{"text-field", "max-bytes", "batch"}},
	{"text", []string{"stride", "min-context", "batch"}},
	{"tasks", []string{"data-dir", "limit", "num-fewshot", "out", "batch-tokens"}},
}

func newEval() *cobra.Command {
	e := &evalCommand{}
	cmd := &cobra.Command{
		Use:   "eval MODEL",
		Short: "Measure a model: perplexity and bits per byte of text, benchmark tasks, and what the routers do",
		Long: `Measure a model on text that it was not trained on: by default what its own training run held out, otherwise all of --data. Every token is predicted once, in
windows of --context tokens that do not overlap; the standard error is over windows.

--text measures one file with a sliding window: windows of --context tokens begin every --stride tokens, and each predicts the tokens that no window before it held
and that have --min-context tokens before them in it.

--tasks measures benchmark tasks from the JSONL files in --data-dir: ` + strings.Join(eval.TaskNames(), ", ") + `.
The requests are those of lm-evaluation-harness: mmlu scores the letters, mmlu_continuation the answers behind the bare question, hendrycksTest the answers behind the listed
choices. acc takes the choice of the largest log-probability; acc_norm divides it by the choice's characters, acc_bytes by its bytes; lambada_openai counts what greedy
decoding completes. Few-shot examples come from mmlu_dev.jsonl, lambada_openai.jsonl itself, and TASK_train.jsonl of the others. With --out each item is kept as a line of
TASK.ROUTING.jsonl, and an interrupted run goes on there.

Weights are float32 unless --weights says otherwise; those of a folder that is packed stay as they are.

Expert-choice models are measured under causal and under topk routing, tasks under causal; --routing says otherwise. Agreement is the share of a recursion's candidates for
which the causal threshold decides as top-k did. --depth-curve measures causal routing at each max_recursion and, for text or where it is given, at each of --thresholds.`,
		Example: `  mor eval runs/default
  mor eval runs/default --depth-curve
  mor eval model-folder --data 'notes/*.md' --context 512 --json
  mor eval model.gguf --text book.txt --context 2048 --stride 512
  mor eval model-folder --tasks hellaswag,piqa --data-dir benchmarks --limit 200 --out results
  mor eval runs/default --tasks arc_easy --data-dir benchmarks --depth-curve`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return e.run(cmd.Context(), cmd.OutOrStdout(), args[0]) },
	}
	f := cmd.Flags()
	e.flags = f
	f.StringVar(&e.text, "text", "", "a text file to measure with a sliding window")
	f.IntVar(&e.stride, "stride", 0, "--text: tokens between the beginnings of two windows (default: half of --context)")
	f.IntVar(&e.minContext, "min-context", 1, "--text: only tokens are predicted that have so many before them in their window")
	f.StringSliceVar(&e.tasks, "tasks", nil, "benchmark tasks, with commas")
	f.StringVar(&e.task.DataDir, "data-dir", ".", "--tasks: folder of the JSONL files")
	f.IntVar(&e.task.Limit, "limit", 0, "--tasks: the first so many items, of each MMLU subject (0: all)")
	f.IntVar(&e.task.NumFewshot, "num-fewshot", 0, "--tasks: examples before each item")
	f.StringVar(&e.task.Out, "out", "", "--tasks: folder for results and items; an interrupted run goes on there")
	f.IntVar(&e.task.BatchTokens, "batch-tokens", 4096, "--tasks: tokens computed at once, about")
	f.StringSliceVar(&e.routing, "routing", nil, "expert-choice: causal, topk or both (default: both for text, causal for tasks)")
	f.StringArrayVar(&e.data, "data", nil, "files, folders or globs of text (default: what the training run held out)")
	f.StringVar(&e.textField, "text-field", "text", trainUsage["text_field"])
	f.IntVar(&e.options.Context, "context", 0, "tokens of a window; --tasks: most tokens of a request (default: max_position_embeddings)")
	f.IntVar(&e.options.Batch, "batch", 8, "windows computed at once")
	f.Int64Var(&e.options.MaxBytes, "max-bytes", 0, "read at most so much text (0: all)")
	f.IntVar(&e.options.Mode.MaxRecursion, "max-recursion", 0, "most recursions of a token (0: all)")
	f.Float64Var(&e.options.Mode.Threshold, "router-threshold", 0, "expert-choice, causal: a token goes on where its score's probability passes this (0: 0.5)")
	f.BoolVar(&e.depthCurve, "depth-curve", false, "measure at each depth, and at each of --thresholds")
	f.Float64SliceVar(&e.thresholds, "thresholds", []float64{0.3, 0.4, 0.5, 0.6, 0.7}, "thresholds of --depth-curve")
	f.BoolVar(&e.json, "json", false, "print one JSON object")
	weightsFlag(cmd, &e.weights)
	f.Lookup("weights").DefValue, e.weights = "f32", "f32"
	threadsFlag(cmd, &e.threads)
	return cmd
}

// evalReport is what --json prints.
type evalReport struct {
	Model      string             `json:"model"`
	Results    []*eval.Result     `json:"results,omitempty"`
	Tasks      []*eval.TaskResult `json:"tasks,omitempty"`
	DepthCurve []*eval.Result     `json:"depth_curve,omitempty"`
}

func (e *evalCommand) run(ctx context.Context, out io.Writer, path string) error {
	kind, err := e.kind()
	if err != nil {
		return err
	}
	dir, err := resolveModel(path)
	if err != nil {
		return err
	}
	cpu, err := openCPU(e.threads)
	if err != nil {
		return err
	}
	defer cpu.Close()
	if err := e.chooseWeights(dir); err != nil {
		return err
	}
	opened, err := openModel(dir, cpu, e.weights)
	if err != nil {
		return err
	}
	m, tok := opened.Model, opened.Tokenizer
	if e.options.Context == 0 {
		e.options.Context = m.Config.MaxPositionEmbeddings
	}
	if e.options.Context < 1 || e.options.Context > m.Config.MaxPositionEmbeddings {
		return fmt.Errorf("--context %d: expected 1 to %d, the model's max_position_embeddings", e.options.Context, m.Config.MaxPositionEmbeddings)
	}
	modes, err := e.modes(m.Config, kind)
	if err != nil {
		return err
	}
	report := &evalReport{Model: path}
	switch kind {
	case "tasks":
		err = e.runTasks(ctx, m, tok, report, modes, dir)
	case "text":
		err = e.runText(ctx, m, tok, report, modes)
	default:
		err = e.runCorpus(ctx, m, tok, report, modes, dir)
	}
	if err != nil {
		return err
	}
	if e.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", " ")
		return enc.Encode(report)
	}
	if kind == "tasks" {
		return printTasks(out, report.Tasks)
	}
	return printEval(out, report)
}

// chooseWeights measures with float32 weights where nothing else is asked for, because others round activations; packed weights stay as they are.
func (e *evalCommand) chooseWeights(dir string) error {
	if e.flags.Changed("weights") {
		return nil
	}
	packed, err := source.Packed(dir)
	if packed {
		e.weights = "auto"
	}
	return err
}

// kind is what the flags ask to measure; flags that have no meaning there are refused.
func (e *evalCommand) kind() (string, error) {
	kind := "data"
	for _, k := range evalKinds[1:] {
		if e.flags.Changed(k.by) {
			kind = k.by
		}
	}
	for _, k := range evalKinds {
		for _, name := range append(k.flags[:len(k.flags):len(k.flags)], k.by) {
			if e.flags.Changed(name) && !e.means(kind, name) {
				return "", fmt.Errorf("--%s has no meaning without --%s%s", name, k.by, given(kind))
			}
		}
	}
	switch {
	case e.options.Batch < 1 || e.options.MaxBytes < 0:
		return "", fmt.Errorf("--batch %d, --max-bytes %d: expected at least 1 and 0", e.options.Batch, e.options.MaxBytes)
	case e.task.Limit < 0 || e.task.NumFewshot < 0 || e.task.BatchTokens < 1:
		return "", fmt.Errorf("--limit %d, --num-fewshot %d, --batch-tokens %d: expected at least 0, 0 and 1", e.task.Limit, e.task.NumFewshot, e.task.BatchTokens)
	}
	return kind, nil
}

// given names the flag that chose the kind, for an error.
func given(kind string) string {
	if kind == "data" {
		return ""
	}
	return ", and --" + kind + " is given"
}

// means tells whether a flag has a meaning for a kind.
func (e *evalCommand) means(kind, flag string) bool {
	for _, k := range evalKinds {
		if k.by == kind {
			return flag == k.by || slices.Contains(k.flags, flag)
		}
	}
	return false
}

// runCorpus measures held-out text, or all of --data.
func (e *evalCommand) runCorpus(ctx context.Context, m *model.Model, tok *token.Tokenizer, report *evalReport, modes []model.Mode, dir string) error {
	data, shard, err := e.corpus(ctx, dir, tok)
	if err != nil {
		return err
	}
	defer data.Close()
	return e.measure(report, m.Config, modes, func(mode model.Mode, progress func(done, total int64)) (*eval.Result, error) {
		o := e.options
		o.Mode, o.Progress = mode, progress
		return eval.Run(ctx, m, tok, shard, o)
	})
}

// runText measures a file.
func (e *evalCommand) runText(ctx context.Context, m *model.Model, tok *token.Tokenizer, report *evalReport, modes []model.Mode) error {
	text, err := os.ReadFile(e.text)
	if err != nil {
		return err
	}
	if e.options.Context < 2 {
		return fmt.Errorf("--context %d: a window of --text needs at least 2 tokens", e.options.Context)
	}
	if e.stride == 0 && !e.flags.Changed("stride") {
		e.stride = e.options.Context / 2
	}
	if e.stride < 1 || e.stride > e.options.Context {
		return fmt.Errorf("--stride %d: expected 1 to %d, the tokens of a window", e.stride, e.options.Context)
	}
	if e.minContext < 1 || e.minContext >= e.options.Context {
		return fmt.Errorf("--min-context %d: expected 1 to %d, fewer than the tokens of a window", e.minContext, e.options.Context-1)
	}
	return e.measure(report, m.Config, modes, func(mode model.Mode, progress func(done, total int64)) (*eval.Result, error) {
		r, err := eval.RunText(ctx, m, tok, text, eval.TextOptions{
			Context: e.options.Context, Stride: e.stride, MinContext: e.minContext, Batch: e.options.Batch, Mode: mode, Progress: progress})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.text, err)
		}
		return r, nil
	})
}

// runTasks measures tasks, each under all modes and along the depth curve.
func (e *evalCommand) runTasks(ctx context.Context, m *model.Model, tok *token.Tokenizer, report *evalReport, modes []model.Mode, dir string) error {
	if e.task.Out != "" {
		hash, err := source.Hash(dir)
		if err != nil {
			return err
		}
		e.task.Model = hash + " " + e.weights
	}
	if e.depthCurve {
		for _, mode := range e.curve(m.Config, e.flags.Changed("thresholds")) {
			if mode.MaxRecursion != m.Config.Recursions() { // which is measured already
				modes = append(modes, mode)
			}
		}
	}
	var tasks []*eval.Task
	for _, name := range e.tasks {
		t, err := eval.FindTask(name)
		if err != nil {
			return err
		}
		tasks = append(tasks, t)
	}
	for _, t := range tasks {
		for _, mode := range modes {
			o := e.task
			o.Mode, o.Context = mode, e.options.Context
			o.Progress = func(done, total int64) { e.bar.say(fmt.Sprintf("%s %s", t.Name, mode.Routing), done, total) }
			r, err := eval.RunTask(ctx, m, tok, t, o)
			e.bar.finish()
			if err != nil {
				return err
			}
			report.Tasks = append(report.Tasks, r)
		}
	}
	return nil
}

// corpus opens the text to measure on, from the cache where it was read before.
func (e *evalCommand) corpus(ctx context.Context, dir string, tok *token.Tokenizer) (*corpus.Dataset, *corpus.Shard, error) {
	quiet := &trainRun{trainCommand: &trainCommand{json: true}, out: io.Discard}
	if len(e.data) == 0 {
		state, err := train.ReadState(dir)
		if err != nil {
			return nil, nil, fmt.Errorf("%s has no training run to take held-out text from: name some with --data", dir)
		}
		_, data, err := quiet.prepare(ctx, &state.Options, dir)
		if err != nil {
			return nil, nil, err
		}
		if data.Manifest.Key != state.Corpus {
			data.Close()
			return nil, nil, fmt.Errorf("the data of the training run changed, so what it held out is not known: name text with --data")
		}
		return data, data.Valid, nil
	}
	eot, _ := tok.EOT()
	data, err := corpus.Build(ctx, corpus.Options{Sources: corpus.Sources{Paths: e.data, TextField: e.textField}, Workers: e.threads, Progress: quiet.corpusProgress, Log: quiet.logger()},
		corpus.Encoder{Append: tok.AppendEncodePlain, VocabSize: tok.VocabSize(), EOT: eot, Hash: tok.Hash()})
	quiet.bar.finish()
	if err != nil {
		return nil, nil, err
	}
	return data, data.Train, nil // nothing is held out: all of it is measured
}

// modes are the routings that make a difference, or those of --routing.
func (e *evalCommand) modes(c *model.Config, kind string) ([]model.Mode, error) {
	routings := train.Routings(c)
	if kind == "tasks" {
		routings = routings[:1]
	}
	if len(e.routing) > 0 {
		routings = nil
	}
	for _, name := range e.routing {
		switch {
		case name == model.Causal.String():
			routings = append(routings, model.Causal)
		case name == model.TopK.String() && c.Expert():
			routings = append(routings, model.TopK)
		case name == model.TopK.String():
			return nil, fmt.Errorf("--routing topk: the model has no expert-choice router; use causal")
		default:
			return nil, fmt.Errorf("--routing %s: expected causal or topk", name)
		}
	}
	var out []model.Mode
	for _, r := range routings {
		mode := e.options.Mode
		mode.Routing = r
		if r == model.TopK {
			mode.Threshold = 0
		}
		out = append(out, mode)
	}
	return out, nil
}

// curve lists the depths, and for expert-choice the thresholds, of --depth-curve.
func (e *evalCommand) curve(c *model.Config, thresholds bool) []model.Mode {
	var out []model.Mode
	if c.Recursion != nil && c.Recursion.Sharing.Cyclic() {
		for n := range c.Recursions() {
			out = append(out, model.Mode{MaxRecursion: n + 1})
		}
	}
	if thresholds && c.Expert() && !c.Router.RandRouter {
		for _, t := range e.thresholds {
			out = append(out, model.Mode{Threshold: t})
		}
	}
	return out
}

// measure runs text under each mode, and along the depth curve.
func (e *evalCommand) measure(report *evalReport, c *model.Config, modes []model.Mode, run func(model.Mode, func(done, total int64)) (*eval.Result, error)) error {
	each := func(to *[]*eval.Result, modes []model.Mode) error {
		for _, mode := range modes {
			r, err := run(mode, func(done, total int64) { e.bar.say(fmt.Sprintf("eval %s", mode.Routing), done, total) })
			e.bar.finish()
			if err != nil {
				return err
			}
			*to = append(*to, r)
		}
		return nil
	}
	if err := each(&report.Results, modes); err != nil || !e.depthCurve {
		return err
	}
	return each(&report.DepthCurve, e.curve(c, true))
}
