package infer

import (
	"fmt"
	"math"
	"math/bits"

	"mor/internal/grammar"
)

// constraint compiles what the text has to match; nil where it is free.
func (e *Engine) constraint(o *Options) (*grammar.Grammar, error) {
	name, pattern := "regexp", o.Regexp
	var err error
	if o.JSONSchema != nil {
		name = "json_schema"
		pattern, err = grammar.JSONSchema(o.JSONSchema)
	} else if pattern == "" {
		return nil, nil
	}
	var g *grammar.Grammar
	if err == nil {
		g, err = grammar.Regexp(pattern, e.trie())
	}
	if err != nil {
		return nil, &OptionError{Name: name, err: fmt.Errorf("%s: %w", name, err)}
	}
	return g, nil
}

// constrain makes the tokens impossible that the grammar does not allow. It returns whether the text is over because nothing can follow. Where nothing can follow a
// text that must not end, it is an error: what does not match is never passed off as complete.
func (q *Sequence) constrain(logits []float32, eot int32) (over bool, err error) {
	g := q.stream.grammar
	if g == nil {
		return false, nil
	}
	mask, end, err := g.Allowed(q.place)
	if err != nil {
		return false, fmt.Errorf("regexp or json_schema: %w", err)
	}
	never, possible := float32(math.Inf(-1)), 0
	allow := func(id int32) bool { return id >= 0 && end && !math.IsInf(float64(logits[id]), -1) }
	stop := q.stream.request.StopTokens
	keep := make(map[int32]float32, len(stop)+1) // tokens that end the text, where it may end
	for _, id := range append([]int32{eot}, stop...) {
		if allow(id) {
			keep[id] = logits[id]
		}
	}
	for w, word := range mask {
		possible += bits.OnesCount64(word)
		if word == math.MaxUint64 {
			continue
		}
		for b := 64 * w; b < min(64*w+64, len(logits)); b++ {
			if word>>(b%64)&1 == 0 {
				logits[b] = never
			}
		}
	}
	if possible == 0 && !end {
		return false, fmt.Errorf("regexp or json_schema: no token of the vocabulary can follow what was written")
	}
	for id, v := range keep {
		logits[id] = v
	}
	return possible == 0, nil
}

// advance tells the grammar about a token that was drawn.
func (q *Sequence) advance(text []byte) error {
	if q.stream.grammar == nil {
		return nil
	}
	place, err := q.stream.grammar.Advance(q.place, text)
	if err != nil {
		return fmt.Errorf("regexp or json_schema: %w", err)
	}
	q.place = place
	return nil
}
