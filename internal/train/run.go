package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"mor/internal/checkpoint"
	"mor/internal/model"
)

// Events tells the caller what a run does. A nil function is not called.
type Events struct {
	Step   func(*Record)
	Eval   func(*Evaluation)
	Save   func(path string)
	Sample func() error
}

// ErrInterrupted means that the context ended; the state of the last step is saved.
var ErrInterrupted = errors.New("interrupted")

// Run trains from the state at hand to the last step, evaluates and saves as the options say, and returns the final evaluations, one for each
// routing. When ctx ends, it finishes the step, saves and returns ErrInterrupted.
func (t *Trainer) Run(ctx context.Context, dir *checkpoint.Dir, ev Events) (final []Evaluation, err error) {
	o := &t.Options
	if err := dir.CheckStart(t.State.Step); err != nil {
		return nil, err
	}
	if err := t.writeOptions(); err != nil {
		return nil, err
	}
	metrics, err := OpenMetrics(o.Out, t.State.Step)
	if err != nil {
		return nil, err
	}
	defer metrics.Close()
	var record Record
	for t.State.Step < o.Steps {
		start := time.Now()
		if err := t.Step(&record); err != nil {
			return nil, err
		}
		record.Millis = float64(time.Since(start).Microseconds()) / 1000
		record.TokensPerSec = float64(o.Batch*o.Context) / record.Millis * 1000
		if err := metrics.Write(&record); err != nil {
			return nil, err
		}
		if ev.Step != nil {
			ev.Step(&record)
		}
		if ctx.Err() != nil {
			return nil, t.interrupted(dir, ev)
		}
		if t.State.Step < o.Steps {
			if err := t.between(ctx, dir, metrics, ev); err != nil {
				return nil, err
			}
		}
	}
	return t.finish(ctx, dir, metrics, ev)
}

// between does what is due behind a step that is not the last.
func (t *Trainer) between(ctx context.Context, dir *checkpoint.Dir, metrics *Metrics, ev Events) error {
	o, step := &t.Options, t.State.Step
	due := func(every int) bool { return every > 0 && step%every == 0 }
	var metric *float64
	if due(o.EvalEvery) {
		evals, err := t.evaluateAll(ctx, o.EvalBytes, metrics, ev)
		if errors.Is(err, context.Canceled) {
			return t.interrupted(dir, ev)
		}
		if err != nil {
			return err
		}
		metric = &evals[0].BitsPerByte
	}
	if due(o.SaveEvery) {
		if err := t.save(dir, metric, ev); err != nil {
			return err
		}
	}
	if due(o.SampleEvery) && ev.Sample != nil {
		return ev.Sample()
	}
	return nil
}

func (t *Trainer) evaluateAll(ctx context.Context, maxBytes int64, metrics *Metrics, ev Events) ([]Evaluation, error) {
	var out []Evaluation
	for _, routing := range Routings(t.Model.Config) {
		e, err := t.Evaluate(ctx, maxBytes, routing)
		if err != nil {
			return nil, err
		}
		if err := metrics.Write(&e); err != nil {
			return nil, err
		}
		if ev.Eval != nil {
			ev.Eval(&e)
		}
		out = append(out, e)
	}
	return out, nil
}

// finish evaluates on all held-out text and saves, unless the last checkpoint is of this step already.
func (t *Trainer) finish(ctx context.Context, dir *checkpoint.Dir, metrics *Metrics, ev Events) ([]Evaluation, error) {
	o := &t.Options
	final, err := t.evaluateAll(ctx, 0, metrics, ev)
	if errors.Is(err, context.Canceled) {
		return nil, t.interrupted(dir, ev)
	}
	if err != nil {
		return nil, err
	}
	if last, err := checkpoint.Latest(o.Out); err == nil && last.Step == t.State.Step {
		return final, nil
	}
	same, err := t.Evaluate(ctx, o.EvalBytes, Routings(t.Model.Config)[0]) // on the text that earlier checkpoints were measured on
	if err != nil {
		return nil, err
	}
	return final, t.save(dir, &same.BitsPerByte, ev)
}

func (t *Trainer) save(dir *checkpoint.Dir, metric *float64, ev Events) error {
	path, err := t.Save(dir, metric)
	if err != nil {
		return err
	}
	if ev.Save != nil {
		ev.Save(path)
	}
	return nil
}

// interrupted saves the state of the last step.
func (t *Trainer) interrupted(dir *checkpoint.Dir, ev Events) error {
	if last, err := checkpoint.Latest(t.Options.Out); err != nil || last.Step != t.State.Step {
		if err := t.save(dir, nil, ev); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w behind step %d of %d", ErrInterrupted, t.State.Step, t.Options.Steps)
}

// writeOptions keeps the merged options beside the checkpoints.
func (t *Trainer) writeOptions() error {
	data, err := t.Options.YAML()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(t.Options.Out, "config.yaml"), data, 0o666)
}

// FLOPs of a step by the model's own accounting.
func (t *Trainer) FLOPs() float64 {
	return model.Count(t.Model.Config, t.Options.Context).TrainFLOPs * float64(t.Options.Batch*t.Options.Context)
}
