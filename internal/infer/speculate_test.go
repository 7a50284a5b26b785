package infer_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"mor/internal/infer"
	"mor/internal/model"
)

// TestSpeculationDoesNotShow: with penalties, stop strings, a pattern, several texts and router scores, a request gets what it gets without guesses.
func TestSpeculationDoesNotShow(t *testing.T) {
	tok := newTokenizer(t)
	for _, kind := range []string{"expert", "token", "expert_kv_sharing"} {
		m := newTextModel(t, kind, tok)
		e := newEngine(t, m, tok, func(o *infer.EngineOptions) { o.PageSize = 4 })
		prompt := encode(t, e, "the quick brown fox")
		accepted := 0
		for name, edit := range map[string]func(*infer.Options){
			"greedy":    func(*infer.Options) {},
			"sampled":   func(o *infer.Options) { o.Temperature, o.TopP, o.N = 1, 0.9, 3 },
			"typical":   func(o *infer.Options) { o.Temperature, o.TypicalP, o.MinP = 2, 0.8, 0.01 },
			"penalties": func(o *infer.Options) { o.RepetitionPenalty, o.PresencePenalty, o.FrequencyPenalty = 1.3, 0.5, 0.5 },
			"stop":      func(o *infer.Options) { o.Stop, o.MinTokens = []string{"e", "o", "th"}, 5 },
			"pattern":   func(o *infer.Options) { o.Regexp = "([a-f]{2} ){4}[0-9]+x" },
			"scores":    func(o *infer.Options) { o.RouterScores, o.TopLogProbs, o.Temperature = true, 3, 1 },
			"context":   func(o *infer.Options) { o.MaxTokens = 0 },
		} {
			o := greedily(24)
			edit(&o)
			want, text, w := collect(t, e, prompt, o)
			o.Speculate = 4
			got, again, r := collect(t, e, prompt, o)
			byText := func(a, b infer.Token) int { return a.Index - b.Index }
			slices.SortStableFunc(want, byText)
			slices.SortStableFunc(got, byText)
			same := sameTokens(got, want) && slices.EqualFunc(got, want, func(a, b infer.Token) bool { return slices.Equal(a.Scores, b.Scores) && slices.Equal(a.Top, b.Top) })
			if !same || o.N == 0 && again != text || !slices.Equal(r.Choices, w.Choices) || r.MeanDepth != w.MeanDepth {
				t.Errorf("%s, %s: %q %+v, want %q %+v", kind, name, again, r.Choices, text, w.Choices)
			}
			if w.Drafted != 0 || r.Accepted > r.Drafted || r.FLOPs <= w.FLOPs && r.Drafted > 0 {
				t.Errorf("%s, %s: %d of %d guesses, %g FLOPs; without %d, %g", kind, name, r.Accepted, r.Drafted, r.FLOPs, w.Drafted, w.FLOPs)
			}
			accepted += r.Accepted
		}
		if accepted == 0 {
			t.Errorf("%s: no guess held: the case tests nothing", kind)
		}
	}
}

// TestSpeculationKeepsTheDistribution: the first three tokens of many texts are distributed as the model says, by a chi-square test.
func TestSpeculationKeepsTheDistribution(t *testing.T) {
	const k, batches = 3, 24
	tok := newTokenizer(t)
	m := newTextModel(t, "expert", tok)
	e := newEngine(t, m, tok, func(o *infer.EngineOptions) { o.MaxRunning = 128 })
	prompt := encode(t, e, "the quick")
	want := distribution(t, m, prompt, k, 3)
	count, n, drafted, accepted := map[[3]int32]int{}, 0, 0, 0
	for batch := range batches {
		o := infer.DefaultOptions()
		o.Temperature, o.TopP, o.TopK, o.N, o.MaxTokens, o.MinTokens, o.Speculate, o.Seed = 1, 1, k, 128, 3, 3, 2, uint64(batch)
		tokens, _, r := collect(t, e, prompt, o)
		texts := make([][]int32, o.N)
		for _, tk := range tokens {
			texts[tk.Index] = append(texts[tk.Index], tk.ID)
		}
		for _, text := range texts {
			count[[3]int32(text)]++
			n++
		}
		drafted, accepted = drafted+r.Drafted, accepted+r.Accepted
	}
	if accepted == 0 || accepted == drafted {
		t.Errorf("%d guesses of %d held: the case tests nothing", accepted, drafted)
	}
	chi, cells, seen := 0.0, 0, 0
	for text, p := range want {
		expected := p * float64(n)
		chi += (float64(count[text]) - expected) * (float64(count[text]) - expected) / expected
		cells++
		seen += count[text]
	}
	free := float64(cells - 1)
	if limit := free + 4*math.Sqrt(2*free); chi > limit || seen != n {
		t.Errorf("chi-square %.1f with %d cells, expected at most %.1f; %d of %d texts are possible ones", chi, cells, limit, seen, n)
	}
}

// distribution is the probability of each text of n tokens behind a prompt, each among the best k.
func distribution(t *testing.T, m *model.Model, prompt []int32, k, n int) map[[3]int32]float64 {
	out := map[[3]int32]float64{}
	logits, tape := make([]float32, m.Config.VocabSize), m.NewTape()
	var walk func(text []int32, p float64)
	walk = func(text []int32, p float64) {
		if len(text) == n {
			out[[3]int32(text)] = p
			return
		}
		all := append(slices.Clone(prompt), text...)
		if err := m.Forward(tape, model.NewBatch(all), model.Mode{}, false); err != nil {
			t.Fatal(err)
		}
		m.Logits(logits, tape, len(all)-1, len(all))
		logits[0] = float32(math.Inf(-1)) // end of text, which min_tokens forbids
		_, best := infer.LogProbs(m.CPU(), logits, 1, k)
		sum := 0.0
		for _, b := range best {
			sum += math.Exp(b.LogProb)
		}
		for _, b := range best {
			walk(append(slices.Clone(text), b.ID), p*math.Exp(b.LogProb)/sum)
		}
	}
	walk(nil, 1)
	return out
}

func TestSpeculationIsRefused(t *testing.T) {
	tok := newTokenizer(t)
	for _, c := range []struct {
		kind, want string
		edit       func(*infer.Options)
	}{
		{"vanilla", "speculate: 2: expected 0: tokens are guessed with one recursion", func(o *infer.Options) { o.Speculate = 2 }},
		{"middle_sequence", "speculate: 2: tokens are guessed with one recursion: max_recursion: 1: middle_sequence sharing", func(o *infer.Options) { o.Speculate = 2 }},
		{"expert", "speculate: 2: expected 0:", func(o *infer.Options) { o.Speculate, o.MaxRecursion = 2, 1 }},
		{"expert", "speculate: 17: expected 1 to 16", func(o *infer.Options) { o.Speculate = 17 }},
		{"expert", "speculate: -1: expected 1 to 16", func(o *infer.Options) { o.Speculate = -1 }},
	} {
		e := newEngine(t, newTextModel(t, c.kind, tok), tok)
		o := greedily(3)
		c.edit(&o)
		_, err := e.Submit(t.Context(), &infer.Request{Prompt: []int32{1, 2}, Options: o})
		var option *infer.OptionError
		if !errors.As(err, &option) || option.Name != "speculate" || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", c.kind, err, c.want)
		}
	}
}

// TestCancelledWhileSpeculating: wherever a request is when its context ends, nothing of it is left, and a text beside it is the same.
func TestCancelledWhileSpeculating(t *testing.T) {
	tok := newTokenizer(t)
	e := newEngine(t, newTextModel(t, "expert", tok), tok, func(o *infer.EngineOptions) { o.PageSize = 4 })
	prompt := encode(t, e, "the")
	o := greedily(40)
	o.Speculate = 3
	want, _, _ := collect(t, e, prompt, o)
	for after := range 12 {
		ctx, cancel := context.WithCancel(t.Context())
		broken, err := e.Submit(ctx, &infer.Request{Prompt: prompt, Options: o})
		if err != nil {
			t.Fatal(err)
		}
		other := submit(t, e, prompt, o)
		n := 0
		for range broken.Tokens() {
			if n++; n > after {
				cancel()
			}
		}
		cancel()
		if got, _, _ := receive(t, other); !sameTokens(got, want) {
			t.Errorf("cancelled after %d: the other text differs", after)
		}
	}
}
