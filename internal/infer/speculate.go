package infer

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"mor/internal/grammar"
	"mor/internal/model"
)

// maxSpeculate bounds the tokens that a request may have guessed at a time.
const maxSpeculate = 16

// speculation has a text guess its next tokens with one recursion, and read the guesses at full depth in one pass (self-speculative decoding, arXiv 2404.16710,
// with the recursion as the early exit). Behind each token that was read the next one is drawn as it would be without guesses, with the same random number; guesses
// hold as long as they are what is drawn. So neither a text nor its distribution depends on them. A guess is drawn from the shallow logits with the random number
// that will draw the token, which makes the two agree the more often the closer the logits are.
type speculation struct {
	drafting bool
	guesses  int // last ones of the sequence's tokens
	over     bool
	done     int // Sequence.done, place and generator from before the draft
	place    grammar.State
	rng      rand.PCG
}

// checkSpeculate refuses guesses where no recursion can be left out.
func (o *Options) checkSpeculate(c *model.Config) error {
	if o.Speculate == 0 {
		return nil
	}
	mode := o.mode()
	if mode.Recursions(c) < 2 {
		return &OptionError{Name: "speculate", Found: o.Speculate, Expected: "0: tokens are guessed with one recursion, and this model or max_recursion has no more"}
	}
	shallow := model.Mode{MaxRecursion: 1}
	if err := shallow.Check(c); err != nil {
		return &OptionError{Name: "speculate", err: fmt.Errorf("speculate: %d: tokens are guessed with one recursion: %w", o.Speculate, err)}
	}
	return nil
}

// known is how many tokens of a sequence are no guesses.
func (q *Sequence) known() int { return len(q.tokens) - q.spec.guesses }

// guessable is how many tokens are worth guessing.
func (e *Engine) guessable(q *Sequence) int {
	o := &q.stream.request.Options
	n := min(o.Speculate, e.longest-q.known())
	if o.MaxTokens > 0 {
		n = min(n, o.MaxTokens-q.choice.Tokens-1)
	}
	return n
}

// next has the next rows of a text that decodes enter: the token that was drawn last, in a draft the last guess, behind a draft all of them. At most extra guesses
// are read. It returns how many rows entered.
func (e *Engine) next(q *Sequence, extra int) int {
	s := &q.spec
	most := max(min(e.guessable(q), extra), 0)
	switch {
	case s.drafting && (s.over || s.guesses >= most):
		e.endDraft(q)
		s.guesses = min(s.guesses, most)
		q.tokens = q.tokens[:q.spec.done+1+s.guesses]
		q.stream.result.Drafted += s.guesses
		e.count.Drafted += uint64(s.guesses)
	case !s.drafting && s.guesses == 0 && most > 0:
		e.beginDraft(q)
	}
	n := 1
	if !s.drafting {
		n += s.guesses
	}
	if !e.take(q, n) {
		return 0
	}
	e.entering = append(e.entering, q.chunk...)
	return n
}

// beginDraft has a text go on with one recursion. What is to be undone is kept.
func (e *Engine) beginDraft(q *Sequence) {
	q.spec = speculation{drafting: true, done: q.done, place: q.place, rng: q.sampler.rng}
	q.limit = 1
	q.sampler.mark()
	q.sampler.Generated(q.next.ID)
}

// endDraft undoes all of a draft but the guesses.
func (e *Engine) endDraft(q *Sequence) {
	s := &q.spec
	q.place, q.sampler.rng = s.place, s.rng
	q.sampler.rewind(q.tokens[q.known()-1:])
	e.retract(q, s.done)
	q.limit = q.full
	s.drafting = false
}

// abandon drops the guesses of a text that ends or makes way.
func (e *Engine) abandon(q *Sequence) {
	s := &q.spec
	if s.drafting {
		e.endDraft(q)
	}
	known := q.known()
	e.retract(q, min(q.done, known))
	q.tokens, s.guesses = q.tokens[:known], 0
}

// retract forgets what was computed for the tokens from done on.
func (e *Engine) retract(q *Sequence, done int) {
	if q.done == done {
		return
	}
	e.cache.retract(q, done)
	if !q.spec.drafting {
		for _, d := range q.depth[done:] {
			e.count.Depths[d]--
			e.count.Saved -= uint64(e.m.Config.Recursions() - int(d))
		}
	}
	q.depth, q.done = q.depth[:done], done
	copy(q.seen, q.count)
}

// guess draws a guess from logits[v] that one recursion gave, unless the text would end there.
func (q *Sequence) guess(logits []float32, d *draft, eot int32) {
	s, o := &q.spec, &q.stream.request.Options
	o.exclude(logits, q.choice.Tokens+1+s.guesses, eot)
	over, err := q.constrain(logits, eot)
	if s.over = over || err != nil; s.over { // what is wrong will show when the real token is drawn
		return
	}
	q.sampler.draft = d
	id, err := q.sampler.Sample(logits)
	if s.over = err != nil || id == eot || slices.Contains(o.StopTokens, id); s.over {
		return
	}
	q.sampler.Generated(id)
	q.tokens = append(q.tokens, id)
	s.guesses++
}

// confirm compares the token that was drawn with the guess at its place, and returns whether the rows behind it hold. Otherwise they are forgotten.
func (e *Engine) confirm(q *Sequence) bool {
	s := &q.spec
	if s.guesses == 0 {
		return false
	}
	if known := q.known(); q.tokens[known] == q.next.ID {
		s.guesses--
		q.stream.result.Accepted++
		e.count.Accepted++
		return true
	}
	e.abandon(q)
	return false
}
