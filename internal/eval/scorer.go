package eval

import (
	"fmt"
	"slices"
	"strings"

	"mor/internal/model"
	"mor/internal/token"
)

// request is a continuation to score behind a context, as tokens.
type request struct {
	tokens  []int32 // what the model reads: both, without the last token
	targets []int32 // the continuation; the first is predicted by row len(tokens)−len(targets)
}

// Score is what a model says of a continuation.
type Score struct {
	LogProb float64 // natural logarithm, of all its tokens together
	Greedy  bool    // each of them is the likeliest
	Depths  []int64 // [N+1] tokens read that took so many recursions
}

// pairs encodes contexts and continuations as lm-evaluation-harness does.
type pairs struct {
	tok     *token.Tokenizer
	limit   int    // tokens that the model reads at most
	context string // encoded last
	length  int    // its tokens
}

// encode encodes a continuation together with its context. White space at the end of the context goes to the continuation. Of what is too long, the
// beginning is cut off.
func (p *pairs) encode(context, continuation string) (request, error) {
	text := context + continuation
	context = strings.TrimRightFunc(context, space)
	whole := p.whole(text)
	if context != p.context || p.length == 0 {
		p.context, p.length = context, len(p.whole(context))
	}
	if p.length == 0 {
		eot, ok := p.tok.EOT()
		if !ok {
			return request{}, fmt.Errorf("the context is empty, and the tokenizer has no end-of-text token to stand for it")
		}
		whole = append([]int32{eot}, whole...)
	}
	length := max(p.length, 1)
	n := len(whole) - length
	if n < 1 || n > p.limit {
		return request{}, fmt.Errorf("continuation %.40q: %d tokens: expected 1 to %d, the context", continuation, n, p.limit)
	}
	targets := whole[length:]
	whole = whole[max(0, len(whole)-1-p.limit):]
	return request{whole[:len(whole)-1], targets}, nil
}

// whole encodes a text with what the tokenizer puts around it.
func (p *pairs) whole(text string) []int32 {
	out := append(make([]int32, 0, len(text)/3+8), p.tok.Prefix()...)
	return append(p.tok.AppendEncode(out, []byte(text)), p.tok.Suffix()...)
}

// scorer scores requests of which many may begin alike.
type scorer struct {
	m       *model.Model
	mode    model.Mode
	plain   bool // only equal requests are shared
	tape    *model.Tape
	tree    model.Tree
	batch   model.Batch
	order   []int   // the requests as they sort
	ends    []int32 // [requests] end of each request's path in order's order
	rows    []int32
	targets []int32
	logprob []float32
	greedy  []bool
}

// newScorer returns a scorer. Top-k routing looks at whole sequences, so there only equal ones are shared.
func newScorer(m *model.Model, mode model.Mode) *scorer {
	return &scorer{m: m, mode: mode, plain: m.Config.Expert() && mode.Routing == model.TopK, tape: m.NewTape()}
}

// score runs the requests in one pass. A result does not depend on the other requests, bit for bit.
func (s *scorer) score(requests []request) ([]Score, error) {
	s.lay(requests)
	var err error
	if s.plain {
		err = s.m.Forward(s.tape, &s.batch, s.mode, false)
	} else {
		err = s.m.ForwardTree(s.tape, &s.batch, &s.tree, s.mode)
	}
	if err != nil {
		return nil, err
	}
	s.logprob, s.greedy = sized(s.logprob, len(s.rows)), sized(s.greedy, len(s.rows))
	s.m.Score(s.logprob, s.greedy, s.tape, s.rows, s.targets)
	out := make([]Score, len(requests))
	at := 0
	for i, j := range s.order {
		r, score := &requests[j], &out[j]
		*score = Score{Greedy: true, Depths: make([]int64, s.m.Config.Recursions()+1)}
		for range r.targets {
			score.LogProb += float64(s.logprob[at])
			score.Greedy = score.Greedy && s.greedy[at]
			at++
		}
		for _, row := range s.path(i, r) {
			score.Depths[s.tape.Depth[row]]++
		}
	}
	return out, nil
}

// path is the rows of the i-th request in order.
func (s *scorer) path(i int, r *request) []int32 {
	return s.tree.Paths[int(s.ends[i])-len(r.tokens) : s.ends[i]]
}

// lay makes the batch: the requests in the order of their tokens, each with the rows that it does not share with the one before.
func (s *scorer) lay(requests []request) {
	s.order = sized(s.order, len(requests))
	for i := range s.order {
		s.order[i] = i
	}
	slices.SortStableFunc(s.order, func(a, b int) int { return slices.Compare(requests[a].tokens, requests[b].tokens) })
	b, k := &s.batch, &s.tree
	b.Tokens, b.Positions, b.Starts = b.Tokens[:0], b.Positions[:0], append(b.Starts[:0], 0)
	k.Paths, k.Branches = k.Paths[:0], k.Branches[:0]
	s.ends, s.rows, s.targets = s.ends[:0], s.rows[:0], s.targets[:0]
	var before []int32 // tokens of the request before
	start := 0         // of its path
	for _, j := range s.order {
		r := &requests[j]
		shared := common(before, r.tokens)
		if s.plain && shared < len(r.tokens) {
			shared = 0
		}
		if shared < len(r.tokens) {
			lo := len(k.Paths)
			k.Paths = append(k.Paths, k.Paths[start:start+shared]...)
			for p, tok := range r.tokens[shared:] {
				k.Paths = append(k.Paths, int32(len(b.Tokens)))
				b.Tokens, b.Positions = append(b.Tokens, tok), append(b.Positions, int32(shared+p))
			}
			b.Starts = append(b.Starts, int32(len(b.Tokens)))
			k.Branches = append(k.Branches, model.Branch{Lo: int32(lo), Hi: int32(len(k.Paths)), Own: int32(lo + shared)})
			before, start = r.tokens, lo
		}
		end := start + len(r.tokens)
		s.ends = append(s.ends, int32(end))
		s.rows = append(s.rows, k.Paths[end-len(r.targets):end]...)
		s.targets = append(s.targets, r.targets...)
	}
}

// common is how many tokens a and b begin alike with.
func common(a, b []int32) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// sized is x with n elements, of no particular value.
func sized[T any](x []T, n int) []T {
	if cap(x) < n {
		return make([]T, n, n+n/4)
	}
	return x[:n]
}
