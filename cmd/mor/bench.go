package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"mor/internal/bench"
	"mor/internal/kernel"
	"mor/internal/model"
)

func newBench() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure kernels and training steps against this machine's own peak, decoding, and a queue of requests",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBenchKernels(), newBenchStep(), newBenchDecode(), newBenchThroughput())
	return cmd
}

func newBenchKernels() *cobra.Command {
	var repetitions int
	var threads []int
	var shapes []string
	var asJSON bool
	var dtype string
	cmd := &cobra.Command{
		Use:   "kernels",
		Short: "Matrix products: GFLOP/s and the share of the peak of their type, which is measured first and beside each repetition",
		Example: `  mor bench kernels
  mor bench kernels --shape 2048x576x1536 --threads 1 --threads 2 --repetitions 20
  mor bench kernels --dtype bf16
  MOR_CPU=avx2 mor bench kernels --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := bench.Shapes
			if len(shapes) > 0 {
				list = nil
			}
			for _, s := range shapes {
				var n, in, out int
				if k, err := fmt.Sscanf(s, "%dx%dx%d", &n, &in, &out); err != nil || k != 3 || min(n, in, out) < 1 {
					return fmt.Errorf("--shape %s: expected rows x in x out, e.g. 2048x576x1536", s)
				}
				list = append(list, [3]int{n, in, out})
			}
			if repetitions < 1 {
				return fmt.Errorf("--repetitions %d: expected at least 1", repetitions)
			}
			d, err := model.ParseDtype(dtype)
			if err != nil {
				return fmt.Errorf("--%w", err)
			}
			return benchKernels(cmd.OutOrStdout(), list, threads, repetitions, d, asJSON)
		},
	}
	cmd.Flags().IntVar(&repetitions, "repetitions", 5, "repetitions of each product; medians are shown")
	cmd.Flags().IntSliceVar(&threads, "threads", []int{1, 2}, "numbers of threads")
	cmd.Flags().StringArrayVar(&shapes, "shape", nil, "rows x in x out (default: those of the models)")
	cmd.Flags().StringVar(&dtype, "dtype", "fp32", "type of the operands: fp32 or bf16")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON Lines")
	return cmd
}

func benchKernels(w io.Writer, shapes [][3]int, threads []int, repetitions int, dtype model.Dtype, asJSON bool) error {
	cpu, err := openCPU(0)
	if err != nil {
		return err
	}
	defer cpu.Close()
	enc := json.NewEncoder(w)
	machine := bench.Describe(cpu)
	if err := printMachine(w, enc, machine, asJSON); err != nil {
		return err
	}
	return bench.Products(cpu.Level(), threads, shapes, repetitions, dtype, func(p bench.Product) {
		if asJSON {
			_ = enc.Encode(p) // standard output: nothing can be done about its loss
			return
		}
		fmt.Fprintln(w, p)
	})
}

func printMachine(w io.Writer, enc *json.Encoder, m bench.Machine, asJSON bool) error {
	if asJSON {
		return enc.Encode(m)
	}
	_, err := fmt.Fprintf(w, "%s, %d cores, %s, %s\nfp32 peak %.1f GFLOP/s with 1 thread, %.1f with %d; bf16 %.1f and %.1f\n\n", m.CPU, m.Cores, m.Level, m.Go,
		m.PeakOne/1e9, m.Peak/1e9, m.Threads, m.BF16One/1e9, m.BF16/1e9)
	return err
}

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
operands) and attention, of the memory's bandwidth for the others. Attention backward counts its five products. The rest is what no kernel accounts for.`,
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
	f.BoolVar(&b.json, "json", false, "print JSON Lines")
	return cmd
}

func (b *stepBench) run(w io.Writer) error {
	var batch, context int
	if k, err := fmt.Sscanf(b.batch, "%dx%d", &batch, &context); err != nil || k != 2 || min(batch, context) < 1 {
		return fmt.Errorf("--batch %s: expected sequences x tokens, e.g. 1x2048", b.batch)
	}
	if b.reps < 1 {
		return fmt.Errorf("--repetitions %d: expected at least 1", b.reps)
	}
	recompute, err := model.ParseRecompute(b.recompute)
	if err != nil {
		return err
	}
	if b.moments != "fp32" && b.moments != "bf16" {
		return fmt.Errorf("--optimizer-dtype %s: expected fp32 or bf16", b.moments)
	}
	dtype, err := model.ParseDtype(b.dtype)
	if err != nil {
		return fmt.Errorf("--%w", err)
	}
	save := bench.Savings{Dtype: dtype, Recompute: recompute, BF16Moments: b.moments == "bf16"}
	cpu, err := openCPU(b.threads)
	if err != nil {
		return err
	}
	defer cpu.Close()
	enc := json.NewEncoder(w)
	if err := printMachine(w, enc, bench.Describe(cpu), b.json); err != nil {
		return err
	}
	for _, size := range b.sizes {
		var first *bench.Step
		for _, kind := range b.kinds {
			s, err := b.one(cpu, size, kind, batch, context, save)
			if err != nil {
				return err
			}
			if first == nil {
				first = &s
			}
			s.Against(first)
			if err := b.print(w, enc, &s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *stepBench) one(cpu *kernel.CPU, size, kind string, batch, context int, save bench.Savings) (bench.Step, error) {
	c, err := bench.Variant(size, kind, b.n)
	if err != nil {
		return bench.Step{}, err
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
	if err := c.Validate(); err != nil {
		return bench.Step{}, err
	}
	s, err := bench.TrainStep(c, cpu, batch, context, b.reps, save)
	s.Size, s.Kind = size, kind
	return s, err
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
