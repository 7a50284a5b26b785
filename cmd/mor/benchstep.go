package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"mor/internal/bench"
	"mor/internal/model"
)

// stepBench holds the flags of `mor bench step`.
type stepBench struct {
	sizes, kinds   []string
	batch          string
	vocab, n, reps int
	layers         int
	threads        int
	recompute      string
	dtype          string
	moments        string
	json           bool
}

func newBenchStep() *cobra.Command {
	b := &stepBench{}
	cmd := &cobra.Command{
		Use:   "step",
		Short: "Training steps on random tokens: tokens/s, share of the peak of their products, peak memory",
		Example: `  mor bench step --size 135m --kind expert --batch 1x2048
  mor bench step --size 135m --kind vanilla,expert --layers 32 --batch 4x512 --json
  mor bench step --size 135m --layers 32 --batch 1x2048 --kind expert,expert+kv_sharing,expert+kv_update`,
		Long: `Measure training steps on random tokens with random weights. --kind names a kind of model and, behind plus signs, what is added to it: ` + strings.Join(bench.Changes(), ", ") + `.
Beside each model stands what it saves of the FLOPs and of the time of the first one. Times are compared in units of the peak that was measured around
each step, so that a machine which is shared does not decide. FLOPs are counted at the depths that the tokens of the step took.

Under each model stands its roofline table: each kernel of a step with its calls and the time of one, its share of the step, what it reaches, and how
much that is of the peak of its kind, measured in the same minutes: of the multiply-adds of its type for products (with the part of the time that lays out
operands) and attention, of the memory's bandwidth for the others. Attention backward counts its five products. The time
of a kernel that takes turns with others on the same rows is what the threads spent on it; the rest of the step is what no kernel accounts for, waiting included.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return b.run(cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&b.sizes, "size", []string{"tiny"}, "presets: "+strings.Join(model.Sizes(), ", "))
	f.StringSliceVar(&b.kinds, "kind", []string{"vanilla", "expert"}, "kinds, as in expert+kv_sharing: "+strings.Join(model.Kinds(), ", "))
	f.StringVar(&b.batch, "batch", "4x256", "sequences x tokens")
	f.IntVar(&b.vocab, "vocab-size", 0, "tokens of the vocabulary (default 4,096 for tiny and small, 49,152 above)")
	f.IntVar(&b.n, "num-recursion", 3, "recursions")
	f.IntVar(&b.layers, "layers", 0, "effective layers (default: the preset's)")
	f.IntVar(&b.reps, "repetitions", 3, "measured steps, after one to warm up")
	f.StringVar(&b.recompute, "recompute", "none", "what is not kept for backward but computed again: "+strings.Join(model.Recomputes(), ", "))
	f.StringVar(&b.dtype, "dtype", "fp32", "type of the operands of products: fp32 or bf16")
	f.StringVar(&b.moments, "optimizer-dtype", "fp32", "type of AdamW's moments: fp32 or bf16")
	threadsFlag(cmd, &b.threads)
	f.BoolVar(&b.json, "json", false, "print JSON Lines: the machine, then each model")
	return cmd
}

// stepCase is a model to measure.
type stepCase struct {
	size, kind string
	config     *model.Config
}

// steps are what the flags of a step ask for.
type steps struct {
	batch, context int
	save           bench.Savings
	cases          []stepCase
}

// check reads the flags.
func (b *stepBench) check() (*steps, error) {
	sizes, ok := parseSizes(b.batch, 2)
	if !ok || sizes[0]*sizes[1] > math.MaxInt32 {
		return nil, fmt.Errorf("--batch %s: expected sequences x tokens, each from 1 to 1,000,000, e.g. 1x2048", b.batch)
	}
	if b.reps < 1 {
		return nil, fmt.Errorf("--repetitions %d: expected at least 1", b.reps)
	}
	if b.vocab < 0 || b.layers < 0 || b.n < 1 {
		return nil, fmt.Errorf("--vocab-size %d --layers %d --num-recursion %d: expected 1 or more; the first two are chosen by size where they are left out", b.vocab, b.layers, b.n)
	}
	if b.moments != "fp32" && b.moments != "bf16" {
		return nil, fmt.Errorf("--optimizer-dtype %s: expected fp32 or bf16", b.moments)
	}
	s := &steps{batch: sizes[0], context: sizes[1], save: bench.Savings{BF16Moments: b.moments == "bf16"}}
	var err error
	if s.save.Recompute, err = model.ParseRecompute(b.recompute); err != nil {
		return nil, fmt.Errorf("--%w", err)
	}
	if s.save.Dtype, err = model.ParseDtype(b.dtype); err != nil {
		return nil, fmt.Errorf("--%w", err)
	}
	for _, size := range b.sizes {
		for _, kind := range b.kinds {
			c, err := b.config(size, kind, s.context)
			if err != nil {
				return nil, err
			}
			s.cases = append(s.cases, stepCase{size, kind, c})
		}
	}
	return s, nil
}

// config is the model of a size and kind.
func (b *stepBench) config(size, kind string, context int) (*model.Config, error) {
	c, err := bench.Variant(size, kind, b.n)
	if err != nil {
		return nil, fmt.Errorf("--%w", err)
	}
	if c.VocabSize = b.vocab; b.vocab == 0 {
		if c.VocabSize = 49152; size == "tiny" || size == "small" {
			c.VocabSize = 4096
		}
	}
	if b.layers > 0 {
		c.NumHiddenLayers = b.layers
	}
	c.MaxPositionEmbeddings = max(c.MaxPositionEmbeddings, context)
	return c, c.Validate()
}

func (b *stepBench) run(w io.Writer) error {
	s, err := b.check()
	if err != nil {
		return err
	}
	cpu, err := openCPU(b.threads)
	if err != nil {
		return err
	}
	defer cpu.Close()
	enc := json.NewEncoder(w)
	if err := printMachine(w, enc, bench.Describe(cpu), b.json); err != nil {
		return err
	}
	var first bench.Step
	for i, c := range s.cases {
		t, err := bench.TrainStep(c.config, cpu, s.batch, s.context, b.reps, s.save)
		if err != nil {
			return fmt.Errorf("%s %s: %w", c.size, c.kind, err)
		}
		t.Size, t.Kind = c.size, c.kind
		if i == 0 || s.cases[i-1].size != c.size {
			first = t
		}
		t.Against(&first)
		if err := b.print(w, enc, &t); err != nil {
			return err
		}
	}
	return nil
}

func (b *stepBench) print(w io.Writer, enc *json.Encoder, s *bench.Step) error {
	if b.json {
		return enc.Encode(s)
	}
	_, err := fmt.Fprintf(w, "%-5s %-20s %s %dx%d  depth %.2f %-4s  %s parameters  %8.1f tokens/s  %7.1f GFLOP/s  %4.1f %% of peak  forward %.3f s of %.3f s  saves %5.1f %% of FLOPs, %5.1f %% of time  peak memory %s of %s expected\n",
		s.Size, s.Kind, s.Dtype, s.Batch, s.Context, s.MeanDepth, s.Routing, short(float64(s.Parameters)), s.TokensPerS, s.FLOPS/1e9, 100*s.Share, s.ForwardTime, s.Spread.Median,
		100*s.FLOPsSaved, 100*s.TimeSaved, formatSize(s.PeakMemory), formatSize(s.Expected.Peak))
	for _, k := range s.Kernels {
		fmt.Fprintln(w, k)
	}
	return err
}
