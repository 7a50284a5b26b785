package infer

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/token"
)

// LogProbs is what an engine on a CPU computes of a row of logits.
func LogProbs(cpu *kernel.CPU, logits []float32, id int32, k int) (float64, []LogProb) {
	return (&draft{cpu: cpu}).logProbs(logits, id, k)
}

// SubmitTogether queues requests without constraints so that the engine sees none of them before the last.
func (e *Engine) SubmitTogether(ctx context.Context, requests []Request) ([]*Stream, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	streams := make([]*Stream, len(requests))
	for i := range requests {
		reason, err := e.check(&requests[i])
		if streams[i], err = e.accept(ctx, &requests[i], nil, reason, err); err != nil {
			return nil, err
		}
	}
	return streams, nil
}

// Stepped is an engine that ticks when it is told to, until Run has its loop do so.
type Stepped struct {
	*Engine
	run sync.Once
}

// NewStepped returns one.
func NewStepped(m *model.Model, tok *token.Tokenizer, o EngineOptions) (*Stepped, error) {
	e, err := newEngine(m, tok, o)
	return &Stepped{Engine: e}, err
}

// Step ticks once, and tells whether there was something to do.
func (s *Stepped) Step() bool {
	more := s.collect()
	if more {
		s.guarded()
	}
	return more
}

// Run has the loop go on.
func (s *Stepped) Run() { s.run.Do(func() { go s.loop() }) }

// Phase is where the first text of a request is, "" where it has ended. The engine must not tick meanwhile.
func (e *Engine) Phase(s *Stream) string {
	if slices.Contains(e.queue, s) {
		return "waiting"
	}
	of := func(q *Sequence) bool { return q.stream == s && !q.ended }
	if slices.ContainsFunc(e.parked, of) {
		return "preempted"
	}
	i := slices.IndexFunc(e.running, of)
	if i < 0 {
		return ""
	}
	switch q := e.running[i]; {
	case e.aside.text == q:
		return "read aside"
	case q.spec.drafting:
		return "draft"
	case q.spec.guesses > 0:
		return "guesses are read"
	case q.drawn:
		return "decoding"
	case q.done > 0:
		return "middle of the prompt"
	}
	return "beginning of the prompt"
}

// Audit compares what the engine has given away with what its texts and prefixes hold, and refuses texts of requests that have ended. The engine must not tick
// meanwhile.
func (e *Engine) Audit() error {
	k := e.cache
	refs, kept, seats := make([]int32, k.total), make([]int32, k.total), len(e.seats)
	for _, list := range [2][]*Sequence{e.running, e.parked} {
		for _, q := range list {
			if q.ended {
				return fmt.Errorf("a text of %d tokens has ended and is still listed", len(q.tokens))
			}
			seats += len(q.chunk)
			for _, table := range q.tables {
				for _, page := range table {
					refs[page]++
				}
			}
		}
	}
	for at := k.recent.Front(); at != nil; at = at.Next() {
		for _, table := range at.Value.(*prefix).pages {
			for _, page := range table {
				refs[page]++
				kept[page]++
			}
		}
	}
	free := 0
	for page, n := range refs {
		if n != k.refs[page] || kept[page] != k.kept[page] {
			return fmt.Errorf("page %d: held %d times, %d of them by prefixes; texts have it %d times, prefixes %d", page, k.refs[page], k.kept[page], n-kept[page], kept[page])
		}
		if n == 0 {
			free++
		}
	}
	if free != len(k.free) || seats != len(e.flow.Seats) {
		return fmt.Errorf("%d pages are free, %d are listed; %d seats of %d are accounted for", free, len(k.free), seats, len(e.flow.Seats))
	}
	if n := len(e.flow.Seats) - len(e.seats); n != seated(k) {
		return fmt.Errorf("%d seats are taken, %d have a text", n, seated(k))
	}
	return nil
}

func seated(k *Cache) int {
	n := 0
	for _, q := range k.seated {
		if q != nil {
			n++
		}
	}
	return n
}

// Held is how many pages texts, prefixes apart, and how many seats rows hold. The engine must not tick meanwhile.
func (e *Engine) Held() (pages, seats int) {
	return e.cache.total - len(e.cache.free) - e.cache.idle, len(e.flow.Seats) - len(e.seats)
}
