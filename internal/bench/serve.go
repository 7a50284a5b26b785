package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"mor/internal/infer"
	"mor/internal/model"
	"mor/internal/token"
)

// Throughput is a queue of requests served by an engine, measured.
type Throughput struct {
	Name         string         `json:"name"`
	Schedule     infer.Schedule `json:"schedule"`
	Routing      string         `json:"routing,omitempty"` // of an expert-choice model: causal
	Batch        int            `json:"batch"`
	Requests     int            `json:"requests"`
	PromptTokens uint64         `json:"prompt_tokens"`
	Tokens       uint64         `json:"tokens"` // generated
	Seconds      float64        `json:"seconds"`
	TokensPerS   float64        `json:"tokens_per_s"` // generated, the time for prompts included
	MeanDepth    float64        `json:"mean_depth"`
	RowsPerPass  float64        `json:"rows_per_pass"`
	FLOPs        float64        `json:"flops_per_token"` // of a row at the depths that were taken
	FullFLOPs    float64        `json:"full_flops_per_token"`
	Gain         float64        `json:"gain"`  // of tokens a second, against sequence-wise
	Bound        float64        `json:"bound"` // of the gain: FLOPs at full depth over FLOPs
	CacheBytes   int64          `json:"kv_bytes_per_token"`
	PeakMemory   int64          `json:"peak_memory"`
}

// Load is a queue of requests: texts of random length behind random prompts.
type Load struct {
	Requests, Batch, Prompt int
	Mean, Deviation         float64 // of the tokens that a request generates
	Seed                    uint64
}

// request is the i-th one.
func (l *Load) request(i, vocab, limit int) infer.Request {
	rng := rand.New(rand.NewPCG(l.Seed, uint64(i)))
	prompt := make([]int32, l.Prompt)
	for j := range prompt {
		prompt[j] = rng.Int32N(int32(vocab))
	}
	n := int(l.Mean + l.Deviation*rng.NormFloat64())
	o := infer.Options{Sampling: infer.Sampling{Temperature: 1, TopP: 1, RepetitionPenalty: 1, Seed: uint64(i)}, MaxTokens: min(max(n, 1), limit-l.Prompt)}
	return infer.Request{Prompt: prompt, Options: o}
}

// Serve measures an engine of the given schedule under a load that fills its places from a queue.
func Serve(ctx context.Context, m *model.Model, schedule infer.Schedule, l *Load) (Throughput, error) {
	tok, err := anyTokenizer(m.Config.VocabSize)
	if err != nil {
		return Throughput{}, err
	}
	o := infer.DefaultEngineOptions()
	o.Schedule, o.MaxRunning, o.MaxWaiting, o.PrefixReuse, o.CacheBytes = schedule, l.Batch, l.Requests, false, 1<<40
	e, err := infer.NewEngine(m, tok, o)
	if err != nil {
		return Throughput{}, err
	}
	defer e.Close()
	started, bytes, length := time.Now(), int64(0), 0
	var streams []*infer.Stream
	for i := range l.Requests {
		r := l.request(i, m.Config.VocabSize, m.Config.MaxPositionEmbeddings)
		s, err := e.Submit(ctx, &r)
		if err != nil {
			return Throughput{}, err
		}
		streams = append(streams, s)
	}
	for _, s := range streams {
		r, err := s.Result()
		if err != nil {
			return Throughput{}, err
		}
		bytes, length = bytes+r.CacheBytes, length+r.PromptTokens+r.Tokens
	}
	t := Throughput{Schedule: schedule, Batch: l.Batch, Requests: l.Requests, Seconds: time.Since(started).Seconds(), CacheBytes: bytes / int64(length)}
	if m.Config.Expert() {
		t.Routing = model.Causal.String()
	}
	st := e.Stats()
	t.PromptTokens, t.Tokens, t.TokensPerS = st.PromptTokens, st.GeneratedTokens, float64(st.GeneratedTokens)/t.Seconds
	t.RowsPerPass = float64(st.Rows) / float64(max(st.Passes, 1))
	return t, t.count(m.Config, st.Depths, length/l.Requests)
}

// count fills in depths and FLOPs.
func (t *Throughput) count(c *model.Config, depths []uint64, length int) error {
	shares := make([]float64, len(c.Shares()))
	total, sum := 0.0, 0.0
	for d, n := range depths {
		total += float64(n)
		sum += float64(d) * float64(n)
		for r := range min(d, len(shares)) {
			shares[r] += float64(n)
		}
	}
	t.MeanDepth = sum / total
	full := make([]float64, len(shares))
	for r := range shares {
		shares[r] /= total
		full[r] = 1
	}
	actual, err := model.CountShares(c, max(length, 1), shares)
	if err != nil {
		return err
	}
	whole, err := model.CountShares(c, max(length, 1), full)
	if err != nil {
		return err
	}
	t.FLOPs, t.FullFLOPs = actual.ForwardFLOPs, whole.ForwardFLOPs
	t.Bound = t.FullFLOPs / t.FLOPs
	return nil
}

// anyTokenizer has as many tokens as a model, none of which ends a text.
func anyTokenizer(vocab int) (*token.Tokenizer, error) {
	v := token.Vocab{Tokens: make([]string, vocab), Pre: "gpt-2"}
	for i := range v.Tokens {
		v.Tokens[i] = fmt.Sprintf("t%d", i)
	}
	return token.New(v)
}

// SetDepth sets the thresholds of an expert-choice model with threshold_rate so that on random texts of a length its mean depth is about the given one:
// shares that fall evenly go on from recursion to recursion.
func SetDepth(m *model.Model, mean float64, length int) error {
	c := m.Config
	n := c.Recursions()
	thresholds, ok := m.Layout.Tensor("model.router_thresholds")
	if !ok || n < 2 || !(mean > 0 && mean <= float64(n)) {
		return fmt.Errorf("mean depth %v: expected above 0, up to %d, and an expert-choice model", mean, n)
	}
	step := 2 * (float64(n) - mean) / float64(n*(n-1))
	cut := thresholds.Of(m.W)
	clear(cut)
	rng := rand.New(rand.NewPCG(3, 4))
	var rows [][]int32
	for range (1024 + length - 1) / length {
		row := make([]int32, min(length, c.MaxPositionEmbeddings))
		for i := range row {
			row[i] = rng.Int32N(int32(c.VocabSize))
		}
		rows = append(rows, row)
	}
	b, tape := model.NewBatch(rows...), m.NewTape()
	for r := range n {
		if err := m.Forward(tape, b, model.Mode{}, false); err != nil {
			return err
		}
		scores := slices.Sorted(slices.Values(tape.Routed(r).Logits))
		want := int((1 - step*float64(r)) * float64(b.Rows())) // that go on
		switch {
		case want >= len(scores):
			cut[r] = scores[0] - 1
		case want < 1:
			cut[r] = scores[len(scores)-1]
		default:
			cut[r] = scores[len(scores)-want-1]
		}
	}
	return nil
}

// Decode is prompt and decoding speed at one batch size.
type Decode struct {
	Batch      int     `json:"batch"`
	Prompt     int     `json:"prompt"`
	Tokens     int     `json:"tokens"`                // generated by each text
	PromptTime Spread  `json:"prompt_time"`           // until the last text has its first token
	Time       Spread  `json:"time"`                  // from then on
	PromptPerS float64 `json:"prompt_tokens_per_s"`   // of the median repetition
	PerS       float64 `json:"tokens_per_s"`          // of all texts together
	MeanDepth  float64 `json:"mean_depth"`            // of the generated tokens
	Routing    string  `json:"routing,omitempty"`     // of an expert-choice model: causal
	PeakMemory int64   `json:"peak_memory,omitempty"` // bytes, of the process so far
}

// MeasureDecode has batch texts of random prompts generate so many tokens each at once, the likeliest ones, repetitions times.
func MeasureDecode(ctx context.Context, m *model.Model, tok *token.Tokenizer, d Decode, repetitions int) (Decode, error) {
	if tok == nil {
		var err error
		if tok, err = anyTokenizer(m.Config.VocabSize); err != nil {
			return d, err
		}
	}
	o := infer.DefaultEngineOptions()
	o.MaxRunning, o.PrefixReuse, o.TokenBudget, o.CacheBytes = d.Batch, false, max(512, d.Batch), 1<<40
	e, err := infer.NewEngine(m, tok, o)
	if err != nil {
		return d, err
	}
	defer e.Close()
	if m.Config.Expert() {
		d.Routing = model.Causal.String()
	}
	var prompts, times, rates []float64
	for rep := range repetitions + 1 {
		p, t, late, err := d.once(ctx, e, m.Config.VocabSize, uint64(rep))
		if err != nil {
			return d, err
		}
		if rep > 0 { // the first one warms up
			prompts, times, rates = append(prompts, p), append(times, t), append(rates, float64(late)/t)
		}
	}
	d.PromptTime, d.Time = spread(prompts), spread(times)
	d.PromptPerS, d.PerS = float64(d.Batch*d.Prompt)/d.PromptTime.Median, spread(rates).Median
	return d, nil
}

// once measures one repetition: the seconds until the last text has its first token, those from then on, and the tokens that came in them.
func (d *Decode) once(ctx context.Context, e *infer.Engine, vocab int, seed uint64) (prompt, rest float64, late int, err error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	l := Load{Prompt: d.Prompt, Mean: float64(d.Tokens), Seed: seed}
	started, first, depth := time.Now(), time.Duration(0), 0.0
	came := make([]time.Duration, d.Batch*d.Tokens)
	for i := range d.Batch {
		r := l.request(i, vocab, d.Prompt+d.Tokens)
		r.MinTokens, r.Temperature = r.MaxTokens, 0 // choosing costs as little as it can
		s, e := e.Submit(ctx, &r)
		if e != nil {
			return 0, 0, 0, e
		}
		wg.Go(func() {
			at := i * d.Tokens
			for range s.Tokens() { // as a client would
				came[at] = time.Since(started)
				at++
			}
			r, e := s.Result()
			mu.Lock()
			defer mu.Unlock()
			first = max(first, r.Queued+r.Prefill)
			depth += r.MeanDepth / float64(d.Batch)
			if e != nil {
				err = e
			}
		})
	}
	wg.Wait()
	all := time.Since(started)
	d.MeanDepth = depth
	for _, at := range came {
		if at > first {
			late++
		}
	}
	return first.Seconds(), (all - first).Seconds(), late, err
}
