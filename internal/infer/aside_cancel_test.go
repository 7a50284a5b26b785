package infer_test

import (
	"context"
	"sync/atomic"
	"testing"

	"mor/internal/infer"
)

// endingAfter is a context that ends when it is asked for the n-th time, which the engine does once a tick.
type endingAfter struct {
	context.Context
	n atomic.Int32
}

func (c *endingAfter) Err() error {
	if c.n.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// TestCancelledWhileReadAside: wherever in its layers a prompt is when its context ends, nothing of it is left, and the text beside it is the same.
func TestCancelledWhileReadAside(t *testing.T) {
	for _, kind := range []string{"vanilla", "expert", "token_kv_sharing"} {
		change := func(o *infer.EngineOptions) { o.LongPrefill, o.PageSize = 4, 4 }
		m := newTextModel(t, kind, newTokenizer(t))
		want := alone(t, m, "th", greedily(30), change)
		e := newStepped(t, m, change)
		long := encode(t, e.Engine, "the quick brown fox jumps")
		if short := encode(t, e.Engine, "th"); len(short) > 4 || len(long) <= 4 {
			t.Fatalf("prompts of %d and %d tokens: expected one below and one above the threshold", len(short), len(long))
		}
		for after := range int32(10) {
			other := submit(t, e.Engine, encode(t, e.Engine, "th"), greedily(30))
			for e.Step(); e.Phase(other) != "decoding"; e.Step() {
			}
			ctx := &endingAfter{Context: t.Context()}
			ctx.n.Store(after)
			broken, err := e.Submit(ctx, &infer.Request{Prompt: long, Options: greedily(4)})
			if err != nil {
				t.Fatal(err)
			}
			for e.Step() {
				if err := e.Audit(); err != nil {
					t.Fatalf("%s: cancelled in tick %d: %v", kind, after, err)
				}
			}
			if _, err := broken.Result(); err == nil && after < 4 {
				t.Errorf("%s: ended well although it was cancelled in tick %d", kind, after)
			}
			if got, _, _ := receive(t, other); !sameTokens(got, want) {
				t.Errorf("%s: cancelled in tick %d: the other text differs", kind, after)
			}
		}
		if e.Stats().ReadAside == 0 {
			t.Errorf("%s: nothing was read aside", kind)
		}
	}
}
