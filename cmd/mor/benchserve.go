package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"mor/internal/bench"
	"mor/internal/infer"
	"mor/internal/kernel"
	"mor/internal/memory"
	"mor/internal/model"
	"mor/internal/source"
)

// decodeBench holds the flags of `mor bench decode`.
type decodeBench struct {
	batches        []int
	prompt, tokens int
	beside         int
	reps, threads  int
	weights        string
	json           bool
}

func newBenchDecode() *cobra.Command {
	b := &decodeBench{}
	cmd := &cobra.Command{
		Use:   "decode MODEL",
		Short: "Prompt and decoding speed of a model, for several texts at once",
		Long: `Measure a model in the engine that generate uses: random prompts are read, then all texts generate their likeliest tokens together. The prompt's
figure is tokens a second until the last text has its first token; the other one is tokens a second of all texts from then on. Medians are shown.

With --beside, the time between the tokens of the texts is measured, before and while a prompt of so many tokens is read beside them.`,
		Example: `  mor bench decode runs/default
  mor bench decode model.gguf --batch 1,8,32 --prompt 512 --tokens 64 --json
  mor bench decode model.gguf --batch 1,8 --beside 2047`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return b.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.IntSliceVar(&b.batches, "batch", []int{1, 8, 32}, "texts at once")
	f.IntVar(&b.prompt, "prompt", 64, "tokens of each prompt")
	f.IntVar(&b.tokens, "tokens", 64, "tokens that each text generates")
	f.IntVar(&b.beside, "beside", 0, "measure the time between tokens while a prompt of so many tokens is read")
	f.IntVar(&b.reps, "repetitions", 3, "measured repetitions, after one to warm up")
	f.BoolVar(&b.json, "json", false, "print JSON Lines: the machine, then each batch size")
	weightsFlag(cmd, &b.weights)
	threadsFlag(cmd, &b.threads)
	return cmd
}

func (b *decodeBench) run(cmd *cobra.Command, path string) error {
	if b.prompt < 1 || b.tokens < 1 || b.reps < 1 {
		return fmt.Errorf("--prompt %d --tokens %d --repetitions %d: expected at least 1 each", b.prompt, b.tokens, b.reps)
	}
	for _, n := range b.batches {
		if n < 1 {
			return fmt.Errorf("--batch %d: expected at least 1", n)
		}
	}
	dir, err := resolveModel(path)
	if err != nil {
		return err
	}
	cpu, err := openCPU(b.threads)
	if err != nil {
		return err
	}
	defer cpu.Close()
	m, err := openModel(dir, cpu, b.weights)
	if err != nil {
		return err
	}
	switch limit := m.Config.MaxPositionEmbeddings; {
	case b.beside < 0 || b.beside >= limit:
		return fmt.Errorf("--beside %d: expected 1 to %d, fewer than the model's context, or 0 to measure speed", b.beside, limit-1)
	case b.beside == 0 && b.prompt+b.tokens > limit:
		return fmt.Errorf("--prompt %d --tokens %d: together they exceed the model's context of %d", b.prompt, b.tokens, limit)
	}
	out := cmd.OutOrStdout()
	enc := json.NewEncoder(out)
	if err := printMachine(out, enc, bench.Describe(cpu), b.json); err != nil {
		return err
	}
	for _, n := range b.batches {
		if b.beside > 0 {
			if err := b.besides(cmd.Context(), out, m, n); err != nil {
				return err
			}
			continue
		}
		d, err := bench.MeasureDecode(cmd.Context(), m.Model, m.Tokenizer, bench.Decode{Batch: n, Prompt: b.prompt, Tokens: b.tokens}, b.reps)
		if err != nil {
			return err
		}
		d.PeakMemory = memory.Peak()
		if b.json {
			err = enc.Encode(d)
		} else {
			_, err = fmt.Fprintf(out, "batch %3d  prompt %d tokens: %8.1f tokens/s  decode %d: %8.1f tokens/s  depth %.2f of %d %s  peak memory so far %s\n",
				d.Batch, d.Prompt, d.PromptPerS, d.Tokens, d.PerS, d.MeanDepth, m.Config.Recursions(), d.Routing, formatSize(d.PeakMemory))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// besides measures what a long prompt does to the time between tokens.
func (b *decodeBench) besides(ctx context.Context, out io.Writer, m *source.Model, batch int) error {
	r, err := bench.MeasureBeside(ctx, m.Model, m.Tokenizer, batch, b.beside)
	if err != nil {
		return err
	}
	if b.json {
		return json.NewEncoder(out).Encode(&r)
	}
	_, err = fmt.Fprintf(out, "batch %3d  between tokens: median %.2f ms, 95 %% %.2f ms; while %d tokens are read in %.1f s: median %.2f ms, 95 %% %.2f ms: %.2fx\n",
		r.Batch, 1000*r.Alone.Median, 1000*r.Alone.P95, r.Prompt, r.Read, 1000*r.During.Median, 1000*r.During.P95, r.Ratio)
	return err
}

// throughputBench holds the flags of `mor bench throughput`.
type throughputBench struct {
	size           string
	models         []string
	load           bench.Load
	n, layers      int
	vocab, threads int
	meanDepth      float64
	schedules      []string
	weights        string
	json           bool
}

func newBenchThroughput() *cobra.Command {
	b := &throughputBench{}
	cmd := &cobra.Command{
		Use:   "throughput [MODEL]...",
		Short: "A queue of requests, served depth-wise and sequence-wise",
		Long: `Serve a queue of requests, whose prompts are random and whose lengths are drawn from a normal distribution, and measure generated tokens a second with the
reading of prompts and the writing of keys counted. Depth-wise, one pass of the shared block serves tokens at different recursions, and a token that leaves
makes room at once; sequence-wise, every row of a batch walks the whole depth together. The bound is what the saved FLOPs allow.

Without a model, an expert-choice model with random weights is measured, whose routers are set to a mean depth: that isolates the schedule.`,
		Example: `  mor bench throughput --size small --num-recursion 3 --mean-depth 2 --batch 32
  mor bench throughput runs/mor3 runs/vanilla --requests 1000 --batch 32 --json`,
		RunE: func(cmd *cobra.Command, args []string) error { b.models = args; return b.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&b.size, "size", "small", "preset of the random model")
	f.IntVar(&b.n, "num-recursion", 3, "recursions of the random model")
	f.IntVar(&b.layers, "layers", 0, "effective layers of the random model (default: the preset's)")
	f.IntVar(&b.vocab, "vocab-size", 4096, "tokens of the random model")
	f.Float64Var(&b.meanDepth, "mean-depth", 2, "mean depth of the random model's tokens")
	f.StringSliceVar(&b.schedules, "schedule", []string{string(infer.SequenceWise), string(infer.DepthWise)}, "schedules, in this order")
	f.IntVar(&b.load.Requests, "requests", 64, "requests")
	f.IntVar(&b.load.Batch, "batch", 32, "most texts at once")
	f.IntVar(&b.load.Prompt, "prompt", 32, "tokens of each prompt")
	f.Float64Var(&b.load.Mean, "mean", 256, "mean of the tokens that a request generates")
	f.Float64Var(&b.load.Deviation, "deviation", 64, "their standard deviation")
	f.BoolVar(&b.json, "json", false, "print JSON Lines")
	weightsFlag(cmd, &b.weights)
	threadsFlag(cmd, &b.threads)
	return cmd
}

func (b *throughputBench) run(cmd *cobra.Command) error {
	l := &b.load
	if l.Requests < 1 || l.Batch < 1 || l.Prompt < 1 || l.Mean < 1 || l.Deviation < 0 {
		return fmt.Errorf("--requests %d --batch %d --prompt %d --mean %g --deviation %g: expected at least 1 each, and a deviation of 0 or more", l.Requests, l.Batch, l.Prompt, l.Mean, l.Deviation)
	}
	cpu, err := openCPU(b.threads)
	if err != nil {
		return err
	}
	defer cpu.Close()
	if len(b.models) == 0 {
		m, err := b.random(cpu)
		if err != nil {
			return err
		}
		return b.measure(cmd, m, fmt.Sprintf("%s, random weights", b.size))
	}
	for _, path := range b.models {
		dir, err := resolveModel(path)
		if err != nil {
			return err
		}
		m, err := openModel(dir, cpu, b.weights)
		if err != nil {
			return err
		}
		if err := b.measure(cmd, m.Model, path); err != nil {
			return err
		}
	}
	return nil
}

// random is an expert-choice model with random weights and the mean depth that is asked for.
func (b *throughputBench) random(cpu *kernel.CPU) (*model.Model, error) {
	c, err := model.Preset(b.size, "expert", model.MiddleCycle, b.n)
	if err != nil {
		return nil, err
	}
	c.VocabSize = b.vocab
	if b.layers > 0 {
		c.NumHiddenLayers = b.layers
	}
	c.Router.ThresholdRate = 0.01
	if err := c.Validate(); err != nil {
		return nil, err
	}
	m := model.New(c, cpu)
	m.Init(1)
	if err := bench.SetDepth(m, b.meanDepth, b.load.Prompt+int(b.load.Mean)); err != nil {
		return nil, fmt.Errorf("--mean-depth: %w", err)
	}
	p, err := source.ParsePrecision(b.weights)
	if err != nil {
		return nil, fmt.Errorf("--weights: %w", err)
	}
	return m.Held(p.Type())
}

func (b *throughputBench) measure(cmd *cobra.Command, m *model.Model, name string) error {
	var base float64
	for _, s := range b.schedules {
		t, err := bench.Serve(cmd.Context(), m, infer.Schedule(s), &b.load)
		if err != nil {
			return err
		}
		if t.Schedule == infer.SequenceWise {
			base, t.Bound = t.TokensPerS, 1
		}
		if base > 0 {
			t.Gain = t.TokensPerS / base
		}
		t.Name, t.PeakMemory = name, memory.Peak()
		if err := b.print(cmd.OutOrStdout(), &t, m.Config.Recursions()); err != nil {
			return err
		}
	}
	return nil
}

func (b *throughputBench) print(w io.Writer, t *bench.Throughput, recursions int) error {
	if b.json {
		return json.NewEncoder(w).Encode(t)
	}
	_, err := fmt.Fprintf(w, "%s  %-13s batch %d  %d requests, %d tokens in %.1f s: %8.1f tokens/s, %.2fx (bound %.2fx)  depth %.2f of %d %s  %.1f rows a pass  KV %d bytes a token\n",
		t.Name, t.Schedule, t.Batch, t.Requests, t.Tokens, t.Seconds, t.TokensPerS, t.Gain, t.Bound, t.MeanDepth, recursions, t.Routing, t.RowsPerPass, t.CacheBytes)
	return err
}
