package bench

import (
	"context"
	"math/rand/v2"
	"time"

	"mor/internal/infer"
	"mor/internal/model"
)

// Throughput is a queue of requests served by an engine, measured.
type Throughput struct {
	Name         string         `json:"name"`
	Loss         *Loss          `json:"loss,omitempty"` // of a model whose training is on record
	Schedule     infer.Schedule `json:"schedule"`
	Routing      string         `json:"routing,omitempty"` // of an expert-choice model: causal
	Batch        int            `json:"batch"`
	Requests     int            `json:"requests"`
	PromptTokens uint64         `json:"prompt_tokens"`
	Tokens       uint64         `json:"tokens"` // generated
	Seconds      float64        `json:"seconds"`
	TokensPerS   float64        `json:"tokens_per_s"` // generated, the time for prompts included
	Recursions   int            `json:"num_recursion"`
	MeanDepth    float64        `json:"mean_depth"`
	RowsPerPass  float64        `json:"rows_per_pass"`
	FLOPs        float64        `json:"flops_per_token"` // of a row at the depths that were taken
	FullFLOPs    float64        `json:"full_flops_per_token"`
	Gain         float64        `json:"gain,omitempty"`       // of tokens a second, against the same model sequence-wise
	Bound        float64        `json:"bound"`                // of the gain: FLOPs at full depth over FLOPs
	OverFirst    float64        `json:"over_first,omitempty"` // tokens a second over those of the first run
	CacheBytes   int64          `json:"kv_bytes_per_token"`
	TextBytes    int64          `json:"kv_bytes_per_text"` // of a whole text, on average
	WeightBytes  int64          `json:"weight_bytes"`
	PeakMemory   int64          `json:"peak_memory"` // of the process so far
}

// Loss is what a model's training measured at its end.
type Loss struct {
	Value   float64 `json:"value"` // nats a token of held-out text
	Routing string  `json:"routing"`
}

// Equal is the load of the largest batch with which weights, and keys and values of whole texts, take no more than those of the other run. It is ok
// where that is at least one text.
func (t *Throughput) Equal(other *Throughput, l Load) (_ Load, ok bool) {
	l.CacheBytes = other.WeightBytes + int64(other.Batch)*other.TextBytes - t.WeightBytes
	l.Batch = int(min(l.CacheBytes/max(t.TextBytes, 1), int64(l.Requests)))
	return l, l.Batch > 0
}

// Load is a queue of requests: texts of random length behind random prompts.
type Load struct {
	Requests, Batch, Prompt int
	Mean, Deviation         float64 // of the tokens that a request generates
	Seed                    uint64
	CacheBytes              int64 // bound of all keys and values; 0: none
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

// engine returns an engine with a place for each text of a batch.
func (l *Load) engine(m *model.Model, schedule infer.Schedule) (*infer.Engine, error) {
	return newEngine(m, nil, func(o *infer.EngineOptions) {
		o.Schedule, o.MaxRunning, o.MaxWaiting, o.TokenBudget = schedule, l.Batch, l.Requests, max(o.TokenBudget, l.Batch)
		if l.CacheBytes > 0 {
			o.CacheBytes = l.CacheBytes
		}
	})
}

// submit queues all requests.
func (l *Load) submit(ctx context.Context, e *infer.Engine, c *model.Config, scores bool) ([]*infer.Stream, error) {
	var streams []*infer.Stream
	for i := range l.Requests {
		r := l.request(i, c.VocabSize, c.MaxPositionEmbeddings)
		r.RouterScores = scores
		s, err := e.Submit(ctx, &r)
		if err != nil {
			return nil, err
		}
		streams = append(streams, s)
	}
	return streams, nil
}

// Serve measures an engine of the given schedule under a load that fills its places from a queue. said is told how many requests have ended.
func Serve(ctx context.Context, m *model.Model, schedule infer.Schedule, l *Load, said func(done, total int)) (Throughput, error) {
	e, err := l.engine(m, schedule)
	if err != nil {
		return Throughput{}, err
	}
	defer e.Close()
	started, bytes, length := time.Now(), int64(0), 0
	streams, err := l.submit(ctx, e, m.Config, false)
	if err != nil {
		return Throughput{}, err
	}
	for i, s := range streams {
		r, err := s.Result()
		if err != nil {
			return Throughput{}, err
		}
		bytes, length = bytes+r.CacheBytes, length+r.PromptTokens+r.Tokens
		said(i+1, len(streams))
	}
	t := Throughput{Schedule: schedule, Batch: l.Batch, Requests: l.Requests, Seconds: time.Since(started).Seconds(), Recursions: m.Config.Recursions(),
		CacheBytes: bytes / int64(length), TextBytes: bytes / int64(l.Requests), WeightBytes: m.WeightBytes()}
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
