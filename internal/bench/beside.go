package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"mor/internal/infer"
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
	Batch  int     `json:"batch"`  // texts
	Prompt int     `json:"prompt"` // tokens of the long prompt
	Alone  Gaps    `json:"alone"`  // before the prompt comes
	During Gaps    `json:"during"` // until its text has its first token
	Ratio  float64 `json:"ratio"`  // of the medians
	Read   float64 `json:"read_s"` // seconds for the long prompt
}

// besideAlone is how many tokens each text has written when the long prompt comes.
const besideAlone = 64

// MeasureBeside has texts decode, and measures the time between their tokens without and with a prompt of so many tokens being read.
func MeasureBeside(ctx context.Context, m *model.Model, tok *token.Tokenizer, batch, prompt int) (Beside, error) {
	b := Beside{Batch: batch, Prompt: prompt}
	if tok == nil {
		var err error
		if tok, err = anyTokenizer(m.Config.VocabSize); err != nil {
			return b, err
		}
	}
	o := infer.DefaultEngineOptions()
	o.MaxRunning, o.PrefixReuse, o.CacheBytes = batch+1, false, 1<<40
	e, err := infer.NewEngine(m, tok, o)
	if err != nil {
		return b, err
	}
	defer e.Close()
	limit := m.Config.MaxPositionEmbeddings
	l := Load{Prompt: 8, Mean: float64(limit)}
	c := clock{ready: make(chan struct{}), wait: batch}
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
	select {
	case <-c.ready:
	case <-ctx.Done():
		return b, ctx.Err()
	}
	long := (&Load{Prompt: prompt, Mean: 1}).request(batch, m.Config.VocabSize, limit)
	c.set(reading)
	started := time.Now()
	s, err := e.Submit(ctx, &long)
	if err != nil {
		return b, err
	}
	_, err = s.Result()
	b.Read = time.Since(started).Seconds()
	c.set(over)
	texts.Wait()
	b.Alone, b.During = gaps(c.gaps[alone]), gaps(c.gaps[reading])
	if err == nil && b.During.Tokens == 0 {
		err = fmt.Errorf("the texts ended before the prompt was read: give a shorter one")
	}
	b.Ratio = b.During.Median / b.Alone.Median
	return b, err
}

// phase is what happens beside the texts.
type phase int

const (
	alone phase = iota
	reading
	over
)

// clock gathers the times between tokens by phase.
type clock struct {
	ready chan struct{} // closed when all texts have written besideAlone tokens
	mu    sync.Mutex
	wait  int // texts that have not
	phase phase
	gaps  [over][]float64
}

func (c *clock) set(p phase) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase = p
}

// follow receives a text until the last phase. Its first tokens come while prompts of the others are read, and do not count.
func (c *clock) follow(s *infer.Stream) {
	last, n := time.Now(), 0
	for range s.Tokens() {
		now := time.Now()
		n++
		c.mu.Lock()
		p := c.phase
		if p < over && n > besideAlone/4 {
			c.gaps[p] = append(c.gaps[p], now.Sub(last).Seconds())
		}
		if n == besideAlone {
			if c.wait--; c.wait == 0 {
				close(c.ready)
			}
		}
		c.mu.Unlock()
		if p == over {
			return
		}
		last = now
	}
}
