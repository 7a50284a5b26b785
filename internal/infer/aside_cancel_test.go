package infer_test

import (
	"context"
	"iter"
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
	tok := newTokenizer(t)
	for _, kind := range []string{"vanilla", "expert", "token_kv_sharing"} {
		e := newEngine(t, newTextModel(t, kind, tok), tok, func(o *infer.EngineOptions) { o.LongPrefill, o.PageSize = 4, 4 })
		short, long := encode(t, e, "th"), encode(t, e, "the quick brown fox jumps")
		want, _, _ := collect(t, e, short, greedily(30))
		if len(short) > 4 || len(long) <= 4 {
			t.Fatalf("prompts of %d and %d tokens: expected one below and one above the threshold", len(short), len(long))
		}
		for after := range int32(10) {
			next, stop := iter.Pull2(submit(t, e, short, greedily(30)).Tokens())
			first, _, _ := next() // it decodes now
			got := []infer.Token{first}
			ctx := &endingAfter{Context: t.Context()}
			ctx.n.Store(after)
			broken, err := e.Submit(ctx, &infer.Request{Prompt: long, Options: greedily(4)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := broken.Result(); err == nil && after < 4 {
				t.Errorf("%s: ended well although it was cancelled in tick %d", kind, after)
			}
			for tk, err, ok := next(); ok && err == nil; tk, err, ok = next() {
				got = append(got, tk)
			}
			stop()
			if !sameTokens(got, want) {
				t.Errorf("%s: cancelled in tick %d: the other text differs", kind, after)
			}
		}
		if e.Stats().ReadAside == 0 {
			t.Errorf("%s: nothing was read aside", kind)
		}
	}
}
