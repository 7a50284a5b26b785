// Package eval measures a model on held-out text: bits per byte under each routing, and what its routers do.
package eval

import (
	"context"
	"math"

	"mor/internal/corpus"
	"mor/internal/model"
	"mor/internal/token"
)

// Options say what text is read and how.
type Options struct {
	Context  int
	Batch    int   // windows computed at once; the result does not depend on it
	MaxBytes int64 // of text; 0: all
	Mode     model.Mode
	Progress func(done, total int64) // tokens; may be nil
}

// Result is a measurement under one routing. Every token is predicted once.
type Result struct {
	Routing      string      `json:"routing"` // causal or topk
	MaxRecursion int         `json:"max_recursion"`
	Threshold    float64     `json:"router_threshold"`
	Context      int         `json:"context"`
	Stride       int         `json:"stride"`      // between the beginnings of two windows
	MinContext   int         `json:"min_context"` // tokens before a predicted one in its window
	Tokens       int64       `json:"tokens"`      // that were predicted
	Bytes        int64       `json:"bytes"`
	Loss         float64     `json:"loss"` // nats a token
	StdErr       float64     `json:"loss_stderr"`
	Perplexity   float64     `json:"perplexity"`
	BitsPerByte  float64     `json:"bits_per_byte"`
	MeanDepth    float64     `json:"mean_depth"`
	Histogram    []float64   `json:"depth_histogram"` // share of the tokens that took 0, 1, … recursions
	FLOPs        float64     `json:"flops_per_token"` // forward, at the measured shares
	Recursions   []Recursion `json:"recursions,omitempty"`
	Classes      []Class     `json:"classes"`
}

// Recursion is what one recursion's router did with the tokens that arrived at it.
type Recursion struct {
	Capacity  float64  `json:"capacity"`  // share of all tokens that training gave it
	Share     float64  `json:"share"`     // share of all tokens that ran it here
	Agreement *float64 `json:"agreement"` // topk only: share of the candidates for which the causal threshold decides alike ("sampling accuracy")
}

// Dead is the share of the tokens that no recursion took.
func (r *Result) Dead() float64 { return r.Histogram[0] }

// Class is a kind of token.
type Class struct {
	Name      string  `json:"name"`
	Share     float64 `json:"share"` // of the tokens
	MeanDepth float64 `json:"mean_depth"`
	Loss      float64 `json:"loss"` // of predicting what follows such a token
}

// Run measures a model on a shard of held-out text.
func Run(ctx context.Context, m *model.Model, tok *token.Tokenizer, shard *corpus.Shard, o Options) (*Result, error) {
	w, err := corpus.NewWindows(shard, o.Context, o.MaxBytes)
	if err != nil {
		return nil, err
	}
	s := newSums(m, tok)
	tokens, targets := make([]int32, o.Batch*o.Context), make([]int32, o.Batch*o.Context)
	var starts []int32
	for {
		rows := 0
		rows, starts = w.Next(tokens, targets, starts[:0])
		if rows == 0 {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := s.add(batch(tokens[:rows], targets[:rows], o.Context), o.Mode); err != nil {
			return nil, err
		}
		if o.Progress != nil {
			o.Progress(s.tokens, w.Tokens())
		}
	}
	return s.result(w.Bytes(), o.Context, o.Context, o.Mode)
}

// batch makes windows of T rows of consecutive tokens.
func batch(tokens, targets []int32, t int) *model.Batch {
	b := &model.Batch{Tokens: tokens, Targets: targets, Positions: make([]int32, len(tokens))}
	for i := range tokens {
		if b.Positions[i] = int32(i % t); i%t == 0 {
			b.Starts = append(b.Starts, int32(i))
		}
	}
	b.Starts = append(b.Starts, int32(len(tokens)))
	return b
}

// sums gathers what a Result is made of.
type sums struct {
	m       *model.Model
	tape    *model.Tape
	classes []uint8 // of each token of the vocabulary
	tokens  int64
	loss    float64
	depth   []int64
	agree   []agreement
	class   [len(classNames)]classSum
	windows []windowSum
	// Scratch: the rows with a target, those targets, and what the model gives them.
	rows, targets []int32
	logprob       []float32
}

// windowSum is the loss of the tokens that a window predicts.
type windowSum struct {
	loss   float64
	tokens int
}

type agreement struct{ same, all int64 }

type classSum struct {
	tokens, depth int64
	loss          float64
}

func newSums(m *model.Model, tok *token.Tokenizer) *sums {
	return &sums{m: m, tape: m.NewTape(), classes: classesOf(tok), depth: make([]int64, m.Config.Recursions()+1), agree: make([]agreement, m.Config.Recursions())}
}

func (s *sums) add(b *model.Batch, mode model.Mode) error {
	if err := s.m.Forward(s.tape, b, mode, false); err != nil {
		return err
	}
	s.rows, s.targets = s.rows[:0], s.targets[:0]
	for row, target := range b.Targets {
		if target >= 0 {
			s.rows, s.targets = append(s.rows, int32(row)), append(s.targets, target)
		}
	}
	s.logprob = sized(s.logprob, len(s.rows))
	s.m.Score(s.logprob, nil, s.tape, s.rows, s.targets)
	s.tokens += int64(len(s.rows))
	at := 0
	for q := range b.Sequences() {
		w := windowSum{}
		for ; at < len(s.rows) && s.rows[at] < b.Starts[q+1]; at++ {
			w.loss -= float64(s.logprob[at])
			w.tokens++
		}
		s.loss += w.loss
		s.windows = append(s.windows, w)
	}
	for i, row := range s.rows {
		d := s.tape.Depth[row]
		s.depth[d]++
		c := &s.class[s.classes[b.Tokens[row]]]
		c.tokens++
		c.depth += int64(d)
		c.loss -= float64(s.logprob[i])
	}
	if s.m.Config.Expert() && mode.Routing == model.TopK {
		s.agreements(mode)
	}
	return nil
}

// agreements compares, at each recursion, what was done with the candidates with what the threshold says of them.
func (s *sums) agreements(mode model.Mode) {
	for r := range s.agree {
		routed := s.tape.Routed(r)
		score := routed.Logits
		if routed.AuxLogits != nil {
			score = routed.AuxLogits
		}
		cut, next := s.m.Cut(r, mode), 0
		for i, row := range routed.Candidates {
			chosen := next < len(routed.Chosen) && routed.Chosen[next] == row
			if chosen {
				next++
			}
			s.agree[r].all++
			if chosen == (score[i] > cut) {
				s.agree[r].same++
			}
		}
	}
}

// result makes a measurement of what was gathered; bytes is the text that the predicted tokens stand for.
func (s *sums) result(bytes int64, context, stride int, mode model.Mode) (*Result, error) {
	n := float64(s.tokens)
	mode = effective(s.m.Config, mode)
	r := &Result{Routing: mode.Routing.String(), MaxRecursion: mode.MaxRecursion, Threshold: mode.Threshold, Context: context, Stride: stride, MinContext: 1, Tokens: s.tokens, Bytes: bytes}
	r.Loss = s.loss / n
	r.Perplexity, r.BitsPerByte = math.Exp(r.Loss), s.loss/math.Ln2/float64(bytes)
	r.StdErr = standardError(s.windows)
	for d, k := range s.depth {
		r.Histogram = append(r.Histogram, float64(k)/n)
		r.MeanDepth += float64(d) * float64(k) / n
	}
	if err := s.recursions(r); err != nil {
		return nil, err
	}
	for i, sum := range s.class {
		if sum.tokens > 0 {
			k := float64(sum.tokens)
			r.Classes = append(r.Classes, Class{classNames[i], k / n, float64(sum.depth) / k, sum.loss / k})
		}
	}
	return r, nil
}

// recursions fills in the share of each recursion and the FLOPs at these shares.
func (s *sums) recursions(r *Result) (err error) {
	c := s.m.Config
	r.FLOPs, err = flopsPerToken(c, r.Context, r.Histogram)
	if c.Recursion == nil || err != nil {
		return err
	}
	shares := sharesOf(r.Histogram)
	for i, capacity := range c.Shares() {
		rec := Recursion{Capacity: capacity, Share: shares[i]}
		if a := s.agree[i]; a.all > 0 {
			same := float64(a.same) / float64(a.all)
			rec.Agreement = &same
		}
		r.Recursions = append(r.Recursions, rec)
	}
	return nil
}

// standardError is that of the mean loss of a token, √(w/(w−1)·Σ (lossᵢ − mean·tokensᵢ)²) / Σ tokensᵢ over w windows, because tokens of one window are not
// independent; 0 for a single window.
func standardError(windows []windowSum) float64 {
	w := float64(len(windows))
	if w < 2 {
		return 0
	}
	loss, tokens, squares := 0.0, 0.0, 0.0
	for _, x := range windows {
		loss, tokens = loss+x.loss, tokens+float64(x.tokens)
	}
	for _, x := range windows {
		d := x.loss - loss/tokens*float64(x.tokens)
		squares += d * d
	}
	return math.Sqrt(w/(w-1)*squares) / tokens
}
