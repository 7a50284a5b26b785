package infer_test

import (
	"context"
	"errors"
	"testing"

	"mor/internal/infer"
	"mor/internal/kernel"
	"mor/internal/model"
)

// newStepped is newEngine for an engine that ticks when it is told to.
func newStepped(t *testing.T, m *model.Model, change func(*infer.EngineOptions)) *infer.Stepped {
	t.Helper()
	o := infer.DefaultEngineOptions()
	change(&o)
	e, err := infer.NewStepped(m, newTokenizer(t), o)
	if err != nil {
		t.Fatal(err)
	}
	watch(t, e.Engine, e.Run)
	return e
}

// roomFor is the memory of so many texts of a model's longest.
func roomFor(m *model.Model, o *infer.EngineOptions, texts float64) int64 {
	c := m.Config
	pages := float64(m.Plan.Slots*((c.MaxPositionEmbeddings+o.PageSize-1)/o.PageSize)) * texts
	return int64(pages) * kernel.PageBytes(o.PageSize, o.CacheFormat, kernel.Heads{H: c.NumAttentionHeads, K: c.NumKeyValueHeads, E: c.HeadDim})
}

// TestCancelledInEveryPhase: the tick behind a cancellation frees all that the request held, wherever it was, and nothing of another; the other text is the same.
func TestCancelledInEveryPhase(t *testing.T) {
	const long = "the quick brown fox jumps"
	all, recursive := []string{"vanilla", "expert", "token_kv_sharing"}, []string{"expert", "token_kv_sharing"}
	for _, c := range []struct {
		phase  string
		kinds  []string // that come to it
		prompt string
		change func(m *model.Model, o *infer.EngineOptions)
		ask    func(o *infer.Options)
	}{
		{"waiting", all, "the", func(_ *model.Model, o *infer.EngineOptions) { o.MaxRunning = 1 }, nil},
		{"beginning of the prompt", recursive, long, chunks, nil},
		{"middle of the prompt", all, long, chunks, nil},
		{"decoding", all, "the", nil, nil},
		{"decoding", all, "the", nil, func(o *infer.Options) { o.N, o.Temperature = 3, 1 }},
		{"draft", recursive, "the", nil, func(o *infer.Options) { o.Speculate = 3 }},
		{"guesses are read", recursive, "the", nil, func(o *infer.Options) { o.Speculate = 3 }},
		{"preempted", all, "the", func(m *model.Model, o *infer.EngineOptions) { o.CacheBytes = roomFor(m, o, 0.6) }, func(o *infer.Options) { o.N, o.Temperature = 3, 1 }},
	} {
		for _, kind := range c.kinds {
			t.Run(c.phase+" of "+kind, func(t *testing.T) {
				m := newTextModel(t, kind, newTokenizer(t))
				change := func(o *infer.EngineOptions) {
					o.CacheFormat, o.PageSize = kernel.PageFP32, 4
					if c.change != nil {
						c.change(m, o)
					}
				}
				other, o := greedily(0), greedily(0)
				want := alone(t, m, "the", other, change)
				e := newStepped(t, m, change)
				if c.ask != nil {
					c.ask(&o)
				}
				kept := submit(t, e.Engine, encode(t, e.Engine, "the"), other)
				for range 2 {
					e.Step()
				}
				ctx, cancel := context.WithCancel(t.Context())
				broken, err := e.Submit(ctx, &infer.Request{Prompt: encode(t, e.Engine, c.prompt), Options: o})
				if err != nil {
					t.Fatal(err)
				}
				for n := 0; e.Phase(broken) != c.phase; n++ {
					if n > 1000 || !e.Step() {
						t.Fatalf("the request never came to this phase; it is in %q", e.Phase(broken))
					}
				}
				before, _ := e.Held()
				cancel()
				e.Step()
				select {
				case <-broken.Done():
				default:
					t.Error("the request has not ended in the tick behind its cancellation")
				}
				if err := e.Audit(); err != nil {
					t.Error(err)
				}
				if after, _ := e.Held(); c.phase != "waiting" && c.phase != "preempted" && c.phase != "beginning of the prompt" && after > before {
					t.Errorf("%d pages were held before the cancellation, %d behind it", before, after)
				}
				e.Run()
				if _, err := broken.Result(); !errors.Is(err, context.Canceled) {
					t.Errorf("ended with %v", err)
				}
				if got, _, _ := receive(t, kept); !sameTokens(got, want) {
					t.Error("the other text differs")
				}
			})
		}
	}
}

// chunks has prompts read four tokens a tick.
func chunks(_ *model.Model, o *infer.EngineOptions) { o.TokenBudget, o.LongPrefill = 4, 1000 }

// alone is a text on an engine of its own.
func alone(t *testing.T, m *model.Model, prompt string, o infer.Options, change func(*infer.EngineOptions)) []infer.Token {
	t.Helper()
	e := newEngine(t, m, newTokenizer(t), change)
	tokens, _, _ := collect(t, e, encode(t, e, prompt), o)
	e.Close()
	return tokens
}

// TestTooLongHoldsNothing: a prompt that cannot fit is refused before it waits, and holds no page and no seat.
func TestTooLongHoldsNothing(t *testing.T) {
	m := newTextModel(t, "expert", newTokenizer(t))
	e := newStepped(t, m, func(o *infer.EngineOptions) {
		o.CacheFormat, o.PageSize = kernel.PageFP32, 4
		o.CacheBytes = roomFor(m, o, 0.5)
	})
	limits := map[string]int{"cache_bytes": m.Config.MaxPositionEmbeddings - 1, "max_position_embeddings": m.Config.MaxPositionEmbeddings}
	for name, n := range limits {
		var long *infer.TooLongError
		_, err := e.Submit(t.Context(), &infer.Request{Prompt: make([]int32, n), Options: greedily(1)})
		if !errors.As(err, &long) || long.Name != name || long.PromptTokens != n || long.Limit > n {
			t.Errorf("%d tokens: %v, expected a refusal for %s", n, err, name)
		}
		if e.Step() {
			t.Errorf("%d tokens: the engine has something to do", n)
		}
		if pages, seats := e.Held(); pages != 0 || seats != 0 {
			t.Errorf("%d tokens: %d pages and %d seats are held", n, pages, seats)
		}
	}
	if s := e.Stats(); s.Waiting != 0 || s.WaitingTokens != 0 || s.Rejected["too_long"] != 2 {
		t.Errorf("%+v", s)
	}
	e.Run()
}
