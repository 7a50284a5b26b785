package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"mor/internal/infer"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/token"
)

// Gaps are times between the tokens of texts, in seconds.
type Gaps struct {
	Tokens int     `json:"tokens"`
	Median float64 `json:"median_s"`
	P95    float64 `json:"p95_s"`
	Worst  float64 `json:"worst_s"`
}

func gaps(seconds []float64) Gaps {
	s := slices.Sorted(slices.Values(seconds))
	if len(s) == 0 {
		return Gaps{}
	}
	return Gaps{len(s), s[len(s)/2], s[len(s)*95/100], s[len(s)-1]}
}

// Beside is what the reading of a long prompt does to texts that decode beside it.
type Beside struct {
	Batch  int               `json:"batch"`        // texts
	Prompt int               `json:"prompt"`       // tokens of the long prompt
	Format kernel.PageFormat `json:"cache_format"` // that keys and values are asked to be kept as, then that they were
	Alone  Gaps              `json:"alone"`        // before the prompt comes and behind it, because texts grow meanwhile
	During Gaps              `json:"during"`       // until its text has its first token
	Ratio  float64           `json:"ratio"`        // of the medians
	Read   float64           `json:"read_s"`       // seconds for the long prompt
}

// besideAlone is how many tokens each text writes before the long prompt comes, and behind it.
const besideAlone = 64

// MeasureBeside has texts decode, and measures the time between their tokens without and with a prompt of so many tokens being read.
func MeasureBeside(ctx context.Context, m *model.Model, tok *token.Tokenizer, b Beside) (Beside, error) {
	batch := b.Batch
	e, err := newEngine(m, tok, func(o *infer.EngineOptions) { o.MaxRunning, o.CacheFormat = batch+1, b.Format })
	if err != nil {
		return b, err
	}
	defer e.Close()
	b.Format = e.Options().CacheFormat
	limit := m.Config.MaxPositionEmbeddings
	l := Load{Prompt: 8, Mean: float64(limit)}
	c := clock{live: batch, turn: make(chan struct{}, 1)}
	c.set(before)
	var texts sync.WaitGroup
	for i := range batch {
		r := l.request(i, m.Config.VocabSize, limit)
		r.MinTokens = r.MaxTokens
		s, err := e.Submit(ctx, &r)
		if err != nil {
			return b, err
		}
		texts.Go(func() { c.follow(s) })
	}
	if err := c.written(ctx, reading); err != nil {
		return b, err
	}
	long := (&Load{Prompt: b.Prompt, Mean: 1}).request(batch, m.Config.VocabSize, limit)
	started := time.Now()
	s, err := e.Submit(ctx, &long)
	if err == nil {
		_, err = s.Result()
		b.Read = time.Since(started).Seconds()
		c.set(after)
		err = errors.Join(err, c.written(ctx, over))
	}
	c.set(over)
	texts.Wait()
	b.Alone, b.During = gaps(append(c.gaps[before], c.gaps[after]...)), gaps(c.gaps[reading])
	if err == nil && b.During.Tokens == 0 {
		err = fmt.Errorf("the texts ended before the prompt was read: give a shorter one")
	}
	b.Ratio = b.During.Median / b.Alone.Median
	return b, err
}

// phase is what happens beside the texts.
type phase int

const (
	before phase = iota
	reading
	after
	over
)

// clock gathers the times between tokens by phase.
type clock struct {
	turn  chan struct{} // gets one when all texts have written besideAlone tokens in a phase, or have ended
	mu    sync.Mutex
	live  int // texts that have not ended
	wait  int // of these, how many have yet to write theirs
	phase phase
	gaps  [over][]float64
}

// set begins a phase.
func (c *clock) set(p phase) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase, c.wait = p, 0
	if p == before || p == after {
		c.wait = c.live + 1
		c.text()
	}
}

// written waits until all texts have written what they write in a phase, and begins the next one.
func (c *clock) written(ctx context.Context, next phase) error {
	select {
	case <-c.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.set(next)
	return nil
}

// follow receives a text until the last phase. Its first tokens come while prompts of the others are read, and do not count.
func (c *clock) follow(s *infer.Stream) {
	last, n, seen := time.Now(), 0, before
	for range s.Tokens() {
		now := time.Now()
		p := c.token(now.Sub(last), n, seen)
		if p != seen {
			n, seen = 0, p
		}
		if n++; p == over {
			return
		}
		last = now
	}
	c.end(n, seen)
}

// end counts a text that has ended behind its n-th token of a phase.
func (c *clock) end(n int, seen phase) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live--
	if c.phase != seen || n <= besideAlone {
		c.text()
	}
}

// token keeps the time of a text's n-th token of a phase, and returns the phase that it is in now.
func (c *clock) token(gap time.Duration, n int, seen phase) phase {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == over {
		return over
	}
	if c.phase == seen && (seen != before || n > besideAlone/4) {
		c.gaps[seen] = append(c.gaps[seen], gap.Seconds())
	}
	if c.phase == seen && n == besideAlone {
		c.text()
	}
	return c.phase
}

// text counts a text that has written its part. c.mu is held.
func (c *clock) text() {
	if c.wait--; c.wait == 0 {
		c.turn <- struct{}{} // nobody else tells in this phase
	}
}
