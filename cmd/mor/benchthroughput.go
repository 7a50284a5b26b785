package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"mor/internal/bench"
	"mor/internal/checkpoint"
	"mor/internal/infer"
	"mor/internal/kernel"
	"mor/internal/memory"
	"mor/internal/model"
	"mor/internal/source"
	"mor/internal/train"
)

// throughputBench holds the flags of `mor bench throughput`.
type throughputBench struct {
	size           string
	models         []string
	load           bench.Load
	recursions     []int
	layers         int
	vocab, threads int
	meanDepth      float64
	schedules      []string
	weights        string
	equalMemory    bool
	json           bool

	first *bench.Throughput
	out   io.Writer
}

func newBenchThroughput() *cobra.Command {
	b := &throughputBench{}
	cmd := &cobra.Command{
		Use:   "throughput [MODEL]...",
		Short: "A queue of requests, served depth-wise and sequence-wise",
		Long: `Serve a queue of requests, whose prompts are random and whose lengths are drawn from a normal distribution, and measure generated tokens a second with the
reading of prompts and the writing of keys counted. Depth-wise, one pass of the shared block serves tokens at different recursions, and a token that leaves
makes room at once; sequence-wise, every row of a batch walks the whole depth together. The bound is what the saved FLOPs allow. A vanilla model has no
recursions to batch: it is served sequence-wise alone.

Without a model, models with random weights are measured, one for each number of recursions: expert-choice ones, whose routers are set to a mean depth,
which isolates the schedule, and for 1 a vanilla one. The last column compares with the first line.

With --equal-memory, each model but the first is also measured at the largest batch for which its weights and the keys and values of whole texts take no
more memory than those of the first one at --batch.`,
		Example: `  mor bench throughput --num-recursion 3 --mean-depth 2 --batch 32
  mor bench throughput --size small --layers 14 --num-recursion 1,2,3,4 --requests 1000 --equal-memory
  mor bench throughput runs/vanilla runs/mor2 runs/mor3 --requests 1000 --batch 32 --equal-memory --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			b.models, b.out = args, cmd.OutOrStdout()
			return b.run(cmd)
		},
	}
	f := cmd.Flags()
	f.StringVar(&b.size, "size", "135m", "preset of the random models")
	f.IntSliceVar(&b.recursions, "num-recursion", []int{3}, "recursions of the random models; 1: vanilla")
	f.IntVar(&b.layers, "layers", 0, "effective layers of the random models (default: the preset's)")
	f.IntVar(&b.vocab, "vocab-size", 4096, "tokens of the random models")
	f.Float64Var(&b.meanDepth, "mean-depth", 0, "mean depth of the random models' tokens (default: 2 of 3, (N+1)/2 of N)")
	f.StringSliceVar(&b.schedules, "schedule", []string{string(infer.SequenceWise), string(infer.DepthWise)}, "schedules, in this order")
	f.IntVar(&b.load.Requests, "requests", 64, "requests")
	f.IntVar(&b.load.Batch, "batch", 32, "most texts at once")
	f.IntVar(&b.load.Prompt, "prompt", 32, "tokens of each prompt")
	f.Float64Var(&b.load.Mean, "mean", 256, "mean of the tokens that a request generates")
	f.Float64Var(&b.load.Deviation, "deviation", 64, "their standard deviation")
	f.BoolVar(&b.equalMemory, "equal-memory", false, "measure also the largest batch that takes no more memory than the first model")
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
	for _, name := range []string{"size", "num-recursion", "layers", "vocab-size", "mean-depth"} {
		if len(b.models) > 0 && cmd.Flags().Changed(name) {
			return fmt.Errorf("--%s: expected no MODEL beside it: it is of the random models", name)
		}
	}
	for _, s := range b.schedules {
		if s := infer.Schedule(s); s != infer.SequenceWise && s != infer.DepthWise {
			return fmt.Errorf("--schedule %s: expected %s or %s", s, infer.SequenceWise, infer.DepthWise)
		}
	}
	cpu, err := openCPU(b.threads)
	if err != nil {
		return err
	}
	defer cpu.Close()
	if len(b.models) == 0 {
		for _, n := range b.recursions {
			m, err := b.random(cmd, cpu, n)
			if err != nil {
				return err
			}
			name := fmt.Sprintf("%s random, %d recursions", b.size, n)
			if n == 1 {
				name = b.size + " random, vanilla"
			}
			if err := b.measure(cmd, m, name, nil); err != nil {
				return err
			}
		}
		return nil
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
		if err := b.measure(cmd, m.Model, path, lossOf(dir)); err != nil {
			return err
		}
	}
	return nil
}

// lossOf is what the run measured at its end that a model's folder is in, nil where there is none.
func lossOf(dir string) *bench.Loss {
	e, ok := train.FinalEvaluation(filepath.Dir(dir))
	if !ok || filepath.Base(dir) != checkpoint.Name(e.Step) {
		return nil
	}
	return &bench.Loss{Value: e.Loss, Routing: e.Routing}
}

// random is a model with random weights, with n recursions an expert-choice one with the mean depth that is asked for.
func (b *throughputBench) random(cmd *cobra.Command, cpu *kernel.CPU, n int) (*model.Model, error) {
	kind := "expert"
	if n == 1 {
		kind = "vanilla"
	}
	c, err := model.Preset(b.size, kind, model.MiddleCycle, n)
	if err != nil {
		return nil, err
	}
	c.VocabSize = b.vocab
	if b.layers > 0 {
		c.NumHiddenLayers = b.layers
	}
	if c.Router != nil {
		c.Router.ThresholdRate = 0.01
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	p, err := source.ParsePrecision(b.weights)
	if err != nil {
		return nil, fmt.Errorf("--weights: %w", err)
	}
	m := model.New(c, cpu)
	m.Init(1)
	if m, err = m.Held(p.Type()); err != nil || c.Router == nil {
		return m, err
	}
	depth := b.meanDepth
	if depth == 0 {
		depth = float64(n+1) / 2
	}
	if err := bench.SetDepth(cmd.Context(), m, depth, b.load); err != nil {
		return nil, fmt.Errorf("--mean-depth: %w", err)
	}
	return m, nil
}

// measure serves the load with a model by each schedule, then at the batch of equal memory.
func (b *throughputBench) measure(cmd *cobra.Command, m *model.Model, name string, loss *bench.Loss) error {
	schedules := b.schedules
	if m.Config.Recursions() == 1 {
		schedules = []string{string(infer.SequenceWise)}
	}
	baseline := b.first
	last, err := b.serve(cmd, m, name, loss, schedules, &b.load)
	if err != nil || !b.equalMemory || baseline == nil {
		return err
	}
	l, ok := last.Equal(baseline, b.load)
	if !ok {
		return fmt.Errorf("--equal-memory: %s: its weights alone take %d bytes, more than %s has for weights, keys and values", name, last.WeightBytes, baseline.Name)
	}
	_, err = b.serve(cmd, m, name, loss, schedules, &l)
	return err
}

// serve measures one batch size by each schedule and returns the last one.
func (b *throughputBench) serve(cmd *cobra.Command, m *model.Model, name string, loss *bench.Loss, schedules []string, l *bench.Load) (*bench.Throughput, error) {
	var base float64
	var last *bench.Throughput
	for _, s := range schedules {
		var p progress
		t, err := bench.Serve(cmd.Context(), m, infer.Schedule(s), l, func(done, total int) { p.say("requests", int64(done), int64(total)) })
		p.finish()
		if err != nil {
			return nil, err
		}
		if t.Schedule == infer.SequenceWise {
			base, t.Bound = t.TokensPerS, 1
		}
		if base > 0 {
			t.Gain = t.TokensPerS / base
		}
		t.Name, t.Loss, t.PeakMemory, last = name, loss, memory.Peak(), &t
		if b.first == nil {
			b.first = &t
		}
		t.OverFirst = t.TokensPerS / b.first.TokensPerS
		if err := b.print(&t); err != nil {
			return nil, err
		}
	}
	return last, nil
}

func (b *throughputBench) print(t *bench.Throughput) error {
	if b.json {
		return json.NewEncoder(b.out).Encode(t)
	}
	loss, gain := "", "-"
	if t.Gain > 0 {
		gain = fmt.Sprintf("%.2fx", t.Gain)
	}
	if t.Loss != nil {
		loss = fmt.Sprintf("  loss %.3f", t.Loss.Value)
	}
	_, err := fmt.Fprintf(b.out, "%-26s %-13s batch %3d  %d requests, %s tokens in %.1f s: %8.1f tokens/s  %s (bound %.2fx)  depth %.2f of %d %s%s  %.1f rows a pass  KV %d bytes a token  %.2fx of the first\n",
		t.Name, t.Schedule, t.Batch, t.Requests, group(int64(t.Tokens)), t.Seconds, t.TokensPerS, gain, t.Bound, t.MeanDepth, t.Recursions, t.Routing, loss, t.RowsPerPass, t.CacheBytes, t.OverFirst)
	return err
}
