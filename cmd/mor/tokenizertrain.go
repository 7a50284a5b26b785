package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"time"

	"github.com/spf13/cobra"

	"mor/internal/corpus"
	"mor/internal/format/folder"
	"mor/internal/token"
)

// tokenizerTrain holds the flags of `mor tokenizer train`.
type tokenizerTrain struct {
	sources corpus.Sources
	options token.TrainOptions
	out     string
	json    bool
	bar     progress
}

func newTokenizerTrain() *cobra.Command {
	t := &tokenizerTrain{}
	cmd := &cobra.Command{
		Use:   "train",
		Short: "Learn a byte-level BPE vocabulary from text",
		Long: `Learn a byte-level BPE vocabulary from text and write it as a tokenizer.json, which Hugging Face tokenizers reads too. All of the text counts; mor train, which
makes a tokenizer where none is given, learns from a sample of what it does not hold out. The result does not depend on the number of threads.`,
		Example: `  mor tokenizer train --data 'notes/*.md' --vocab-size 8192 --out tokenizer.json
  mor tokenizer train --data corpus.parquet --text-field content --vocab-size 32768 --special '<|endoftext|>' --special '<|im_start|>' --special '<|im_end|>'
  mor tokenizer train --pre-tokenizer qwen2 --max-bytes 10000000 --out go.json   # the Go installation's source`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&t.sources.Paths, "data", nil, trainUsage["data"])
	f.StringVar(&t.sources.TextField, "text-field", "text", trainUsage["text_field"])
	f.Int64Var(&t.sources.MaxBytes, "max-bytes", 0, trainUsage["max_bytes"])
	f.IntVar(&t.options.VocabSize, "vocab-size", 8192, "tokens in all: special ones, 256 bytes, merges")
	f.StringVar(&t.options.Pre, "pre-tokenizer", "smollm", trainUsage["pre_tokenizer"])
	f.StringArrayVar(&t.options.Special, "special", []string{"<|endoftext|>"}, "special token, which separates documents or marks roles (may be given several times)")
	f.Int64Var(&t.options.MinCount, "min-count", 2, "a pair must occur as often as this to be merged")
	f.StringVar(&t.out, "out", folder.TokenizerFile, "file to write; it must not be there yet")
	f.BoolVar(&t.json, "json", false, "print the report as one JSON object")
	threadsFlag(cmd, &t.options.Workers)
	return cmd
}

// tokenizerReport is what --json prints.
type tokenizerReport struct {
	Out       string  `json:"out"`
	VocabSize int     `json:"vocab_size"`
	Documents int64   `json:"documents"`
	Bytes     int64   `json:"bytes"`
	Seconds   float64 `json:"seconds"`
	Hash      string  `json:"hash"`
}

func (t *tokenizerTrain) run(ctx context.Context, out io.Writer) error {
	if t.options.Workers < 0 {
		return fmt.Errorf("--threads: %d: expected 1 or more, or 0 for one for each CPU", t.options.Workers)
	}
	if t.options.MinCount < 1 {
		return fmt.Errorf("--min-count: %d: expected at least 1", t.options.MinCount)
	}
	if _, err := os.Lstat(t.out); !errors.Is(err, fs.ErrNotExist) { // now, not after the work
		return fmt.Errorf("--out %s: there already: remove it, or name another file", t.out)
	}
	src, err := orGoSource(ctx, t.sources)
	if err != nil {
		return err
	}
	t.options.Progress = func(stage token.TrainStage, done, total int64) {
		if stage == token.Reading {
			total = -1 // how much text the sources hold is not known before
		}
		t.bar.set(string(stage), done, total, stage == token.Reading)
	}
	report, started := tokenizerReport{Out: t.out}, time.Now()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	tok, err := token.Train(ctx, report.texts(ctx, src, fail), t.options)
	t.bar.finish()
	if err != nil {
		return err
	}
	report.Seconds, report.VocabSize, report.Hash = time.Since(started).Seconds(), tok.VocabSize(), tok.Hash()
	if err := createNew(t.out, func(w io.Writer) error {
		data, err := tok.MarshalJSON()
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	}); err != nil {
		return err
	}
	if t.json {
		return json.NewEncoder(out).Encode(report)
	}
	fmt.Fprintf(out, "%s: %s, from %s in %s documents, %.1f s\n", t.out, tok, formatSize(report.Bytes), group(report.Documents), report.Seconds)
	if tok.VocabSize() < t.options.VocabSize {
		fmt.Fprintf(out, "fewer tokens than --vocab-size %d: no other pair occurs %d times\n", t.options.VocabSize, t.options.MinCount)
	}
	return nil
}

// orGoSource returns the sources, or where none is named the Go installation's.
func orGoSource(ctx context.Context, src corpus.Sources) (corpus.Sources, error) {
	if len(src.Paths) > 0 {
		return src, nil
	}
	found, err := corpus.GoSource(ctx)
	src.Paths, src.Include = found.Paths, found.Include
	return src, err
}

// texts yields the texts of sources and counts them. At the first error it ends and fails the training.
func (r *tokenizerReport) texts(ctx context.Context, src corpus.Sources, fail context.CancelCauseFunc) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for d, err := range corpus.Documents(ctx, src) {
			if err != nil {
				fail(err)
				return
			}
			if r.Bytes += int64(len(d.Text)); !d.More {
				r.Documents++
			}
			if !yield(d.Text) {
				return
			}
		}
	}
}
