package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"mor/internal/bench"
	"mor/internal/kernel"
	"mor/internal/memory"
	"mor/internal/source"
)

// decodeBench holds the flags of `mor bench decode`.
type decodeBench struct {
	batches        []int
	prompt, tokens int
	beside         int
	reps, threads  int
	weights        string
	cacheFormat    string
	json           bool
}

func newBenchDecode() *cobra.Command {
	b := &decodeBench{}
	cmd := &cobra.Command{
		Use:   "decode MODEL",
		Short: "Prompt and decoding speed of a model, for several texts at once",
		Long: `Measure a model in the engine that generate uses: random prompts are read, then all texts generate their likeliest tokens together. The prompt's
figure is tokens a second until the last text has its first token; the other one is tokens a second of all texts from then on. Medians are shown.

With --beside, the time between the tokens of the texts is measured while a prompt of so many tokens is read beside them, and before and behind that.`,
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
	cacheFormatFlag(cmd, &b.cacheFormat)
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
		d, err := bench.MeasureDecode(cmd.Context(), m.Model, m.Tokenizer, bench.Decode{Batch: n, Prompt: b.prompt, Tokens: b.tokens, Format: kernel.PageFormat(b.cacheFormat)}, b.reps)
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
	r, err := bench.MeasureBeside(ctx, m.Model, m.Tokenizer, bench.Beside{Batch: batch, Prompt: b.beside, Format: kernel.PageFormat(b.cacheFormat)})
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
