package infer_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"mor/internal/golden"
	"mor/internal/infer"
	"mor/internal/kernel"
	"mor/internal/model"
)

func newCPU(t testing.TB, level kernel.Level) *kernel.CPU {
	cpu, err := kernel.New(level, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cpu.Close)
	return cpu
}

// newModel draws a model whose every weight has an effect.
func newModel(t testing.TB, c *model.Config, level kernel.Level) *model.Model {
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	m := model.New(c, newCPU(t, level))
	m.Init(7)
	for i := range m.Layout.Tensors {
		w := m.Layout.Tensors[i].Of(m.W)
		for j := range w {
			w[j] += 0.05 * float32(math.Sin(float64(13*i+7*j+1)))
		}
	}
	return m
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

// modes are dials that a configuration has a meaning for.
func modes(c *model.Config) []model.Mode {
	out := []model.Mode{{}}
	if c.Recursion != nil && c.Recursion.Sharing.Cyclic() {
		out = append(out, model.Mode{MaxRecursion: c.Recursions() - 1})
	}
	if c.Expert() && !c.Router.RandRouter {
		out = append(out, model.Mode{Threshold: 0.4}, model.Mode{Threshold: 0.6})
	}
	return out
}

// TestCachedIsUncached: whatever the chunks of the prefill, cached decoding has the logits of full recomputation, bit for bit, the same tokens
// and the same depths; also on memory that another text used, and when it goes on from a truncated one.
func TestCachedIsUncached(t *testing.T) {
	const prompt, count = 23, 24
	for _, k := range golden.Kinds() {
		for _, level := range kernel.Levels() {
			t.Run(k.Name+"/"+level.String(), func(t *testing.T) {
				m := newModel(t, k.Config, level)
				text := golden.Sequences(k.Config, prompt)[0]
				other := golden.Sequences(k.Config, 40, 40)[1]
				s, tape, v := infer.NewSequence(m), m.NewTape(), k.Config.VocabSize
				want := make([]float32, (prompt+count)*v)
				for _, mode := range modes(k.Config) {
					text = text[:prompt]
					for _, chunk := range []int{1, 3, prompt} {
						s.Reset(mode.MaxRecursion, mode.Threshold)
						appendChunks(t, s, other, len(other))
						s.Reset(mode.MaxRecursion, mode.Threshold)
						appendChunks(t, s, text[:prompt-5], chunk)
						appendChunks(t, s, other[:7], chunk)
						s.Truncate(prompt - 5)
						appendChunks(t, s, text[prompt-5:prompt], chunk)
						if len(text) == prompt {
							text = greedy(t, s, text, count)
							appendChunks(t, s, text[len(text)-1:], 1)
							if err := m.Forward(tape, model.NewBatch(text), mode, false); err != nil {
								t.Fatal(err)
							}
							m.Logits(want, tape, 0, len(text))
							s.Truncate(prompt - 1)
							appendChunks(t, s, text[prompt-1:prompt], 1)
						}
						for i := prompt; i < len(text); i++ {
							logits, row := s.Logits(), want[(i-1)*v:i*v]
							if d := maxDiff(logits, row); d != 0 || argmax(row) != text[i] {
								t.Fatalf("%+v, chunks of %d: logits of token %d differ by %.1e; the token is %d, recomputed %d", mode, chunk, i, d, text[i], argmax(row))
							}
							appendChunks(t, s, text[i:i+1], 1)
						}
						if !slices.Equal(s.Depth, tape.Depth) {
							t.Errorf("%+v, chunks of %d: depth\n%v, want\n%v", mode, chunk, s.Depth, tape.Depth)
						}
					}
				}
			})
		}
	}
}

// greedy continues a text with the best token, count times. The sequence has read all but the last one.
func greedy(t testing.TB, s *infer.Sequence, text []int32, count int) []int32 {
	for i := range count {
		if i > 0 {
			appendChunks(t, s, text[len(text)-1:], 1)
		}
		text = append(text, argmax(s.Logits()))
	}
	return text
}

func appendChunks(t testing.TB, s *infer.Sequence, tokens []int32, size int) {
	t.Helper()
	for c := range slices.Chunk(tokens, size) {
		if err := s.Append(c); err != nil {
			t.Fatal(err)
		}
	}
}

func maxDiff(a, b []float32) float64 {
	worst := 0.0
	for i, v := range a {
		if d := math.Abs(float64(v) - float64(b[i])); !(d <= worst) {
			worst = d
		}
	}
	return worst
}

// TestGoldenGreedy compares tokens and depths with the reference's.
func TestGoldenGreedy(t *testing.T) {
	for _, level := range kernel.Levels() {
		for _, c := range golden.Cases(t, "config.json", "model.safetensors", "greedy.json") {
			t.Run(level.String()+"/"+c.Name, func(t *testing.T) {
				var want struct{ Prompt, Generated, Depth []int32 }
				c.JSON(t, "greedy.json", &want)
				m := model.New(c.Config(t), newCPU(t, level))
				c.Tensors(t, "model.safetensors").Load(m)
				s := infer.NewSequence(m)
				appendChunks(t, s, want.Prompt, 3)
				got := greedy(t, s, want.Prompt, len(want.Generated))[len(want.Prompt):]
				if !slices.Equal(got, want.Generated) {
					t.Errorf("tokens\n%v, want\n%v", got, want.Generated)
				}
				if !slices.Equal(s.Depth, want.Depth) {
					t.Errorf("depth\n%v, want\n%v", s.Depth, want.Depth)
				}
			})
		}
	}
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

// TestCacheSize: sharing holds one entry a token, recursion-wise keys only those of the tokens that came, and nothing is left behind a reset.
func TestCacheSize(t *testing.T) {
	const n = 40
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
			cfg := kindNamed(t, c.kind)
			s := infer.NewSequence(newModel(t, cfg, kernel.Generic))
			appendChunks(t, s, golden.Sequences(cfg, n)[0], 7)
			reached := make([]int, 3)
			for _, depth := range s.Depth {
				for r := range int(depth) {
					reached[r]++
				}
			}
			if want := int64(c.entries(cfg, reached) * 2 * cfg.KVDim() * 4); s.CacheBytes() != want {
				t.Errorf("%d bytes, want %d", s.CacheBytes(), want)
			}
			s.Reset(0, 0)
			if s.CacheBytes() != 0 || len(s.Tokens) != 0 {
				t.Errorf("%d bytes, %d tokens behind a reset", s.CacheBytes(), len(s.Tokens))
			}
		})
	}
}

// TestContextIsRefused: what does not fit is an error, and the sequence can go on.
func TestContextIsRefused(t *testing.T) {
	c := kindNamed(t, "expert_kv_update")
	s := infer.NewSequence(newModel(t, c, kernel.Generic))
	appendChunks(t, s, golden.Sequences(c, 60)[0], 60)
	err := s.Append(golden.Sequences(c, 5)[0])
	if err == nil || !strings.Contains(err.Error(), "max_position_embeddings") {
		t.Errorf("got %v", err)
	}
	if err := s.Append([]int32{int32(c.VocabSize)}); err == nil {
		t.Error("a token outside the vocabulary is accepted")
	}
	appendChunks(t, s, golden.Sequences(c, 4)[0], 4)
	if len(s.Tokens) != 64 {
		t.Errorf("%d tokens, want 64", len(s.Tokens))
	}
}

// TestSteadyDecodingDoesNotAllocate: behind the first text of a length, no token needs new memory.
func TestSteadyDecodingDoesNotAllocate(t *testing.T) {
	for _, k := range golden.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			levels := kernel.Levels()
			s := infer.NewSequence(newModel(t, k.Config, levels[len(levels)-1]))
			tokens := golden.Sequences(k.Config, 40)[0]
			appendChunks(t, s, tokens, 40)
			if a := testing.AllocsPerRun(20, func() {
				if err := s.Append([]int32{argmax(s.Logits())}); err != nil {
					t.Fatal(err)
				}
			}); a > 0 {
				t.Errorf("%v allocations a token", a)
			}
		})
	}
}
