package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"mor/internal/checkpoint"
	"mor/internal/corpus"
	"mor/internal/memory"
	"mor/internal/model"
	"mor/internal/token"
	"mor/internal/train"
)

// trainRun is one run of `mor train`, and how it is shown.
type trainRun struct {
	*trainCommand
	out     io.Writer
	state   *train.State // of the checkpoint that is continued
	tok     *token.Tokenizer
	data    *corpus.Dataset
	trainer *train.Trainer
	bar     progress

	footprint train.Footprint // as expected before the run

	peak    float64 // FLOP/s of this machine's units for products of the run's dtype
	flops   float64 // of a step
	millis  float64 // smoothed time of a step
	started time.Time
	saved   string
}

// printf writes a line for people; with --json there is none.
func (r *trainRun) printf(format string, args ...any) {
	if !r.json {
		fmt.Fprintf(r.out, format, args...)
	}
}

// record writes a line for programs.
func (r *trainRun) record(v any) {
	if r.json {
		_ = json.NewEncoder(r.out).Encode(v) // metrics.jsonl has it too, and reports a full disk
	}
}

func (r *trainRun) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

func (r *trainRun) corpusProgress(p corpus.Progress) {
	r.bar.set(p.Stage, p.Done, p.Total, true)
}

func (r *trainRun) printData(d *corpus.Dataset) {
	m := &d.Manifest
	var total int64
	for _, s := range m.Sources {
		total += s.Size
	}
	r.printf("corpus     %s files, %s: %s tokens to train on (%s); held out: %s tokens (%s, %s documents)\n", group(len(m.Sources)), formatSize(total),
		group(d.Train.Tokens), formatSize(d.Train.Bytes), group(d.Valid.Tokens), formatSize(d.Valid.Bytes), group(d.Valid.Documents))
	if m.LeftOut != (corpus.LeftOut{}) {
		r.printf("           %s\n", m.LeftOut)
	}
	if len(m.Sources) <= 4 {
		for _, s := range m.Sources {
			r.printf("           %s, %s, SHA-256 %.16s…\n", s.Name, formatSize(s.Size), s.SHA)
		}
	}
	r.printf("manifest   %s\n", d.ManifestPath())
}

// train runs the loop and the summary behind it.
func (r *trainRun) train(ctx context.Context, dir *checkpoint.Dir) error {
	t := r.trainer
	r.peak = t.Model.CPU().Peak()
	if t.Options.Dtype == model.BF16.String() {
		r.peak = t.Model.CPU().PeakBF16()
	}
	r.flops = t.FLOPs()
	r.printPlan()
	r.record(footprintRecord{"memory", r.footprint, t.Options.Recompute, t.Options.Dtype, t.Options.OptimizerDtype})
	if t.State.Step > 0 {
		r.printf("resume     behind step %d of %d\n", t.State.Step, t.Options.Steps)
	}
	r.started = time.Now()
	final, err := t.Run(ctx, dir, train.Events{
		Step: r.step, Eval: r.eval,
		Save:   func(path string) { r.saved = path },
		Sample: func() error { return r.sample(ctx) },
	})
	if errors.Is(err, train.ErrInterrupted) {
		return fmt.Errorf("%w; saved as %s; continue with: mor train --resume%s", err, r.saved, r.outFlag())
	}
	if err != nil {
		return err
	}
	return r.summary(ctx, final)
}

func (r *trainRun) outFlag() string {
	if r.trainer.Options.Out == train.Defaults().Out {
		return ""
	}
	return " --out " + r.trainer.Options.Out
}

// step shows a training step, every log_every of them.
func (r *trainRun) step(s *train.Record) {
	o := &r.trainer.Options
	if r.millis == 0 {
		r.millis = s.Millis
	}
	r.millis += 0.1 * (s.Millis - r.millis)
	r.record(s)
	if s.Step%o.LogEvery != 0 && s.Step != 1 && s.Step != o.Steps {
		return
	}
	eta := time.Duration(float64(o.Steps-s.Step) * r.millis * 1e6).Round(time.Second)
	r.printf("step %*d/%d  loss %.4f (%s) %s  grad %.3f (%s)  lr %.2e  %.0f ms  %.0f tokens/s  %.0f %% of peak  ETA %s\n",
		len(fmt.Sprint(o.Steps)), s.Step, o.Steps, s.Loss, zscore(s.LossZ), s.Routing, s.GradNorm, zscore(s.GradZ), s.LR, s.Millis, s.TokensPerSec,
		100*r.flops/(s.Millis/1000)/r.peak, eta)
	if s.Load != nil {
		r.printf("     load by depth %.3f  entropy %.3f  MaxVio %.3f\n", s.Load, s.Entropy, s.MaxVio)
	}
}

func zscore(z *train.Z) string {
	if z == nil {
		return "z –"
	}
	return fmt.Sprintf("z %+.1f", *z)
}

// eval shows an evaluation.
func (r *trainRun) eval(e *train.Evaluation) {
	r.record(e)
	r.printf("eval %*d  %-6s  loss %.4f  %.4f bits per byte  mean depth %.2f  on %s tokens (%s)\n", len(fmt.Sprint(r.trainer.Options.Steps)), e.Step, e.Routing,
		e.Loss, e.BitsPerByte, e.MeanDepth, group(e.Tokens), formatSize(e.Bytes))
}

// summary compares the held-out figures with what general compressors need for the same text.
func (r *trainRun) summary(ctx context.Context, final []train.Evaluation) error {
	text, err := r.data.ValidText()
	if err != nil {
		return err
	}
	sizes, err := corpus.Compressed(ctx, text)
	if err != nil {
		return err
	}
	r.printf("\nheld-out text, %s in %s documents, bits per byte\n", formatSize(sizes.Raw), group(r.data.Valid.Documents))
	for _, e := range final {
		r.printf("  mor, %-8s %.3f   (mean depth %.2f of %d)\n", e.Routing, e.BitsPerByte, e.MeanDepth, r.trainer.Model.Config.Recursions())
	}
	gzip, xz := 8*float64(sizes.Gzip)/float64(sizes.Raw), 8*float64(sizes.XZ)/float64(sizes.Raw)
	r.printf("  gzip -9       %.3f\n  %-13s %.3f\n\n", gzip, sizes.XZBy, xz)
	if err := r.sample(ctx); err != nil {
		return err
	}
	peak := memory.Peak()
	r.printf("trained %s tokens in %s, peak memory %s of %s expected\n", group(r.trainer.State.Tokens), time.Since(r.started).Round(time.Second),
		formatSize(peak), formatSize(r.footprint.Peak))
	if r.saved == "" {
		if info, err := checkpoint.Latest(r.trainer.Options.Out); err == nil {
			r.saved = info.Path
		}
	}
	r.printf("checkpoint %s\nrecords    %s\n", r.saved, filepath.Join(r.trainer.Options.Out, train.MetricsFile))
	r.printf("next       %s\n", r.nextCommand())
	r.record(summaryRecord{"summary", r.trainer.State.Step, byRouting(final), gzip, xz, sizes.XZBy, sizes.Raw, peak, r.saved})
	return nil
}

// footprintRecord is the first line of --json.
type footprintRecord struct {
	Type string `json:"type"` // "memory"
	train.Footprint
	Recompute      string `json:"recompute"`
	Dtype          string `json:"dtype"`
	OptimizerDtype string `json:"optimizer_dtype"`
}

// summaryRecord is the last line of --json.
type summaryRecord struct {
	Type            string             `json:"type"`
	Step            int                `json:"step"`
	BitsPerByte     map[string]float64 `json:"bits_per_byte"` // by routing
	GzipBitsPerByte float64            `json:"gzip_bits_per_byte"`
	XZBitsPerByte   float64            `json:"xz_bits_per_byte"`
	XZBy            string             `json:"xz_by"`
	Bytes           int64              `json:"bytes"` // of held-out text
	PeakMemory      int64              `json:"peak_memory_bytes"`
	Checkpoint      string             `json:"checkpoint"`
}

func byRouting(final []train.Evaluation) map[string]float64 {
	out := map[string]float64{}
	for _, e := range final {
		out[e.Routing] = e.BitsPerByte
	}
	return out
}
