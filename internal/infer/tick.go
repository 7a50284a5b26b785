package infer

import "time"

// text is one text of a request under way.
type text struct {
	writer
	seq    *Sequence
	at     int // prompt tokens read
	since  time.Time
	ended  bool
	prompt []int32
}

// tick takes every text one step on.
func (e *Engine) tick() {
	e.admit()
	for _, t := range e.running {
		e.guard(t)
	}
	kept := e.running[:0]
	for _, t := range e.running {
		if !t.ended {
			kept = append(kept, t)
		}
	}
	e.running = kept
}

// admit lets waiting requests in.
func (e *Engine) admit() {
	for len(e.queue) > 0 {
		s := e.queue[0]
		if err := s.cancelled(); err != nil {
			e.queue = e.queue[1:]
			e.leave(s)
			s.end(nil, err)
			continue
		}
		if n := len(e.running); n > 0 && n+s.request.samples() > e.o.MaxRunning {
			return
		}
		e.queue = e.queue[1:]
		e.leave(s)
		s.result.Queued = time.Since(s.submitted)
		s.left = s.request.samples()
		s.choices = make([]Choice, s.left)
		for i := range s.left {
			t := &text{seq: NewSequence(e.m), since: time.Now(), prompt: s.request.Prompt}
			t.stream, t.index, t.decoder = s, i, e.tok.NewDecoder()
			t.sampler = Sampler{draft: e.draft, vocab: e.m.Config.VocabSize}
			t.outlet.reset(s.request.Stop)
			t.decoder.Follow(t.prompt)
			t.seq.Reset(s.request.MaxRecursion, s.request.RouterThreshold)
			if err := t.sampler.Reset(s.request.Sampling, uint64(i)); err != nil {
				t.fail(err)
				continue
			}
			t.sampler.Observe(t.prompt...)
			e.running = append(e.running, t)
		}
	}
}

// guard takes a text one step on; what goes wrong ends its request alone.
func (e *Engine) guard(t *text) {
	defer func() {
		if v := recover(); v != nil {
			t.fail(recovered(v))
		}
	}()
	if t.ended {
		return
	}
	err := t.stream.cancelled()
	if err == nil {
		err = e.step(t)
	}
	if err != nil {
		t.fail(err)
	}
}

// step reads a chunk of the prompt, or the token that was drawn, and draws the next one.
func (e *Engine) step(t *text) error {
	if t.at < len(t.prompt) {
		hi := min(t.at+e.o.TokenBudget, len(t.prompt))
		if err := t.seq.Append(t.prompt[t.at:hi]); err != nil {
			return err
		}
		if t.at = hi; hi < len(t.prompt) {
			return nil
		}
		e.promptRead(t)
		return e.draw(t)
	}
	if err := t.seq.Append([]int32{t.next.ID}); err != nil {
		return err
	}
	t.stream.result.Decode += time.Since(t.since)
	t.since = time.Now()
	full := len(t.seq.Tokens) == e.m.Config.MaxPositionEmbeddings
	if !t.read(int(t.seq.Depth[len(t.seq.Depth)-1]), nil, full) {
		t.finish(nil)
		return nil
	}
	return e.draw(t)
}

// promptRead describes the prompt.
func (e *Engine) promptRead(t *text) {
	t.stream.result.Prefill += time.Since(t.since)
	t.since = time.Now()
	if t.index > 0 {
		return
	}
	d := e.tok.NewDecoder()
	prompt := make([]Token, len(t.prompt))
	for i, id := range t.prompt {
		prompt[i] = Token{ID: id, Text: d.Write(id), Depth: int(t.seq.Depth[i])}
	}
	prompt[len(prompt)-1].Text += d.Flush()
	t.stream.read(prompt)
}

// draw draws the next token.
func (e *Engine) draw(t *text) error {
	o, logits := &t.stream.request.Options, t.seq.Logits()
	raw := logits
	if o.LogProbs || o.TopLogProbs > 0 {
		raw = append([]float32(nil), logits...)
	}
	if t.choice.Tokens < o.MinTokens {
		forbid(logits, e.eot, o.StopTokens)
	}
	id, err := t.sampler.Sample(logits)
	if err != nil {
		return err
	}
	if id == e.eot || stops(o.StopTokens, id) {
		t.end(FinishStop)
		t.flush()
		t.finish(nil)
		return nil
	}
	t.next, t.drawn = Token{Index: t.index, ID: id}, true
	if o.LogProbs || o.TopLogProbs > 0 {
		t.next.LogProb, t.next.Top = logProbs(raw, id, o.TopLogProbs)
	}
	return nil
}

// finish ends the text, and with the last one its request.
func (t *text) finish(err error) {
	t.ended = true
	s := t.stream
	s.choices[t.index] = t.choice
	s.result.CacheBytes += t.seq.CacheBytes()
	if s.left--; err != nil {
		s.failure = err
		s.Cancel()
	}
	if s.left == 0 {
		s.end(s.choices, s.failure)
	}
}

// fail ends the text, and its request as soon as its other texts see it.
func (t *text) fail(err error) {
	if t.stream.failure != nil {
		err = t.stream.failure
	}
	t.finish(err)
}
