package infer

import (
	"context"
	"errors"
	"slices"
	"time"
)

// draw hands on what the sequences in e.draws have read, and draws their next tokens.
func (e *Engine) draw() {
	e.draws = slices.DeleteFunc(e.draws, func(q *Sequence) bool { return !q.spec.drafting && !e.readOn(q) })
	e.fork()
	e.picked = e.picked[:0]
	for _, q := range e.draws {
		q.at = len(e.picked)
		rows := 1
		if !q.spec.drafting {
			rows += q.spec.guesses
		}
		for i := range rows {
			e.picked = append(e.picked, q.row+int32(i))
		}
		q.stream.result.FLOPs += float64(rows) * e.headFLOPs
	}
	v := e.m.Config.VocabSize
	e.logits = slices.Grow(e.logits[:0], len(e.picked)*v)[:len(e.picked)*v]
	if len(e.draws) > 0 {
		e.from.Logits(e.logits, e.picked)
	}
	for len(e.draws) > 0 {
		e.m.CPU().Pool().Run(len(e.draws), 1, (*drawTask)(e))
		e.draws = slices.DeleteFunc(e.draws, func(q *Sequence) bool { return !e.drawn(q) })
	}
}

// drawn takes the token that was drawn into its text. It returns whether the token was guessed, so that what comes behind it can be drawn at once.
func (e *Engine) drawn(q *Sequence) bool {
	switch o := &q.stream.request.Options; {
	case q.failed != nil:
		e.finish(q, q.failed)
		return false
	case q.spec.drafting:
		return false
	case q.over || q.next.ID == e.eot || slices.Contains(o.StopTokens, q.next.ID):
		q.drawn = false
		q.end(FinishStop)
		q.flush()
		e.finish(q, nil)
		return false
	}
	if err := q.advance(e.tok.TokenBytes(q.next.ID)); err != nil {
		e.finish(q, err)
		return false
	}
	if !e.confirm(q) {
		q.tokens = append(q.tokens, q.next.ID)
		return false
	}
	q.at++
	return e.readOn(q)
}

// readOn delivers the token that was drawn before, or describes the prompt, now that it has been read. It returns whether the text goes on.
func (e *Engine) readOn(q *Sequence) (on bool) {
	defer func() {
		if v := recover(); v != nil {
			e.finish(q, recovered(v))
			on = false
		}
	}()
	last := q.known() - 1
	if !q.drawn {
		if q.index == 0 {
			e.promptRead(q)
		}
		e.count.PromptTokens += uint64(len(q.tokens))
		return true
	}
	e.count.GeneratedTokens++
	var scores []float32
	if q.stream.request.RouterScores {
		scores = q.scores[last-(q.done-len(q.scores))]
	}
	if !q.read(int(q.depth[last]), scores, q.known() >= e.longest) {
		e.finish(q, nil)
		return false
	}
	return true
}

// fork gives the other texts behind a prompt what the first one has computed, and has them draw from the same logits.
func (e *Engine) fork() {
	for _, q := range e.running {
		lead := q.lead
		if lead == nil {
			continue
		}
		if lead.drawn || !slices.Contains(e.draws, lead) {
			continue
		}
		e.cache.share(q, lead)
		q.lead, q.done, q.depth = nil, lead.done, append(q.depth[:0], lead.depth...)
		copy(q.seen, lead.seen)
		q.prefix, q.blocks = lead.prefix, lead.blocks
		q.row = lead.row
		e.draws = append(e.draws, q)
	}
}

// drawTask draws for the sequences of e.draws, each from its logits.
type drawTask Engine

func (t *drawTask) Do(worker, lo, hi int) {
	v := t.m.Config.VocabSize
	for i := lo; i < hi; i++ {
		q := t.draws[i]
		q.draw(t.logits[q.at*v:(q.at+1)*v], t.drafts[worker], t.eot)
	}
}

// draw draws the next token, or a guess, from logits[v], which are changed.
func (q *Sequence) draw(logits []float32, d *draft, eot int32) {
	defer func() {
		if v := recover(); v != nil {
			q.failed = recovered(v)
		}
	}()
	if q.spec.drafting {
		q.guess(logits, d, eot)
		return
	}
	o := &q.stream.request.Options
	wanted := o.LogProbs || o.TopLogProbs > 0
	if wanted {
		d.raw = append(d.raw[:0], logits...)
	}
	o.exclude(logits, q.choice.Tokens, eot)
	over, err := q.constrain(logits, eot)
	if err != nil || over {
		q.failed, q.over = err, over
		return
	}
	q.sampler.draft = d
	id, err := q.sampler.Sample(logits)
	if err != nil {
		q.failed = err
		return
	}
	q.next, q.drawn = Token{Index: q.index, ID: id}, true
	if wanted {
		q.next.LogProb, q.next.Top = d.logProbs(d.raw, id, o.TopLogProbs)
	}
}

// promptRead describes the prompt.
func (e *Engine) promptRead(q *Sequence) {
	s, d := q.stream, e.tok.NewDecoder()
	s.result.Prefill = time.Since(s.started)
	s.started = time.Now()
	if q.prompt == nil {
		q.prompt = make([]Token, len(s.request.Prompt))
	}
	for i, id := range s.request.Prompt {
		t := &q.prompt[i]
		t.ID, t.Text, t.Depth = id, d.Write(id), int(q.depth[i])
	}
	q.prompt[len(q.prompt)-1].Text += d.Flush()
	s.read(q.prompt)
}

// scoreRows is how many rows of logits a prompt is scored with at a time.
const scoreRows = 32

// scorePrompt computes the log probabilities of the prompt's tokens behind the rows of a chunk, which begin at the given row of the pass.
func (e *Engine) scorePrompt(q *Sequence, row int32) {
	prompt, v := q.stream.request.Prompt, e.m.Config.VocabSize
	if q.prompt == nil {
		q.prompt = make([]Token, len(prompt))
	}
	for lo := 0; lo < len(q.chunk); lo += scoreRows {
		e.scored = e.scored[:0]
		for i := lo; i < min(lo+scoreRows, len(q.chunk)) && q.done+i+1 < len(prompt); i++ {
			e.scored = append(e.scored, row+int32(i))
		}
		n := len(e.scored)
		e.logits = slices.Grow(e.logits[:0], n*v)[:n*v]
		if n == 0 {
			return
		}
		e.from.Logits(e.logits, e.scored)
		for i := range n {
			t := &q.prompt[q.done+lo+i+1]
			t.LogProb, t.Top = e.drafts[0].logProbs(e.logits[i*v:(i+1)*v], prompt[q.done+lo+i+1], q.stream.request.TopPromptLogProbs)
		}
	}
}

// keepScores keeps the router scores of the rows of a chunk behind which something is drawn.
func (e *Engine) keepScores(q *Sequence) {
	n := e.m.Config.Recursions()
	q.scores = q.scores[:0]
	for _, seat := range q.chunk[max(len(q.chunk)-1-q.spec.guesses, 0):] {
		arrived := n
		if e.m.Config.Expert() {
			arrived = min(int(e.flow.Seats[seat].Depth)+1, int(q.limit))
		} else if !e.m.Config.Token() {
			arrived = 0
		}
		q.scores = append(q.scores, slices.Clone(e.flow.Scores[int(seat)*n:int(seat)*n+arrived]))
	}
}

// finish ends a text, frees what it holds, and with the last text ends the request.
func (e *Engine) finish(q *Sequence, err error) {
	if q.ended {
		return
	}
	e.abandon(q)
	s := q.stream
	s.result.CacheBytes += e.cache.bytes(q)
	if err == nil && e.o.PrefixReuse {
		e.cache.remember(q)
	}
	e.strip(q)
	q.ended = true
	s.choices[q.index] = q.choice
	if s.failure == nil {
		s.failure = err
	}
	if s.left--; s.left == 0 {
		s.result.Decode = time.Since(s.started)
		e.close(s, s.failure)
	}
}

// close ends a request that holds nothing any more.
func (e *Engine) close(s *Stream, err error) {
	switch {
	case err == nil:
		e.count.Requests++
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		e.count.Cancelled++
	default:
		e.count.Failed++
	}
	e.publish()
	s.end(s.choices, err)
}

// publish makes the loop's counts those of Stats.
func (e *Engine) publish() {
	e.mu.Lock()
	defer e.mu.Unlock()
	depths, rejected := e.stats.Depths, e.stats.Rejected
	copy(depths, e.count.Depths)
	e.stats = e.count
	e.stats.Depths, e.stats.Rejected = depths, rejected
	e.stats.Running = 0
	for _, q := range e.running {
		if !q.ended {
			e.stats.Running++
		}
	}
	e.stats.PagesFree, e.stats.PagesCached = len(e.cache.free), e.cache.idle
	e.stats.PagesUsed = e.cache.total - len(e.cache.free) - e.cache.idle
}
