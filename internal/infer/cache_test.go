package infer_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"mor/internal/golden"
	"mor/internal/infer"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/token"
)

// newModel draws a model whose every weight has an effect.
func newModel(t testing.TB, c *model.Config, level kernel.Level) *model.Model {
	return newModelOn(t, c, level, 2)
}

func newModelOn(t testing.TB, c *model.Config, level kernel.Level, workers int) *model.Model {
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	cpu, err := kernel.New(level, workers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cpu.Close)
	m := model.New(c, cpu)
	m.Init(7)
	for i := range m.Layout.Tensors {
		w := m.Layout.Tensors[i].Of(m.W)
		for j := range w {
			w[j] += 0.05 * float32(math.Sin(float64(13*i+7*j+1)))
		}
	}
	return m
}

// kindNamed finds a configuration in the table.
func kindNamed(t testing.TB, name string) *model.Config {
	for _, k := range golden.Kinds() {
		if k.Name == name {
			return k.Config
		}
	}
	t.Fatalf("no kind %s", name)
	return nil
}

func argmax(x []float32) int32 {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return int32(best)
}

// texts are requests that share beginnings, and differ in length, dial and draw.
func texts(c *model.Config) []infer.Request {
	base := golden.Sequences(c, 40)[0]
	var out []infer.Request
	for i, n := range []int{1, 5, 16, 17, 23, 33, 33, 40, 9, 33} {
		o := greedily(6 + i)
		o.TopLogProbs = 2
		if i%3 == 2 {
			o.Temperature, o.Seed = 1.5, uint64(i)
		}
		if i == 5 && c.Recursion != nil && c.Recursion.Sharing.Cyclic() {
			o.MaxRecursion = c.Recursions() - 1
		}
		if i == 7 && c.Expert() {
			o.RouterThreshold = 0.4
		}
		prompt := slices.Clone(base[:n])
		if i == 9 {
			prompt[20]++
		}
		out = append(out, infer.Request{Prompt: prompt, Options: o})
	}
	return out
}

// recompute continues greedily without a cache: the definition of what the engine delivers.
func recompute(t testing.TB, m *model.Model, r *infer.Request) (out []infer.Token) {
	tokens, tape, v := slices.Clone(r.Prompt), m.NewTape(), m.Config.VocabSize
	mode := model.Mode{MaxRecursion: r.MaxRecursion, Threshold: r.RouterThreshold}
	logits := make([]float32, v)
	for range r.MaxTokens + 1 {
		if err := m.Forward(tape, model.NewBatch(tokens), mode, false); err != nil {
			t.Fatal(err)
		}
		last := len(tokens) - 1
		if len(out) > 0 {
			out[len(out)-1].Depth = int(tape.Depth[last])
		}
		m.Logits(logits, tape, last, last+1)
		id := argmax(logits)
		tk := infer.Token{ID: id}
		tk.LogProb, _ = infer.LogProbs(m.CPU(), logits, id, 0)
		out, tokens = append(out, tk), append(tokens, id)
	}
	return out[:r.MaxTokens]
}

// engineCase is a way to run requests that must not show in what they get.
type engineCase struct {
	name             string
	workers          int
	alone            bool
	preempts, reuses bool
	change           func(*infer.EngineOptions)
	speculate        int
}

func engineCases() []engineCase {
	return []engineCase{
		{"alone", 2, true, false, false, func(o *infer.EngineOptions) { o.PrefixReuse = false }, 0},
		{"together", 2, false, false, false, func(o *infer.EngineOptions) { o.PrefixReuse = false }, 0},
		{"one worker", 1, false, false, false, func(o *infer.EngineOptions) {}, 0},
		{"chunks of 3, pages of 4", 2, false, false, false, func(o *infer.EngineOptions) { o.TokenBudget, o.PageSize = 3, 4 }, 0},
		{"alone with reuse, pages of 7", 2, true, false, true, func(o *infer.EngineOptions) { o.PageSize = 7 }, 0},
		{"two at a time, sequence-wise", 2, false, false, true, func(o *infer.EngineOptions) { o.MaxRunning, o.Schedule, o.PageSize = 2, infer.SequenceWise, 5 }, 0},
		{"little memory", 2, false, true, false, func(o *infer.EngineOptions) { o.PageSize, o.CacheBytes = 8, 0 }, 0},
		{"aside", 2, false, false, false, func(o *infer.EngineOptions) { o.LongPrefill, o.MaxRunning, o.TokenBudget = 0, 3, 7 }, 0},
		{"aside, little memory", 2, false, true, false, func(o *infer.EngineOptions) { o.LongPrefill, o.PageSize, o.CacheBytes = 0, 8, 0 }, 0},
		{"aside, guesses, sequence-wise", 1, false, false, false, func(o *infer.EngineOptions) { o.LongPrefill, o.MaxRunning, o.Schedule = 4, 2, infer.SequenceWise }, 2},
		{"guesses", 2, false, false, false, func(o *infer.EngineOptions) {}, 3},
		{"guesses, two at a time, sequence-wise", 2, false, false, false, func(o *infer.EngineOptions) { o.MaxRunning, o.Schedule, o.TokenBudget = 2, infer.SequenceWise, 4 }, 5},
		{"guesses, little memory", 2, false, true, false, func(o *infer.EngineOptions) { o.PageSize, o.CacheBytes = 4, 0 }, 2},
	}
}

// TestInvariance: for every kind of model, a request's tokens, texts, depths and log probabilities are the same bytes as those of recomputation without a cache,
// alone or with others, with or without prefixes of others, whatever the chunks, pages, schedule and workers, and when it is preempted.
func TestInvariance(t *testing.T) {
	tok := newTokenizer(t)
	levels := kernel.Levels()
	for _, k := range golden.Kinds() {
		for _, level := range []kernel.Level{levels[0], levels[len(levels)-1]} {
			t.Run(k.Name+"/"+level.String(), func(t *testing.T) {
				c := *k.Config
				c.VocabSize, c.TieWordEmbeddings = tok.VocabSize(), false
				var want [][]infer.Token
				for _, ec := range engineCases() {
					if level == kernel.Generic && (ec.alone || ec.workers == 1 || ec.speculate > 0) {
						continue
					}
					if ec.speculate > 0 && !shallow(&c) {
						continue
					}
					m := newModelOn(t, &c, level, ec.workers)
					got := runAll(t, m, tok, &ec)
					if want == nil {
						want = got
						compareDefinition(t, m, got)
						continue
					}
					for i := range got {
						if !sameTokens(got[i], want[i]) {
							t.Errorf("%s: request %d differs:\n%v, want\n%v", ec.name, i, got[i], want[i])
						}
					}
				}
			})
		}
	}
}

// shallow tells whether a model can run with one recursion of several.
func shallow(c *model.Config) bool {
	return c.Recursions() > 1 && c.Recursion.Sharing.Cyclic()
}

// compareDefinition compares the greedy requests with recomputation.
func compareDefinition(t *testing.T, m *model.Model, got [][]infer.Token) {
	for i, r := range texts(m.Config) {
		if r.Temperature > 0 {
			continue
		}
		for j, want := range recompute(t, m, &r) {
			if j >= len(got[i]) { // end of text
				break
			}
			if g := got[i][j]; g.ID != want.ID || g.Depth != want.Depth || g.LogProb != want.LogProb {
				t.Errorf("request %d, token %d: %+v, without cache %+v", i, j, g, want)
				break
			}
		}
	}
}

// runAll runs the requests of texts on an engine of their own.
func runAll(t *testing.T, m *model.Model, tok *token.Tokenizer, ec *engineCase) [][]infer.Token {
	t.Helper()
	requests := texts(m.Config)
	for i := range requests {
		if requests[i].MaxRecursion != 1 {
			requests[i].Speculate = ec.speculate
		}
	}
	e := newEngine(t, m, tok, ec.change, func(o *infer.EngineOptions) {
		if o.CacheBytes == 0 { // room for one text and a half
			c := m.Config
			heads := kernel.Heads{H: c.NumAttentionHeads, K: c.NumKeyValueHeads, E: c.HeadDim}
			o.CacheBytes = int64(m.Plan.Slots*((c.MaxPositionEmbeddings+o.PageSize-1)/o.PageSize)*3/2) * kernel.PageBytes(o.PageSize, o.CacheFormat, heads)
		}
	})
	out := make([][]infer.Token, len(requests))
	if ec.alone {
		for i := range requests {
			s, err := e.Submit(t.Context(), &requests[i])
			if err != nil {
				t.Fatal(err)
			}
			out[i], _, _ = receive(t, s)
		}
	} else {
		receiveTogether(t, e, requests, out)
	}
	if st := e.Stats(); ec.speculate > 0 && (st.Accepted == 0 || st.Accepted >= st.Drafted) {
		t.Errorf("%s: %d guesses of %d held: the case tests too little", ec.name, st.Accepted, st.Drafted)
	}
	if st := e.Stats(); ec.preempts && st.Preempted == 0 || ec.reuses && st.PrefixHits == 0 {
		t.Errorf("%s: %d preempted, %d prefixes used again: the case tests nothing", ec.name, st.Preempted, st.PrefixHits)
	}
	if st := e.Stats(); strings.HasPrefix(ec.name, "aside") && st.ReadAside == 0 {
		t.Errorf("%s: nothing was read aside: the case tests nothing", ec.name)
	}
	e.Close()
	return out
}

// receiveTogether runs requests that arrive at once, so that how many are under way together does not depend on the clock.
func receiveTogether(t *testing.T, e *infer.Engine, requests []infer.Request, out [][]infer.Token) {
	t.Helper()
	streams, err := e.SubmitTogether(t.Context(), requests)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i, s := range streams {
		wg.Go(func() {
			for tk, err := range s.Tokens() {
				if err != nil {
					t.Error(err)
				}
				out[i] = append(out[i], tk)
			}
		})
	}
	wg.Wait()
}

// TestGoldenGreedy compares depths and tokens with the reference's.
func TestGoldenGreedy(t *testing.T) {
	for _, level := range kernel.Levels() {
		for _, c := range golden.Cases(t, "config.json", "model.safetensors", "greedy.json") {
			t.Run(level.String()+"/"+c.Name, func(t *testing.T) {
				var want struct{ Prompt, Generated, Depth []int32 }
				c.JSON(t, "greedy.json", &want)
				cfg := c.Config(t)
				cfg.MaxPositionEmbeddings = max(cfg.MaxPositionEmbeddings, len(want.Prompt)+len(want.Generated)+1)
				cpu, err := kernel.New(level, 2)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(cpu.Close)
				m := model.New(cfg, cpu)
				c.Tensors(t, "model.safetensors").Load(m)
				tok, err := token.New(token.Vocab{Tokens: vocabOf(cfg.VocabSize), Pre: "gpt-2"})
				if err != nil {
					t.Fatal(err)
				}
				e := newEngine(t, m, tok, func(o *infer.EngineOptions) { o.TokenBudget = 3 })
				s := submit(t, e, want.Prompt, greedily(len(want.Generated)))
				tokens, _, _ := receive(t, s)
				var ids, depth []int32
				for _, tk := range append(slices.Clone(s.Prompt()), tokens...) {
					ids, depth = append(ids, tk.ID), append(depth, int32(tk.Depth))
				}
				if got := ids[len(want.Prompt):]; !slices.Equal(got, want.Generated) {
					t.Errorf("tokens\n%v, want\n%v", got, want.Generated)
				}
				if !slices.Equal(depth[:len(want.Depth)], want.Depth) {
					t.Errorf("depth\n%v, want\n%v", depth, want.Depth)
				}
			})
		}
	}
}

// vocabOf makes up n tokens.
func vocabOf(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("t%d", i)
	}
	return out
}

// TestCacheSize: sharing holds one entry a token, recursion-wise keys only those of the tokens that came, and fewer bits take less.
func TestCacheSize(t *testing.T) {
	const n = 40
	tok := newTokenizer(t)
	for _, c := range []struct {
		kind    string
		entries func(c *model.Config, reached []int) int // reached: tokens that reached each recursion
	}{
		{"vanilla", func(c *model.Config, _ []int) int { return c.NumHiddenLayers * n }},
		{"middle_cycle", func(c *model.Config, _ []int) int { return c.NumHiddenLayers * n }},
		{"recursive_kv_sharing", func(c *model.Config, _ []int) int { return (c.BlockDepth() + 2) * n }},
		{"expert_kv_sharing", func(c *model.Config, _ []int) int { return (c.BlockDepth() + 2) * n }},
		{"expert", func(c *model.Config, reached []int) int {
			return 2*n + c.BlockDepth()*(reached[0]+reached[1]+reached[2])
		}},
		{"token", func(c *model.Config, reached []int) int {
			return 2*n + c.BlockDepth()*(reached[0]+reached[1]+reached[2])
		}},
	} {
		t.Run(c.kind, func(t *testing.T) {
			m := newTextModel(t, c.kind, tok)
			for _, f := range kernel.PageFormats() {
				e := newEngine(t, m, tok, func(o *infer.EngineOptions) { o.CacheFormat = f })
				s := submit(t, e, golden.Sequences(m.Config, n-10)[0], greedily(10))
				tokens, _, r := receive(t, s)
				if len(tokens) != 10 {
					t.Skip("the text ended early")
				}
				reached := make([]int, 3)
				for _, tk := range append(slices.Clone(s.Prompt()), tokens...) {
					for d := range tk.Depth {
						reached[d]++
					}
				}
				heads := kernel.Heads{H: m.Config.NumAttentionHeads, K: m.Config.NumKeyValueHeads, E: m.Config.HeadDim}
				if want := int64(c.entries(m.Config, reached)) * kernel.PageBytes(1, f, heads); r.CacheBytes != want {
					t.Errorf("%s: %d bytes, want %d", f, r.CacheBytes, want)
				}
			}
		})
	}
}
