package infer_test

import (
	"context"
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"mor/internal/infer"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/token"
)

const sample = "the quick brown fox jumps over the lazy dog; the other dog sleeps. func main() { fmt.Println(\"über, naïve 世界\") }\n"

// newTokenizer trains a small one.
func newTokenizer(t testing.TB) *token.Tokenizer {
	texts := slices.Values([][]byte{[]byte(strings.Repeat(sample, 5))})
	tok, err := token.Train(t.Context(), texts, token.TrainOptions{VocabSize: 300, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// newTextModel draws a model of a kind with an untied head for the tokenizer.
func newTextModel(t testing.TB, kind string, tok *token.Tokenizer) *model.Model {
	c := *kindNamed(t, kind)
	c.VocabSize, c.TieWordEmbeddings = tok.VocabSize(), false
	levels := kernel.Levels()
	return newModel(t, &c, levels[len(levels)-1])
}

// newEngine starts an engine that the test closes; nothing must be left then.
func newEngine(t testing.TB, m *model.Model, tok *token.Tokenizer, change ...func(*infer.EngineOptions)) *infer.Engine {
	o := infer.DefaultEngineOptions()
	o.CacheFormat = kernel.PageFP32
	for _, c := range change {
		c(&o)
	}
	e, err := infer.NewEngine(m, tok, o)
	if err != nil {
		t.Fatal(err)
	}
	watch(t, e, nil)
	return e
}

// open is how many engines tests have open.
var open atomic.Int32

// watch closes an engine when the test ends, and sees to it that no page, seat, request and goroutine is left. start, where there is one, has its loop run.
func watch(t testing.TB, e *infer.Engine, start func()) {
	open.Add(1)
	t.Cleanup(func() {
		if start != nil {
			start()
		}
		e.Close()
		open.Add(-1)
		if s := e.Stats(); s.Running != 0 || s.Waiting != 0 || s.WaitingTokens != 0 || s.PagesUsed != 0 {
			t.Errorf("left behind: %+v", s)
		}
		if err := e.Audit(); err != nil {
			t.Errorf("left behind: %v", err)
		}
		if pages, seats := e.Held(); pages != 0 || seats != 0 {
			t.Errorf("left behind: %d pages, %d seats", pages, seats)
		}
		for range 100 { // a goroutine that has closed a channel may take a moment to end
			if engineGoroutines() <= int(open.Load()) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("left behind: %d goroutines of engines, of which %d are open", engineGoroutines(), open.Load())
	})
}

// engineGoroutines counts the goroutines that engines have started.
func engineGoroutines() int {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return strings.Count(string(stacks), "\ncreated by mor/internal/infer.")
}

func greedily(max int) infer.Options {
	return infer.Options{Sampling: infer.Sampling{TopP: 1, RepetitionPenalty: 1}, MaxTokens: max, LogProbs: true}
}

func submit(t testing.TB, e *infer.Engine, prompt []int32, o infer.Options) *infer.Stream {
	t.Helper()
	s, err := e.Submit(t.Context(), &infer.Request{Prompt: prompt, Options: o})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// receive takes all tokens and the text.
func receive(t testing.TB, s *infer.Stream) (tokens []infer.Token, text string, r infer.Result) {
	t.Helper()
	for tok, err := range s.Tokens() {
		if err != nil {
			t.Fatal(err)
		}
		tokens, text = append(tokens, tok), text+tok.Text
	}
	r, err := s.Result()
	if err != nil {
		t.Fatal(err)
	}
	return tokens, text, r
}

func collect(t testing.TB, e *infer.Engine, prompt []int32, o infer.Options) ([]infer.Token, string, infer.Result) {
	t.Helper()
	return receive(t, submit(t, e, prompt, o))
}

func encode(t testing.TB, e *infer.Engine, prompt string) []int32 {
	t.Helper()
	ids, err := e.Encode(prompt)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// sameTokens compares what matters of two texts, bit for bit.
func sameTokens(a, b []infer.Token) bool {
	return slices.EqualFunc(a, b, func(x, y infer.Token) bool {
		return x.ID == y.ID && x.Text == y.Text && x.Depth == y.Depth && x.LogProb == y.LogProb
	})
}

// TestGenerate compares every field of every token with a full recomputation of the text.
func TestGenerate(t *testing.T) {
	tok := newTokenizer(t)
	m := newTextModel(t, "expert", tok)
	e := newEngine(t, m, tok)
	prompt := encode(t, e, "the quick 世")
	s := submit(t, e, prompt, greedily(20))
	tokens, text, r := receive(t, s)
	ids := slices.Clone(prompt)
	for _, tk := range tokens {
		ids = append(ids, tk.ID)
	}
	if want := tok.Decode(ids[len(prompt):]); text != want {
		t.Errorf("text %q, want %q", text, want)
	}
	if r.Tokens != 20 || len(tokens) != 20 || r.Choices[0].Finish != infer.FinishLength {
		t.Errorf("%d tokens, %d delivered, finish %q", r.Tokens, len(tokens), r.Choices[0].Finish)
	}
	tape := m.NewTape()
	if err := m.Forward(tape, model.NewBatch(ids), model.Mode{}, false); err != nil {
		t.Fatal(err)
	}
	v := m.Config.VocabSize
	logits := make([]float32, len(ids)*v)
	m.Logits(logits, tape, 0, len(ids))
	sum := 0
	for i, tk := range append(slices.Clone(s.Prompt()), tokens...) {
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
	if again, _, _ := collect(t, e, prompt, greedily(20)); !sameTokens(again, tokens) {
		t.Error("the same engine writes another text the second time")
	}
}

// TestGenerateStops: end-of-text token, stop strings across tokens, the context's end.
func TestGenerateStops(t *testing.T) {
	tok := newTokenizer(t)
	m := newTextModel(t, "expert", tok)
	e := newEngine(t, m, tok)
	prompt := encode(t, e, "the quick")
	tokens, text, r := collect(t, e, prompt, greedily(0))
	if r.Choices[0].Finish != infer.FinishLength || len(prompt)+r.Tokens != m.Config.MaxPositionEmbeddings {
		t.Errorf("finish %q, %d and %d tokens, want a full context", r.Choices[0].Finish, len(prompt), r.Tokens)
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
	_, got, r := collect(t, e, prompt, o)
	if c := r.Choices[0]; got != want || c.Finish != infer.FinishStop || c.StopString != stop {
		t.Errorf("stop %q: got %q, finish %q %q, want %q", stop, got, c.Finish, c.StopString, want)
	}
	o = greedily(0)
	o.StopTokens = []int32{tokens[2].ID}
	first := slices.IndexFunc(tokens, func(t infer.Token) bool { return t.ID == tokens[2].ID })
	short, _, r := collect(t, e, prompt, o)
	if len(short) != first || r.Choices[0].Finish != infer.FinishStop || r.Choices[0].StopString != "" {
		t.Errorf("stop token: %d tokens, finish %q, want %d", len(short), r.Choices[0].Finish, first)
	}
	o.MinTokens = first + 3
	if long, _, _ := collect(t, e, prompt, o); len(long) < o.MinTokens {
		t.Errorf("%d tokens, want at least %d", len(long), o.MinTokens)
	}
	// With the rows of the head exchanged, end-of-text comes where the third token came.
	e.Close()
	eot, _ := tok.EOT()
	head, _ := m.Layout.Tensor("lm_head.weight")
	w, d := head.Of(m.W), m.Config.HiddenSize
	for i := range d {
		a, b := int(eot)*d+i, int(tokens[2].ID)*d+i
		w[a], w[b] = w[b], w[a]
	}
	e = newEngine(t, m, tok)
	short, _, r = collect(t, e, prompt, greedily(0))
	if len(short) != first || r.Choices[0].Finish != infer.FinishStop || r.Choices[0].StopString != "" {
		t.Errorf("%d tokens, finish %q, want %d and the end of text", len(short), r.Choices[0].Finish, first)
	}
}

func TestSubmitRefuses(t *testing.T) {
	tok := newTokenizer(t)
	m := newTextModel(t, "expert", tok)
	e := newEngine(t, m, tok)
	long := make([]int32, m.Config.MaxPositionEmbeddings)
	for _, c := range []struct {
		want   string
		prompt []int32
		edit   func(*infer.Options)
	}{
		{"prompt: 64 tokens: prompt and text together fit 64 (max_position_embeddings)", long, func(*infer.Options) {}},
		{"prompt: empty", nil, func(*infer.Options) {}},
		{"prompt: token 5000 at place 1", []int32{1, 5000}, func(*infer.Options) {}},
		{"max_tokens: -1", long[:3], func(o *infer.Options) { o.MaxTokens = -1 }},
		{"min_tokens: 4: expected 0 to max_tokens", long[:3], func(o *infer.Options) { o.MinTokens = 4 }},
		{"n: 1000", long[:3], func(o *infer.Options) { o.N = 1000 }},
		{"top_logprobs: -1", long[:3], func(o *infer.Options) { o.TopLogProbs = -1 }},
		{"temperature: -1", long[:3], func(o *infer.Options) { o.Temperature = -1 }},
		{"typical_p: 2", long[:3], func(o *infer.Options) { o.TypicalP = 2 }},
		{"presence_penalty: 3", long[:3], func(o *infer.Options) { o.PresencePenalty = 3 }},
		{"frequency_penalty: -3", long[:3], func(o *infer.Options) { o.FrequencyPenalty = -3 }},
		{"logit_bias[3]: 101", long[:3], func(o *infer.Options) { o.LogitBias = map[int32]float32{3: 101} }},
		{"logit_bias: 5000: expected", long[:3], func(o *infer.Options) { o.LogitBias = map[int32]float32{5000: 1} }},
		{"stop[0]: empty: expected", long[:3], func(o *infer.Options) { o.Stop = []string{""} }},
		{"stop_token_ids[0]: -1", long[:3], func(o *infer.Options) { o.StopTokens = []int32{-1} }},
		{"max_recursion: 9", long[:3], func(o *infer.Options) { o.MaxRecursion = 9 }},
		{"router_threshold: 1", long[:3], func(o *infer.Options) { o.RouterThreshold = 1 }},
	} {
		o := greedily(3)
		c.edit(&o)
		_, err := e.Submit(t.Context(), &infer.Request{Prompt: c.prompt, Options: o})
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %q", err, c.want)
		}
		var option *infer.OptionError
		var length *infer.TooLongError
		if !errors.As(err, &option) && !errors.As(err, &length) {
			t.Errorf("%v is a %T", err, err)
		}
	}
	if s := e.Stats(); s.Rejected["too_long"] != 1 || s.Rejected["option"] != 16 {
		t.Errorf("rejected %v", s.Rejected)
	}
	e.Close()
	if _, err := e.Submit(t.Context(), &infer.Request{Prompt: long[:3], Options: greedily(3)}); !errors.Is(err, infer.ErrClosed) {
		t.Errorf("closed: got %v", err)
	}
	small := *m.Config
	small.VocabSize = 200
	if _, err := infer.NewEngine(newModel(t, &small, kernel.Generic), tok, infer.DefaultEngineOptions()); err == nil {
		t.Error("a tokenizer that is too large is accepted")
	}
}

// TestQueueIsBounded: what is beyond the bounds is refused at once, and goes in when there is room again.
func TestQueueIsBounded(t *testing.T) {
	tok := newTokenizer(t)
	e := newEngine(t, newTextModel(t, "expert", tok), tok, func(o *infer.EngineOptions) { o.MaxRunning, o.MaxWaiting, o.MaxWaitingTokens = 1, 4, 20 })
	refused := 0
	for _, prompt := range [][]int32{make([]int32, 3), make([]int32, 12)} {
		var streams []*infer.Stream
		for range 50 {
			s, err := e.Submit(t.Context(), &infer.Request{Prompt: prompt, Options: greedily(40)})
			var full *infer.QueueFullError
			if errors.As(err, &full) {
				refused++
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, s)
		}
		for _, s := range streams {
			receive(t, s)
		}
	}
	if s := e.Stats(); refused == 0 || s.Rejected["queue_full"] != uint64(refused) {
		t.Errorf("%d refused, counted %v", refused, s.Rejected)
	}
}

// TestBrokenOff by the receiver, by the context while running and while waiting, and by Close; other requests go on.
func TestBrokenOff(t *testing.T) {
	tok := newTokenizer(t)
	e := newEngine(t, newTextModel(t, "expert", tok), tok, func(o *infer.EngineOptions) { o.MaxRunning = 2 })
	prompt := encode(t, e, "the")
	want, _, _ := collect(t, e, prompt, greedily(30))
	other := submit(t, e, prompt, greedily(30))
	first := submit(t, e, prompt, greedily(0))
	for range first.Tokens() {
		break
	}
	if r, err := first.Result(); !errors.Is(err, context.Canceled) && r.Choices[0].Finish == "" {
		t.Errorf("broken off: %+v, %v", r, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	waiting, err := e.Submit(ctx, &infer.Request{Prompt: prompt, Options: greedily(0)})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range waiting.Tokens() {
		if n++; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled in the queue: got %v", err)
		}
	}
	if n != 1 {
		t.Errorf("%d items, want the error", n)
	}
	if got, _, _ := receive(t, other); !sameTokens(got, want) {
		t.Errorf("the other text is %v, want %v", got, want)
	}
	last := submit(t, e, prompt, greedily(0))
	e.Close()
	if r, err := last.Result(); !errors.Is(err, infer.ErrClosed) && r.Choices[0].Finish == "" {
		t.Errorf("closed: got %v", err)
	}
}

// panicking is a context that panics the third time that it is asked.
type panicking struct {
	context.Context
	asked int
}

func (p *panicking) Err() error {
	if p.asked++; p.asked > 3 {
		panic("no more questions")
	}
	return nil
}

// TestPanicEndsOneRequest: what panics inside a request is its error, and the others do not notice.
func TestPanicEndsOneRequest(t *testing.T) {
	tok := newTokenizer(t)
	e := newEngine(t, newTextModel(t, "expert", tok), tok)
	prompt := encode(t, e, "the")
	want, _, _ := collect(t, e, prompt, greedily(30))
	other := submit(t, e, prompt, greedily(30))
	s, err := e.Submit(&panicking{Context: t.Context()}, &infer.Request{Prompt: prompt, Options: greedily(0)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Result(); err == nil || !strings.Contains(err.Error(), "no more questions") {
		t.Errorf("got %v", err)
	}
	if got, _, _ := receive(t, other); !sameTokens(got, want) {
		t.Errorf("the other text is %v, want %v", got, want)
	}
}

// TestSamples: several texts behind one prompt differ, and are those that a seed gives.
func TestSamples(t *testing.T) {
	tok := newTokenizer(t)
	e := newEngine(t, newTextModel(t, "expert", tok), tok)
	o := infer.DefaultOptions()
	o.MaxTokens, o.Temperature, o.N = 12, 2, 3
	texts := func() (out [3]string) {
		tokens, _, r := collect(t, e, encode(t, e, "the"), o)
		for _, tk := range tokens {
			out[tk.Index] += tk.Text
		}
		if len(r.Choices) != 3 {
			t.Errorf("%d choices", len(r.Choices))
		}
		return out
	}
	first, again := texts(), texts()
	if first != again || first[0] == first[1] || first[1] == first[2] {
		t.Errorf("%q, then %q", first, again)
	}
	o.N = 1
	_, one, _ := collect(t, e, encode(t, e, "the"), o)
	o.Seed = 1
	if _, other, _ := collect(t, e, encode(t, e, "the"), o); one != first[0] || other == one {
		t.Errorf("alone %q, of three %q; another seed %q", one, first[0], other)
	}
}

func TestEmptyPromptIsEndOfText(t *testing.T) {
	tok := newTokenizer(t)
	e := newEngine(t, newTextModel(t, "expert", tok), tok)
	eot, _ := tok.EOT()
	if ids := encode(t, e, ""); !slices.Equal(ids, []int32{eot}) {
		t.Errorf("got %v, want %d", ids, eot)
	}
}

// TestScoredPromptsChangeNothing: prompts are scored beside other texts, and each goes on as it does without that.
func TestScoredPromptsChangeNothing(t *testing.T) {
	tok := newTokenizer(t)
	e := newEngine(t, newTextModel(t, "expert", tok), tok)
	var requests []infer.Request
	var want [][]infer.Token
	for _, text := range []string{"the quick brown fox", "the", "func main() {"} {
		r := infer.Request{Prompt: encode(t, e, text), Options: greedily(8)}
		tokens, _, _ := collect(t, e, r.Prompt, r.Options)
		want = append(want, tokens)
		r.Options.PromptLogProbs, r.Options.N = true, 2
		requests = append(requests, r)
	}
	streams, err := e.SubmitTogether(t.Context(), requests)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range streams {
		var got [2][]infer.Token
		tokens, _, _ := receive(t, s)
		for _, tk := range tokens {
			got[tk.Index] = append(got[tk.Index], tk)
		}
		if !sameTokens(got[0], want[i]) || !sameTokens(got[1], want[i]) {
			t.Errorf("text %d differs where prompts are scored", i)
		}
	}
}

// TestBannedTokensAreNotDrawn: not even where they are the best ones, and they do not end a text.
func TestBannedTokensAreNotDrawn(t *testing.T) {
	tok := newTokenizer(t)
	e := newEngine(t, newTextModel(t, "vanilla", tok), tok)
	prompt := encode(t, e, "the")
	o := greedily(10)
	free, _, _ := collect(t, e, prompt, o)
	for _, tk := range free {
		o.Banned = append(o.Banned, tk.ID)
	}
	tokens, _, r := collect(t, e, prompt, o)
	for _, tk := range tokens {
		if slices.Contains(o.Banned, tk.ID) {
			t.Errorf("token %d was drawn", tk.ID)
		}
	}
	if r.Tokens != 10 {
		t.Errorf("%d tokens, want 10", r.Tokens)
	}
}
