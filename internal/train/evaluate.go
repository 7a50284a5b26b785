package train

import (
	"context"
	"fmt"
	"math"

	"mor/internal/corpus"
	"mor/internal/model"
)

// Evaluation is a measurement on held-out text, as it stands in metrics.jsonl.
type Evaluation struct {
	Type        string  `json:"type"` // "eval"
	Step        int     `json:"step"`
	Routing     string  `json:"routing"` // causal or topk
	Loss        float64 `json:"loss"`    // nats a token
	BitsPerByte float64 `json:"bits_per_byte"`
	Tokens      int64   `json:"tokens"`
	Bytes       int64   `json:"bytes"` // of text that the tokens stand for
	MeanDepth   float64 `json:"mean_depth"`
	Final       bool    `json:"final"` // on all held-out text
}

// Routings lists the routings that make a difference for a model, the one that serving uses first.
func Routings(c *model.Config) []model.Routing {
	if c.Expert() {
		return []model.Routing{model.Causal, model.TopK}
	}
	return []model.Routing{model.Causal}
}

// Evaluate predicts every token of the first maxBytes of held-out text (0: all) once, in windows of the training context that do not overlap.
func (t *Trainer) Evaluate(ctx context.Context, maxBytes int64, routing model.Routing) (Evaluation, error) {
	o := &t.Options
	e := Evaluation{Type: "eval", Step: t.State.Step, Routing: routingName(t.Model.Config, routing), Final: maxBytes == 0}
	w, err := corpus.NewWindows(t.data.Valid, o.Context, maxBytes)
	if err != nil {
		return e, err
	}
	e.Tokens, e.Bytes = w.Tokens(), w.Bytes()
	sum, depth := 0.0, 0.0
	tokens, targets := make([]int32, o.MicroBatch*o.Context), make([]int32, o.MicroBatch*o.Context)
	for ctx.Err() == nil {
		rows, starts := w.Next(tokens, targets, t.starts[:0])
		t.starts = starts
		if rows == 0 {
			break
		}
		b := model.Batch{Tokens: tokens[:rows], Targets: targets[:rows], Positions: t.batch.Positions[:rows]}
		for at := 0; at < rows; at += o.Context {
			b.Starts = append(b.Starts, int32(at))
		}
		b.Starts = append(b.Starts, int32(rows))
		if o.DocumentMask {
			b.Docs = starts
		}
		if err := t.Model.Forward(t.tape, &b, model.Mode{Routing: routing}, false); err != nil {
			return e, err
		}
		loss, _ := t.Model.CrossEntropy(t.tape, nil)
		sum += loss
		for _, d := range t.tape.Depth {
			depth += float64(d)
		}
	}
	e.Loss, e.MeanDepth = sum/float64(e.Tokens), depth/float64(e.Tokens)
	e.BitsPerByte = sum / math.Ln2 / float64(e.Bytes)
	if ctx.Err() == nil && (math.IsNaN(sum) || math.IsInf(sum, 0)) {
		return e, t.diverged(t.State.Step, fmt.Sprintf("the held-out loss is %v", sum))
	}
	return e, ctx.Err()
}
