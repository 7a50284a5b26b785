package infer_test

import (
	"runtime"
	"testing"

	"mor/internal/golden"
	"mor/internal/infer"
)

// TestSteadyDecodingDoesNotAllocate: no token needs an allocation of its own.
func TestSteadyDecodingDoesNotAllocate(t *testing.T) {
	tok := newTokenizer(t)
	for _, k := range golden.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			m := newTextModel(t, k.Name, tok)
			e := newEngine(t, m, tok, func(o *infer.EngineOptions) { o.PageSize = 64 })
			prompt := golden.Sequences(m.Config, 5)[0]
			allocations := func(n int) uint64 {
				o := greedily(n)
				o.LogProbs, o.MinTokens = true, n
				best := ^uint64(0)
				for range 5 {
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					collectCount(t, e, prompt, o, n)
					runtime.ReadMemStats(&after)
					best = min(best, after.Mallocs-before.Mallocs)
				}
				return best
			}
			allocations(50)
			few, many := allocations(10), allocations(50)
			if many > few+20 { // characters that several tokens make up, and buffers that double
				t.Errorf("%d allocations for 10 tokens, %d for 50", few, many)
			}
		})
	}
}

// collectCount receives a text of n tokens without keeping it.
func collectCount(t *testing.T, e *infer.Engine, prompt []int32, o infer.Options, n int) {
	got := 0
	for _, err := range submit(t, e, prompt, o).Tokens() {
		if err != nil {
			t.Fatal(err)
		}
		got++
	}
	if got != n {
		t.Errorf("%d tokens, want %d", got, n)
	}
}
