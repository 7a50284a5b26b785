package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"mor/internal/corpus"
	"mor/internal/eval"
	"mor/internal/model"
	"mor/internal/token"
	"mor/internal/train"
)

// evalCommand holds the flags of `mor eval`.
type evalCommand struct {
	data       []string
	textField  string
	options    eval.Options
	depthCurve bool
	thresholds []float64
	threads    int
	weights    string
	json       bool
	bar        progress
}

func newEval() *cobra.Command {
	e := &evalCommand{}
	cmd := &cobra.Command{
		Use:   "eval MODEL",
		Short: "Measure bits per byte on held-out text under each routing, and what the routers do",
		Long: `Measure a model on text that it was not trained on: by default what its own training run held out, otherwise all of --data. Every token is predicted once, in
windows of --context tokens that do not overlap; the standard error is over windows.

Expert-choice models are measured under causal and under topk routing. Agreement is the share of a recursion's candidates for which the causal threshold decides as top-k
did. --depth-curve measures causal routing at each max_recursion and at each of --thresholds.`,
		Example: `  mor eval runs/default
  mor eval runs/default --depth-curve
  mor eval model-folder --data 'notes/*.md' --context 512 --json
  mor eval runs/default --max-recursion 1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return e.run(cmd.Context(), cmd.OutOrStdout(), args[0]) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&e.data, "data", nil, "files, folders or globs of text (default: what the training run held out)")
	f.StringVar(&e.textField, "text-field", "text", trainUsage["text_field"])
	f.IntVar(&e.options.Context, "context", 0, "tokens of a window (default: max_position_embeddings)")
	f.IntVar(&e.options.Batch, "batch", 8, "windows computed at once")
	f.Int64Var(&e.options.MaxBytes, "max-bytes", 0, "read at most so much text (0: all)")
	f.IntVar(&e.options.Mode.MaxRecursion, "max-recursion", 0, "most recursions of a token (0: all)")
	f.Float64Var(&e.options.Mode.Threshold, "router-threshold", 0, "expert-choice, causal: a token goes on where its score's probability passes this (0: 0.5)")
	f.BoolVar(&e.depthCurve, "depth-curve", false, "measure at each depth, and at each of --thresholds")
	f.Float64SliceVar(&e.thresholds, "thresholds", []float64{0.3, 0.4, 0.5, 0.6, 0.7}, "thresholds of --depth-curve")
	f.BoolVar(&e.json, "json", false, "print one JSON object")
	weightsFlag(cmd, &e.weights)
	threadsFlag(cmd, &e.threads)
	return cmd
}

// evalReport is what --json prints.
type evalReport struct {
	Model      string         `json:"model"`
	Results    []*eval.Result `json:"results"`
	DepthCurve []*eval.Result `json:"depth_curve,omitempty"`
}

func (e *evalCommand) run(ctx context.Context, out io.Writer, path string) error {
	if e.options.Batch < 1 || e.options.MaxBytes < 0 {
		return fmt.Errorf("--batch %d, --max-bytes %d: expected at least 1 and 0", e.options.Batch, e.options.MaxBytes)
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
	data, shard, err := e.text(ctx, dir, tok)
	if err != nil {
		return err
	}
	defer data.Close()
	report := evalReport{Model: path}
	if report.Results, err = e.measure(ctx, m, tok, shard, e.modes(m.Config)); err != nil {
		return err
	}
	if e.depthCurve {
		if report.DepthCurve, err = e.measure(ctx, m, tok, shard, e.curve(m.Config)); err != nil {
			return err
		}
	}
	if e.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", " ")
		return enc.Encode(report)
	}
	return printEval(out, &report)
}

// text opens the text to measure on, from the cache where it was read before.
func (e *evalCommand) text(ctx context.Context, dir string, tok *token.Tokenizer) (*corpus.Dataset, *corpus.Shard, error) {
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

// modes are the routings that make a difference.
func (e *evalCommand) modes(c *model.Config) []model.Mode {
	var out []model.Mode
	for _, r := range train.Routings(c) {
		mode := e.options.Mode
		mode.Routing = r
		if r == model.TopK {
			mode.Threshold = 0
		}
		out = append(out, mode)
	}
	return out
}

// curve lists the depths, and for expert-choice the thresholds, of --depth-curve.
func (e *evalCommand) curve(c *model.Config) []model.Mode {
	var out []model.Mode
	if c.Recursion != nil && c.Recursion.Sharing.Cyclic() {
		for n := range c.Recursions() {
			out = append(out, model.Mode{MaxRecursion: n + 1})
		}
	}
	if c.Expert() && !c.Router.RandRouter {
		for _, t := range e.thresholds {
			out = append(out, model.Mode{Threshold: t})
		}
	}
	return out
}

func (e *evalCommand) measure(ctx context.Context, m *model.Model, tok *token.Tokenizer, shard *corpus.Shard, modes []model.Mode) ([]*eval.Result, error) {
	var out []*eval.Result
	for _, mode := range modes {
		o := e.options
		o.Mode = mode
		o.Progress = func(done, total int64) { e.bar.set(fmt.Sprintf("eval %s", mode.Routing), done, total, false) }
		r, err := eval.Run(ctx, m, tok, shard, o)
		e.bar.finish()
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// printEval writes tables.
func printEval(out io.Writer, report *evalReport) error {
	first := report.Results[0]
	fmt.Fprintf(out, "%s tokens, %s of text, windows of %d tokens without overlap\n\n", group(first.Tokens), formatSize(first.Bytes), first.Context)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	header := func() {
		fmt.Fprintln(w, "routing\tmax recursion\tthreshold\tloss\t± stderr\tperplexity\tbits per byte\tmean depth\tFLOPs/token\t")
	}
	row := func(r *eval.Result) {
		threshold := "–"
		if r.Threshold > 0 {
			threshold = fmt.Sprintf("%.2f", r.Threshold)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%.4f\t%.4f\t%.2f\t%.4f\t%.3f\t%s\t\n", r.Routing, r.MaxRecursion, threshold, r.Loss, r.StdErr, r.Perplexity, r.BitsPerByte, r.MeanDepth, short(r.FLOPs))
	}
	header()
	for _, r := range report.Results {
		row(r)
	}
	w.Flush()
	for _, r := range report.Results {
		printRouting(out, w, r)
	}
	if len(report.DepthCurve) > 0 {
		fmt.Fprintf(out, "\ntest-time depth\n")
		header()
		for _, r := range report.DepthCurve {
			row(r)
		}
	}
	return w.Flush()
}

// printRouting writes what the routers did under one routing.
func printRouting(out io.Writer, w *tabwriter.Writer, r *eval.Result) {
	if len(r.Recursions) > 0 {
		fmt.Fprintf(out, "\n%s: tokens by depth", r.Routing)
		for d, share := range r.Histogram {
			fmt.Fprintf(out, "  %d: %.1f %%", d, 100*share)
		}
		fmt.Fprintf(out, "; no recursion at all (dead): %.1f %%\n", 100*r.Dead())
		fmt.Fprintln(w, "recursion\tcapacity\tran it\tthreshold agrees\t")
		for i, rec := range r.Recursions {
			agreement := "–"
			if rec.Agreement != nil {
				agreement = fmt.Sprintf("%.1f %%", 100**rec.Agreement)
			}
			fmt.Fprintf(w, "%d\t%.1f %%\t%.1f %%\t%s\t\n", i, 100*rec.Capacity, 100*rec.Share, agreement)
		}
		w.Flush()
	}
	fmt.Fprintf(out, "\n%s: by class of token\n", r.Routing)
	fmt.Fprintln(w, "class\tshare\tmean depth\tloss behind it\t")
	for _, c := range r.Classes {
		fmt.Fprintf(w, "%s\t%.1f %%\t%.3f\t%.3f\t\n", c.Name, 100*c.Share, c.MeanDepth, c.Loss)
	}
	w.Flush()
}
