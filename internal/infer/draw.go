package infer

import (
	"context"
	"errors"
	"slices"
	"time"
)

// draw hands on what the sequences in e.draws have read, and draws their next tokens.
func (e *Engine) draw() {
	n := 0
	for i, q := range e.draws {
		if !e.readOn(q) {
			continue
		}
		e.draws[n], e.picked[n] = q, e.picked[i]
		n++
	}
	e.draws, e.picked = e.draws[:n], e.picked[:n]
	e.fork()
	v := e.m.Config.VocabSize
	e.logits = slices.Grow(e.logits[:0], len(e.draws)*v)[:len(e.draws)*v]
	if len(e.draws) == 0 {
		return
	}
	e.flow.Logits(e.logits, e.picked)
	e.m.CPU().Pool().Run(len(e.draws), 1, (*drawTask)(e))
	for _, q := range e.draws {
		q.stream.result.FLOPs += e.headFLOPs
		switch o := &q.stream.request.Options; {
		case q.failed != nil:
			e.finish(q, q.failed)
		case q.over || q.next.ID == e.eot || slices.Contains(o.StopTokens, q.next.ID):
			q.drawn = false
			q.end(FinishStop)
			q.flush()
			e.finish(q, nil)
		default:
			if err := q.advance(e.tok.TokenBytes(q.next.ID)); err != nil {
				e.finish(q, err)
				continue
			}
			q.tokens = append(q.tokens, q.next.ID)
		}
	}
}

// readOn delivers the token that was drawn before, or describes the prompt, now that it has been read. It returns whether the text goes on.
func (e *Engine) readOn(q *Sequence) (on bool) {
	defer func() {
		if v := recover(); v != nil {
			e.finish(q, recovered(v))
			on = false
		}
	}()
	last := len(q.tokens) - 1
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
		scores = q.scores
	}
	if !q.read(int(q.depth[last]), scores, len(q.tokens) >= e.longest) {
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
		i := slices.Index(e.draws, lead)
		if i < 0 || lead.drawn {
			continue
		}
		e.cache.share(q, lead)
		q.lead, q.done, q.depth = nil, lead.done, append(q.depth[:0], lead.depth...)
		copy(q.seen, lead.seen)
		q.prefix, q.blocks = lead.prefix, lead.blocks
		e.draws, e.picked = append(e.draws, q), append(e.picked, e.picked[i])
	}
}

// drawTask draws for the sequences of e.draws, each from its logits.
type drawTask Engine

func (t *drawTask) Do(worker, lo, hi int) {
	v := t.m.Config.VocabSize
	for i := lo; i < hi; i++ {
		t.draws[i].draw(t.logits[i*v:(i+1)*v], t.drafts[worker], t.eot)
	}
}

// draw draws the next token from logits[v], which are changed.
func (q *Sequence) draw(logits []float32, d *draft, eot int32) {
	defer func() {
		if v := recover(); v != nil {
			q.failed = recovered(v)
		}
	}()
	o := &q.stream.request.Options
	wanted := o.LogProbs || o.TopLogProbs > 0
	if wanted {
		d.raw = append(d.raw[:0], logits...)
	}
	if q.choice.Tokens < o.MinTokens {
		forbid(logits, eot, o.StopTokens)
	}
	forbid(logits, -1, o.Banned)
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
		q.next.LogProb, q.next.Top = logProbs(d.raw, id, o.TopLogProbs)
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
		e.flow.Logits(e.logits, e.scored)
		for i := range n {
			t := &q.prompt[q.done+lo+i+1]
			t.LogProb, t.Top = logProbs(e.logits[i*v:(i+1)*v], prompt[q.done+lo+i+1], q.stream.request.TopLogProbs)
		}
	}
}

// keepScores keeps the router scores of the last row of a chunk.
func (e *Engine) keepScores(q *Sequence) {
	n := e.m.Config.Recursions()
	seat := q.chunk[len(q.chunk)-1]
	arrived := n
	if e.m.Config.Expert() {
		arrived = min(int(e.flow.Seats[seat].Depth)+1, int(q.limit))
	} else if !e.m.Config.Token() {
		arrived = 0
	}
	q.scores = slices.Clone(e.flow.Scores[int(seat)*n : int(seat)*n+arrived])
}

// finish ends a text, frees what it holds, and with the last text ends the request.
func (e *Engine) finish(q *Sequence, err error) {
	if q.ended {
		return
	}
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
