package infer

import (
	"cmp"
	"slices"
	"time"
)

// tick takes every row under way through one recursion: it lets requests in, has rows enter, runs the block once for all that are in the loop, lets
// those that leave through the rest of the model, draws, and delivers.
func (e *Engine) tick() {
	e.sweep()
	e.admit()
	started := time.Now()
	e.enter()
	if e.o.Schedule == SequenceWise {
		for e.loopRows(true); len(e.live) > e.idle; e.loopRows(true) {
			e.pass()
		}
	} else if e.loopRows(false); len(e.live) > 0 {
		e.pass()
	}
	e.leaveRows()
	e.draw()
	e.readAside(time.Since(started))
	e.running = slices.DeleteFunc(e.running, func(q *Sequence) bool { return q.ended })
	e.publish()
}

// sweep ends what was cancelled, and what failed in another text of its request.
func (e *Engine) sweep() {
	for _, list := range [2][]*Sequence{e.running, e.parked} {
		for _, q := range list {
			if err := e.broken(q.stream); err != nil && !q.ended {
				e.finish(q, err)
			}
		}
	}
	e.parked = slices.DeleteFunc(e.parked, func(q *Sequence) bool { return q.ended })
	e.running = slices.DeleteFunc(e.running, func(q *Sequence) bool { return q.ended })
	e.queue = slices.DeleteFunc(e.queue, func(s *Stream) bool {
		err := e.broken(s)
		if err != nil {
			e.leave(s)
			e.close(s, err)
		}
		return err != nil
	})
}

// broken is why a request must not go on.
func (e *Engine) broken(s *Stream) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = recovered(v)
		}
	}()
	if s.failure != nil {
		return s.failure
	}
	return s.cancelled()
}

// admit lets in those that were preempted, and then requests, as long as there are places, and pages for what is to be read.
func (e *Engine) admit() {
	for len(e.parked) > 0 && len(e.running) < e.o.MaxRunning && e.room(e.parked[0]) {
		q := e.parked[0]
		e.parked = e.parked[1:]
		e.join(q)
	}
	for len(e.queue) > 0 && len(e.parked) == 0 {
		s := e.queue[0]
		n := s.request.samples()
		if len(e.running) > 0 && len(e.running)+n > e.o.MaxRunning {
			return
		}
		lead := e.newSequence(s, 0)
		if !e.room(lead) {
			return
		}
		e.queue = e.queue[1:]
		e.leave(s)
		s.result.Queued = time.Since(s.submitted)
		s.started = time.Now()
		s.left, s.choices = n, make([]Choice, n)
		e.join(lead)
		for i := 1; i < n; i++ {
			q := e.newSequence(s, i)
			q.lead = lead
			e.join(q)
		}
	}
}

// room tells whether there are pages for the tokens that a sequence has. What is remembered gives way.
func (e *Engine) room(q *Sequence) bool {
	need := e.cache.pagesFor(len(q.tokens) + 1)
	return need <= len(e.cache.free)+e.cache.idle || len(e.running) == 0
}

// join lets a sequence run, in the order of age. What others have left of its beginning is used again.
func (e *Engine) join(q *Sequence) {
	i, _ := slices.BinarySearchFunc(e.running, q.id, func(r *Sequence, id int32) int { return cmp.Compare(r.id, id) })
	e.running = slices.Insert(e.running, i, q)
	o := &q.stream.request.Options
	if q.choice.Tokens == 0 && !q.drawn {
		if err := q.sampler.Reset(o.Sampling, uint64(q.index)); err != nil {
			e.finish(q, err)
			return
		}
		q.sampler.Observe(q.tokens...)
	}
	if e.o.PrefixReuse && q.lead == nil && !o.scoresPrompt() && !o.RouterScores {
		q.done = e.cache.reuse(q, len(q.tokens)-1)
		copy(q.seen, q.count)
		if q.done > 0 {
			e.count.PrefixHits++
			e.count.CachedTokens += uint64(q.done)
			if !q.drawn && q.choice.Tokens == 0 {
				q.stream.result.CachedTokens = q.done
			}
		}
	}
}

// enter has the next tokens of sequences enter: first those that decode, then prompts. Where texts decode, long ones are read aside.
func (e *Engine) enter() {
	e.entering, e.decoding = e.entering[:0], 0
	budget := e.o.TokenBudget
	for i := 0; i < len(e.running); i++ {
		if q := e.running[i]; q.decoding() {
			if e.decoding++; len(q.chunk) == 0 {
				budget -= e.next(q, budget-1)
			}
		}
	}
	for i := 0; i < len(e.running) && budget > 0; i++ {
		q := e.running[i]
		if !q.reading() || e.decoding > 0 && e.long(q) {
			continue
		}
		if n := min(q.left(), budget); n > 0 && e.take(q, n) {
			e.entering = append(e.entering, q.chunk...)
			budget -= n
		}
	}
	if e.decoding > 0 {
		e.beginAside(budget)
	}
	if len(e.entering) > 0 {
		e.flow.Enter(e.entering)
	}
}

// take gives the next n tokens of a sequence seats and pages, from the youngest sequences if need be; if it is itself the youngest, it makes
// way and take returns false.
func (e *Engine) take(q *Sequence, n int) bool {
	for {
		need := e.cache.wanted(q, n)
		e.cache.forget(need)
		if need <= len(e.cache.free) && n <= len(e.seats) {
			break
		}
		last := len(e.running) - 1
		for e.running[last] != q && e.running[last].lead != nil { // it holds nothing
			last--
		}
		youngest := e.running[last]
		e.preempt(youngest)
		if youngest == q {
			return false
		}
	}
	e.cache.reserve(q, n)
	for i := range n {
		last := len(e.seats) - 1
		seat := e.seats[last]
		e.seats = e.seats[:last]
		at := q.done + i
		s := &e.flow.Seats[seat]
		s.Token, s.Pos, s.Limit, s.Cut = q.tokens[at], int32(at), q.limit, q.cut
		e.cache.seated[seat] = q
		q.chunk = append(q.chunk, seat)
	}
	return true
}

// preempt takes everything from a sequence, which will compute its tokens again.
func (e *Engine) preempt(q *Sequence) {
	e.strip(q)
	e.count.Preempted++
	e.running = slices.DeleteFunc(e.running, func(r *Sequence) bool { return r == q })
	i, _ := slices.BinarySearchFunc(e.parked, q.id, func(r *Sequence, id int32) int { return cmp.Compare(r.id, id) })
	e.parked = slices.Insert(e.parked, i, q)
}

// strip frees the seats and pages of a sequence.
func (e *Engine) strip(q *Sequence) {
	e.abandon(q)
	if e.aside.text == q {
		e.aside.text = nil
	}
	if len(q.chunk) > 0 {
		e.entering = slices.DeleteFunc(e.entering, func(s int32) bool { return slices.Contains(q.chunk, s) })
	}
	e.unseat(q)
	e.cache.drop(q)
	q.done, q.depth, q.prefix, q.blocks = 0, q.depth[:0], nil, 0
}

// unseat frees the seats of a sequence.
func (e *Engine) unseat(q *Sequence) {
	for _, s := range q.chunk {
		e.cache.seated[s] = nil
	}
	e.seats = append(e.seats, q.chunk...)
	q.chunk = q.chunk[:0]
}

// loopRows lists the rows that are in the loop, in the order of their recursion; with whole, behind them the rows that have left it and walk on idly.
func (e *Engine) loopRows(whole bool) {
	e.live, e.idle = e.live[:0], 0
	for r := range int32(e.m.Config.Recursions()) {
		for q := range e.together {
			for _, s := range q.chunk {
				if seat := &e.flow.Seats[s]; !seat.Out && seat.Next == r {
					e.live = append(e.live, s)
				}
			}
		}
	}
	if !whole || len(e.live) == 0 {
		return
	}
	n := len(e.live)
	for q := range e.together {
		for _, s := range q.chunk {
			if e.flow.Seats[s].Out {
				e.live = append(e.live, s)
			}
		}
	}
	e.idle = len(e.live) - n
}

// pass runs the block for the rows that loopRows has listed.
func (e *Engine) pass() {
	e.flow.Loop(e.live, e.idle)
	e.count.Passes++
	e.count.Rows += uint64(len(e.live))
}

// leaveRows takes the chunks whose rows have all left the loop through the rest of the model.
func (e *Engine) leaveRows() {
	e.leaving, e.draws, e.from = e.leaving[:0], e.draws[:0], e.flow
	for q := range e.together {
		if q.ready(e.flow) {
			e.leaving = append(e.leaving, q.chunk...)
		}
	}
	if len(e.leaving) == 0 {
		return
	}
	e.flow.Leave(e.leaving)
	row := int32(0)
	for q := range e.together {
		if q.ready(e.flow) {
			n := int32(len(q.chunk))
			e.left(q, row)
			row += n
		}
	}
}

// left ends a chunk that has gone through the whole model, whose first row is the given one of the pass. Behind the last of a sequence something is drawn.
func (e *Engine) left(q *Sequence, row int32) {
	n := int32(len(q.chunk))
	if q.stream.request.scoresPrompt() && q.index == 0 {
		e.scorePrompt(q, row)
	}
	e.settle(q)
	if q.done < len(q.tokens) {
		return
	}
	q.row = row + n - 1
	if !q.spec.drafting {
		q.row -= int32(q.spec.guesses)
	}
	e.draws = append(e.draws, q)
}

// settle ends a chunk: its rows are computed.
func (e *Engine) settle(q *Sequence) {
	n := e.m.Config.Recursions()
	for _, s := range q.chunk {
		depth := e.flow.Seats[s].Depth
		q.stream.result.FLOPs += e.rowFLOPs(q, len(q.depth), int(depth))
		q.depth = append(q.depth, depth)
		if !q.spec.drafting {
			e.count.Depths[depth]++
			e.count.Saved += uint64(n - int(depth))
		}
	}
	if q.stream.request.RouterScores && !q.spec.drafting {
		e.keepScores(q)
	}
	e.cache.settle(q)
	copy(q.seen, q.count)
	q.done += len(q.chunk)
	e.unseat(q)
	if e.o.PrefixReuse && q.done == len(q.tokens) && !q.drawn {
		e.cache.remember(q)
	}
}

// rowFLOPs is what a token at a position took, without the head. q.seen counts the entries of the segments up to it.
func (e *Engine) rowFLOPs(q *Sequence, pos, depth int) float64 {
	c, sum := e.m.Config, 0.0
	for i := range e.m.Plan.Segments {
		s := &e.m.Plan.Segments[i]
		keys := pos + 1
		if s.Recursion >= depth {
			continue
		}
		if s.Recursion >= 0 && c.Adaptive() && !c.KVSharing() {
			q.seen[i]++
			keys = int(q.seen[i])
		}
		sum += e.segmentFLOPs[i] + float64(4*len(s.Layers)*c.QueryDim()*keys)
	}
	return sum
}
