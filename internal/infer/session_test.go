package infer_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"mor/internal/infer"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/token"
)

const sample = "the quick brown fox jumps over the lazy dog; the other dog sleeps. func main() { fmt.Println(\"über, naïve 世界\") }\n"

// newSession returns a session with a trained tokenizer and a model with an untied head for it.
func newSession(t testing.TB) (*infer.Session, *model.Model, *token.Tokenizer) {
	texts := slices.Values([][]byte{[]byte(strings.Repeat(sample, 5))})
	tok, err := token.Train(t.Context(), texts, token.TrainOptions{VocabSize: 300, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	c := *kindNamed(t, "expert")
	c.VocabSize, c.TieWordEmbeddings = tok.VocabSize(), false
	levels := kernel.Levels()
	m := newModel(t, &c, levels[len(levels)-1])
	s, err := infer.NewSession(m, tok)
	if err != nil {
		t.Fatal(err)
	}
	return s, m, tok
}

func greedily(max int) infer.Options {
	return infer.Options{Sampling: infer.Sampling{TopP: 1, RepetitionPenalty: 1}, MaxTokens: max, LogProbs: true}
}

func collect(t testing.TB, s *infer.Session, prompt []int32, o infer.Options) (tokens []infer.Token, text string) {
	t.Helper()
	for tok, err := range s.Generate(t.Context(), prompt, o) {
		if err != nil {
			t.Fatal(err)
		}
		tokens, text = append(tokens, tok), text+tok.Text
	}
	return tokens, text
}

func encode(t testing.TB, s *infer.Session, prompt string) []int32 {
	t.Helper()
	ids, err := s.Encode(prompt)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// TestGenerate compares every field of every token with a full recomputation of the text.
func TestGenerate(t *testing.T) {
	s, m, tok := newSession(t)
	prompt := encode(t, s, "the quick 世")
	tokens, text := collect(t, s, prompt, greedily(20))
	r := *s.Result()
	ids := slices.Clone(prompt)
	for _, tk := range tokens {
		ids = append(ids, tk.ID)
	}
	if want := tok.Decode(ids[len(prompt):]); text != want {
		t.Errorf("text %q, want %q", text, want)
	}
	if r.Tokens != 20 || len(tokens) != 20 || r.Finish != infer.FinishLength {
		t.Errorf("%d tokens, %d delivered, finish %q", r.Tokens, len(tokens), r.Finish)
	}
	tape := m.NewTape()
	if err := m.Forward(tape, model.NewBatch(ids), model.Mode{}, false); err != nil {
		t.Fatal(err)
	}
	v := m.Config.VocabSize
	logits := make([]float32, len(ids)*v)
	m.Logits(logits, tape, 0, len(ids))
	sum := 0
	for i, tk := range append(slices.Clone(r.Prompt), tokens...) {
		if tk.Depth != int(tape.Depth[i]) || tk.ID != ids[i] {
			t.Errorf("token %d: id %d, depth %d, want %d, %d", i, tk.ID, tk.Depth, ids[i], tape.Depth[i])
		}
		if i < len(prompt) {
			continue
		}
		sum += tk.Depth
		row := logits[(i-1)*v : i*v]
		if best := argmax(row); best != tk.ID {
			t.Errorf("token %d is %d, the best is %d", i, tk.ID, best)
		}
		lse := 0.0
		for _, x := range row {
			lse += math.Exp(float64(x))
		}
		if want := float64(row[tk.ID]) - math.Log(lse); math.Abs(tk.LogProb-want) > 1e-5 {
			t.Errorf("token %d: log probability %v, want %v", i, tk.LogProb, want)
		}
	}
	if want := float64(sum) / 20; math.Abs(r.MeanDepth-want) > 1e-9 {
		t.Errorf("mean depth %v, want %v", r.MeanDepth, want)
	}
	again, _ := collect(t, s, prompt, greedily(20))
	if !slices.Equal(again, tokens) {
		t.Error("the same session writes another text the second time")
	}
}

// TestChangedWeights: a session never uses what it computed with the weights of an earlier text.
func TestChangedWeights(t *testing.T) {
	s, m, tok := newSession(t)
	prompt := encode(t, s, "the quick")
	collect(t, s, prompt, greedily(10))
	m.Init(99)
	got, _ := collect(t, s, prompt, greedily(10))
	fresh, err := infer.NewSession(m, tok)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := collect(t, fresh, prompt, greedily(10)); !slices.Equal(got, want) {
		t.Errorf("got %v, a new session gives %v", got, want)
	}
}

// TestGenerateStops: end-of-text token, stop strings across tokens, the context's end.
func TestGenerateStops(t *testing.T) {
	s, m, tok := newSession(t)
	prompt := encode(t, s, "the quick")
	tokens, text := collect(t, s, prompt, greedily(0))
	if r := s.Result(); r.Finish != infer.FinishLength || len(prompt)+r.Tokens != m.Config.MaxPositionEmbeddings {
		t.Errorf("finish %q, %d and %d tokens, want a full context", r.Finish, len(prompt), r.Tokens)
	}
	stop, at := "", 0
	for _, tk := range tokens {
		if at += len(tk.Text); at+2 <= len(text) && tk.Text != "" && utf8.ValidString(text[at-1:at+2]) {
			stop = text[at-1 : at+2] // the end of a token, and more
			break
		}
	}
	o := greedily(0)
	o.Stop = []string{"never", stop}
	want, _, _ := strings.Cut(text, stop)
	_, got := collect(t, s, prompt, o)
	if r := s.Result(); got != want || r.Finish != infer.FinishStop || r.StopString != stop {
		t.Errorf("stop %q: got %q, finish %q %q, want %q", stop, got, r.Finish, r.StopString, want)
	}
	// With the rows of the head exchanged, end-of-text comes where the third token came.
	eot, _ := tok.EOT()
	head, _ := m.Layout.Tensor("lm_head.weight")
	w, d := head.Of(m.W), m.Config.HiddenSize
	for i := range d {
		a, b := int(eot)*d+i, int(tokens[2].ID)*d+i
		w[a], w[b] = w[b], w[a]
	}
	first := slices.IndexFunc(tokens, func(t infer.Token) bool { return t.ID == tokens[2].ID })
	short, _ := collect(t, s, prompt, greedily(0))
	if r := s.Result(); len(short) != first || r.Finish != infer.FinishStop || r.StopString != "" {
		t.Errorf("%d tokens, finish %q %q, want %d and the end of text", len(short), r.Finish, r.StopString, first)
	}
}

func TestGenerateRefuses(t *testing.T) {
	s, m, tok := newSession(t)
	long := make([]int32, m.Config.MaxPositionEmbeddings)
	for _, c := range []struct {
		want   string
		prompt []int32
		edit   func(*infer.Options)
	}{
		{"prompt: 64 tokens: the model was made for 64", long, func(*infer.Options) {}},
		{"prompt: empty", nil, func(*infer.Options) {}},
		{"batch: token 5000 at row 1", []int32{1, 5000}, func(*infer.Options) {}},
		{"max_tokens: -1", long[:3], func(o *infer.Options) { o.MaxTokens = -1 }},
		{"temperature: -1", long[:3], func(o *infer.Options) { o.Temperature = -1 }},
		{"stop[0]: empty", long[:3], func(o *infer.Options) { o.Stop = []string{""} }},
		{"max_recursion: 9", long[:3], func(o *infer.Options) { o.MaxRecursion = 9 }},
		{"router_threshold: 1", long[:3], func(o *infer.Options) { o.RouterThreshold = 1 }},
	} {
		o := greedily(3)
		c.edit(&o)
		n := 0
		for _, err := range s.Generate(t.Context(), c.prompt, o) {
			if n++; err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d items came, want the error alone", c.want, n)
		}
	}
	small := *m.Config
	small.VocabSize = 200
	if _, err := infer.NewSession(newModel(t, &small, kernel.Generic), tok); err == nil {
		t.Error("a tokenizer that is too large is accepted")
	}
}

// TestGenerateIsBroken off by the caller or by its context, and the session goes on with another text.
func TestGenerateIsBroken(t *testing.T) {
	s, _, _ := newSession(t)
	prompt := encode(t, s, "the")
	want, _ := collect(t, s, prompt, greedily(5))
	for range s.Generate(t.Context(), prompt, greedily(0)) {
		break
	}
	if r := s.Result(); r.Finish != "" || r.Tokens != 1 {
		t.Errorf("finish %q, %d tokens, want one", r.Finish, r.Tokens)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	var last error
	for _, err := range s.Generate(ctx, prompt, greedily(0)) {
		if last = err; err == nil {
			n++
		}
		if n == 4 {
			cancel()
		}
	}
	if n != 4 || !errors.Is(last, context.Canceled) {
		t.Errorf("%d tokens, then %v", n, last)
	}
	if got, _ := collect(t, s, prompt, greedily(5)); !slices.Equal(got, want) {
		t.Errorf("afterwards %v, want %v", got, want)
	}
}

// TestSamplingIsSeeded: a seed gives one text, whatever was written before.
func TestSamplingIsSeeded(t *testing.T) {
	s, _, _ := newSession(t)
	prompt := encode(t, s, "the")
	o := infer.DefaultOptions()
	o.MaxTokens, o.Temperature = 30, 2
	_, first := collect(t, s, prompt, o)
	o.Seed = 1
	_, other := collect(t, s, prompt, o)
	o.Seed = 0
	_, again := collect(t, s, prompt, o)
	if first != again || first == other {
		t.Errorf("seed 0: %q, then %q; seed 1: %q", first, again, other)
	}
}

func TestEmptyPromptIsEndOfText(t *testing.T) {
	s, _, tok := newSession(t)
	eot, _ := tok.EOT()
	if ids := encode(t, s, ""); !slices.Equal(ids, []int32{eot}) {
		t.Errorf("got %v, want %d", ids, eot)
	}
}
