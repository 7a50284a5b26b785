package main

import (
	"context"

	"mor/internal/infer"
	"mor/internal/report"
	"mor/internal/train"
)

// sampleTokens is how long a sample of `mor train` is.
const sampleTokens = 120

// sample continues the prompt with the model as it is, and shows the depth of every token.
func (r *trainRun) sample(ctx context.Context) error {
	t := r.trainer
	e, err := infer.NewEngine(t.Model, r.tok, oneText())
	if err != nil {
		return err
	}
	defer e.Close()
	prompt, err := e.Encode(r.samplePrompt())
	if err != nil {
		return err
	}
	o := infer.DefaultOptions()
	o.Seed, o.Temperature, o.TopP = t.Options.Seed, 0.7, 0.95
	o.MaxTokens = min(sampleTokens, t.Model.Config.MaxPositionEmbeddings-len(prompt))
	color, err := useColor(r.color, r.out)
	if err != nil {
		return err
	}
	s, err := e.Submit(ctx, &infer.Request{Prompt: prompt, Options: o})
	if err != nil {
		return err
	}
	record := sampleRecord{Type: "sample", Step: t.State.Step, Prompt: r.samplePrompt(), Routing: "causal"}
	w := report.NewDepthWriter(r.out, t.Model.Config.Recursions(), color)
	for tok, err := range s.Tokens() {
		if err != nil {
			return err
		}
		record.Text += tok.Text
		record.Depth = append(record.Depth, tok.Depth)
		if r.json {
			continue
		}
		if len(record.Depth) == 1 {
			r.printf("sample behind %q, causal routing, temperature %g\n", record.Prompt, o.Temperature)
		}
		if err := w.Token(tok.Text, tok.Depth); err != nil {
			return err
		}
	}
	result, err := s.Result()
	if err != nil {
		return err
	}
	record.MeanDepth = result.MeanDepth
	r.record(record)
	if r.json || len(record.Depth) == 0 {
		return nil
	}
	if err := w.Close(); err != nil {
		return err
	}
	r.printf("\n")
	return nil
}

// sampleRecord is a sample as --json prints it.
type sampleRecord struct {
	Type      string  `json:"type"`
	Step      int     `json:"step"`
	Routing   string  `json:"routing"`
	Prompt    string  `json:"prompt"`
	Text      string  `json:"text"`
	Depth     []int   `json:"depth"`
	MeanDepth float64 `json:"mean_depth"`
}

// samplePrompt is the prompt asked for; for the Go source a beginning of code, otherwise none: a text begins.
func (r *trainRun) samplePrompt() string {
	if r.prompt == "" && len(r.trainer.Options.Data) == 0 {
		return "func (r *Reader) "
	}
	return r.prompt
}

// nextCommand is what to try with a finished run.
func (r *trainRun) nextCommand() string {
	where := ""
	if r.trainer.Options.Out != train.Defaults().Out {
		where = r.trainer.Options.Out + " "
	}
	if len(r.trainer.Options.Data) == 0 {
		return "mor generate " + where + `"func main() {" --show-depth`
	}
	return "mor generate " + where + `"" --show-depth`
}

// oneText are the options of an engine for one text.
func oneText() infer.EngineOptions {
	o := infer.DefaultEngineOptions()
	o.MaxRunning, o.PrefixReuse = 1, false
	return o
}
