package infer

import (
	"mor/internal/model"
)

// Sequence is one text in the making: its tokens, the recursions that each took, and the keys and values that the next ones attend to. It is
// not safe for concurrent use.
type Sequence struct {
	Tokens []int32 // what the model has read
	Depth  []int32 // recursions that each of them took

	m      *model.Model
	mode   model.Mode
	cache  *Cache
	tape   *model.Tape
	batch  model.Batch
	logits []float32 // [v]
}

// NewSequence returns an empty sequence.
func NewSequence(m *model.Model) *Sequence {
	return &Sequence{m: m, cache: NewCache(m), tape: m.NewTape(), batch: model.Batch{Starts: make([]int32, 2)}, logits: make([]float32, m.Config.VocabSize)}
}

// Reset empties the sequence and sets how deep the tokens of the next text may go: at most maxRecursion recursions (0: all), and, under
// expert-choice, on where the score passes threshold (0: the 0.5 of training).
func (s *Sequence) Reset(maxRecursion int, threshold float64) {
	s.Tokens, s.Depth = s.Tokens[:0], s.Depth[:0]
	s.cache.Reset()
	s.mode = model.Mode{Routing: model.Causal, MaxRecursion: maxRecursion, Threshold: threshold}
}

// Append runs the next tokens. On an error the sequence is as it was.
func (s *Sequence) Append(tokens []int32) error {
	base, b := s.cache.Len(), &s.batch
	if err := s.cache.Extend(len(tokens)); err != nil {
		return err
	}
	b.Tokens, b.Positions = append(b.Tokens[:0], tokens...), b.Positions[:0]
	for i := range tokens {
		b.Positions = append(b.Positions, int32(base+i))
	}
	b.Starts[1] = int32(len(tokens))
	if err := s.m.ForwardCached(s.tape, b, s.mode, s.cache); err != nil {
		s.cache.Truncate(base)
		return err
	}
	s.Tokens, s.Depth = append(s.Tokens, tokens...), append(s.Depth, s.tape.Depth...)
	return nil
}

// Truncate forgets the tokens from position n on. Logits must not be asked for before the next Append.
func (s *Sequence) Truncate(n int) {
	s.Tokens, s.Depth = s.Tokens[:n], s.Depth[:n]
	s.cache.Truncate(n)
}

// Logits returns the scores [v] of what follows the last token. The caller may change them; they are valid until the next call.
func (s *Sequence) Logits() []float32 {
	n := s.batch.Rows()
	s.m.Logits(s.logits, s.tape, n-1, n)
	return s.logits
}

// CacheBytes is the size of the keys and values held.
func (s *Sequence) CacheBytes() int64 { return s.cache.Bytes() }
