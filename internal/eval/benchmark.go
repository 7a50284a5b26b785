package eval

import (
	"context"
	"fmt"
	"math"
	"slices"

	"mor/internal/model"
	"mor/internal/token"
)

// TaskOptions say what of a task is measured and how.
type TaskOptions struct {
	DataDir     string // folder of the task's JSONL files
	Limit       int    // items, of each subject where there are subjects; 0: all
	NumFewshot  int    // examples before each item
	Context     int    // tokens that the model reads at most: of longer requests the beginning is cut off
	BatchTokens int    // rows computed at once, about; the result does not depend on it
	Mode        model.Mode
	Out         string                  // folder for results and items, from which a run goes on; "" for none
	Model       string                  // what tells the model from others: a run of another one is not gone on with
	Progress    func(done, total int64) // items; may be nil
}

// TaskResult is a task's scores under one routing.
type TaskResult struct {
	Task         string            `json:"task"`
	Routing      string            `json:"routing"` // causal or topk
	MaxRecursion int               `json:"max_recursion"`
	Threshold    float64           `json:"router_threshold"`
	NumFewshot   int               `json:"num_fewshot"`
	Context      int               `json:"context"`
	Items        int               `json:"items"`
	Metrics      map[string]Metric `json:"metrics"`
	Subjects     []Subject         `json:"subjects,omitempty"`
	Tokens       int64             `json:"tokens"` // read: those of every choice with its context
	MeanDepth    float64           `json:"mean_depth"`
	Histogram    []float64         `json:"depth_histogram"` // share of the tokens that took 0, 1, … recursions
	FLOPs        float64           `json:"flops_per_token"` // forward, at the measured shares and the mean length of a request
}

// Subject is a part of a task.
type Subject struct {
	Name    string            `json:"name"`
	Items   int               `json:"items"`
	Metrics map[string]Metric `json:"metrics"`
}

// RunTask measures a task. With Out, an interrupted run goes on where it was: items that were done are not computed again.
func RunTask(ctx context.Context, m *model.Model, tok *token.Tokenizer, task *Task, o TaskOptions) (*TaskResult, error) {
	o.Mode = effective(m.Config, o.Mode)
	items, err := task.Load(o.DataDir, o.NumFewshot, o.Limit)
	if err != nil {
		return nil, err
	}
	log, err := openItems(m, tok, task, &o, items)
	if err != nil {
		return nil, err
	}
	defer log.close()
	run := &taskRun{task: task, o: &o, log: log, scorer: newScorer(m, o.Mode), pairs: pairs{tok: tok, limit: o.Context}, total: len(items)}
	if err := run.all(ctx, items); err != nil {
		return nil, err
	}
	r, err := task.result(m.Config, log.sorted(), &o)
	if err != nil {
		return nil, err
	}
	return r, log.finish(r)
}

// effective names what the zero values of a mode stand for.
func effective(c *model.Config, mode model.Mode) model.Mode {
	if mode.MaxRecursion == 0 {
		mode.MaxRecursion = c.Recursions()
	}
	if !c.Expert() {
		mode.Routing = model.Causal
	} else if mode.Routing == model.Causal && mode.Threshold == 0 {
		mode.Threshold = 0.5
	}
	return mode
}

// taskRun computes the items that the log lacks.
type taskRun struct {
	task     *Task
	o        *TaskOptions
	log      *itemLog
	scorer   *scorer
	pairs    pairs
	total    int
	batch    []Item
	requests []request
	last     []int32 // tokens of the request before
	rows     int     // of the batch, about
	entries  int     // keys that the batch lays out at most
}

func (t *taskRun) all(ctx context.Context, items []Item) error {
	t.progress()
	for _, it := range items {
		if t.log.has(it.Index) {
			continue
		}
		if err := t.add(it); err != nil {
			return fmt.Errorf("%s: item %d: %w", t.task.Name, it.Index, err)
		}
		if t.rows < t.o.BatchTokens && t.entries < 8*t.o.BatchTokens {
			continue
		}
		if err := t.flush(ctx); err != nil {
			return err
		}
	}
	return t.flush(ctx)
}

// add encodes the requests of an item.
func (t *taskRun) add(it Item) error {
	t.batch = append(t.batch, it)
	for c := range it.Choices() {
		r, err := t.pairs.encode(it.Prefix+it.Context(c), it.Continuation(c))
		if err != nil {
			return err
		}
		t.requests = append(t.requests, r)
		t.rows += len(r.tokens) - common(t.last, r.tokens)
		t.entries += len(r.tokens)
		t.last = r.tokens
	}
	return nil
}

// flush computes the batch.
func (t *taskRun) flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %d of %d items are done%s: %w", t.task.Name, t.log.count(), t.total, t.log.where(), err)
	}
	if len(t.batch) == 0 {
		return nil
	}
	scores, err := t.scorer.score(t.requests)
	if err != nil {
		return err
	}
	for _, it := range t.batch {
		n := it.Choices()
		if err := t.log.add(t.task.record(it, scores[:n])); err != nil {
			return err
		}
		scores = scores[n:]
	}
	t.batch, t.requests, t.last, t.rows, t.entries = t.batch[:0], t.requests[:0], nil, 0, 0
	t.progress()
	return t.log.flush()
}

func (t *taskRun) progress() {
	if t.o.Progress != nil {
		t.o.Progress(int64(t.log.count()), int64(t.total))
	}
}

// result gathers the items.
func (t *Task) result(c *model.Config, records []Record, o *TaskOptions) (*TaskResult, error) {
	r := &TaskResult{Task: t.Name, Routing: o.Mode.Routing.String(), MaxRecursion: o.Mode.MaxRecursion, Threshold: o.Mode.Threshold, NumFewshot: o.NumFewshot,
		Context: o.Context, Items: len(records), Metrics: t.metrics(records), Subjects: t.subjects(records)}
	requests := 0
	depths := make([]int64, c.Recursions()+1)
	for i := range records {
		requests += len(records[i].LogProbs)
		for d, n := range records[i].Depths {
			depths[d] += n
			r.Tokens += n
		}
	}
	for d, n := range depths {
		share := float64(n) / float64(r.Tokens)
		r.Histogram = append(r.Histogram, share)
		r.MeanDepth += float64(d) * share
	}
	var err error
	r.FLOPs, err = flopsPerToken(c, max(1, int(math.Round(float64(r.Tokens)/float64(requests)))), r.Histogram)
	return r, err
}

// subjects breaks the records down, in the order of the file.
func (t *Task) subjects(records []Record) []Subject {
	var out []Subject
	for len(records) > 0 && records[0].Subject != "" {
		name := records[0].Subject
		var part, rest []Record
		for _, r := range records {
			if r.Subject == name {
				part = append(part, r)
			} else {
				rest = append(rest, r)
			}
		}
		out = append(out, Subject{name, len(part), t.metrics(part)})
		records = rest
	}
	return slices.Clip(out)
}

// sharesOf is the share of the tokens that ran each recursion, from the share of each depth.
func sharesOf(histogram []float64) []float64 {
	out := make([]float64, len(histogram)-1)
	for r := range out {
		for _, f := range histogram[r+1:] {
			out[r] += f
		}
		out[r] = min(out[r], 1)
	}
	return out
}

// flopsPerToken is what a token costs forward at measured depths.
func flopsPerToken(c *model.Config, context int, histogram []float64) (float64, error) {
	if c.Recursion == nil {
		return model.Count(c, context).ForwardFLOPs, nil
	}
	cost, err := model.CountShares(c, context, sharesOf(histogram))
	if err != nil {
		return 0, err
	}
	return cost.ForwardFLOPs, nil
}
