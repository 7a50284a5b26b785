package token

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"
)

// TrainOptions says what to train.
type TrainOptions struct {
	VocabSize int      // tokens in all: special ones, 256 bytes, merges
	Special   []string // special tokens, which get the first ids; none: <|endoftext|>
	Pre       string   // pre-tokenizer, see PreTokenizers; "": smollm
	MinCount  int64    // a pair must occur as often as this to be merged; 0: 2
	Workers   int      // goroutines that count; 0: one for each core. The result does not depend on it.

	// Progress, when not nil, is called now and then by the goroutine that called Train: while reading with the bytes read
	// (total 0: unknown), then while merging with the tokens made.
	Progress func(stage TrainStage, done, total int64)
}

// TrainStage is a part of training a tokenizer.
type TrainStage string

// The stages, in their order.
const (
	Reading TrainStage = "reading"
	Merging TrainStage = "merging"
)

// Train learns a byte-level BPE vocabulary from texts, each of which may be overwritten once the iterator goes on. It is
// deterministic: the pair merged next is the most frequent one and, of several, the one with the smallest left id, then the smallest
// right id. The vocabulary is smaller than asked when the texts have no more pairs that occur MinCount times.
// The context ends it early with its cause.
func Train(ctx context.Context, texts iter.Seq[[]byte], o TrainOptions) (*Tokenizer, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("training the tokenizer: %w", err)
	}
	s, err := newTrainSpec(o)
	if err != nil {
		return nil, fmt.Errorf("training the tokenizer: %w", err)
	}
	pre, err := newPreTokenizer(s.pre)
	if err != nil {
		return nil, fmt.Errorf("training the tokenizer: %w", err)
	}
	counts, size, err := countWords(ctx, texts, pre.fast, o.Workers, func(done int64) { o.Progress(Reading, done, 0) })
	if err != nil {
		return nil, fmt.Errorf("training the tokenizer: %w", err)
	}
	if size == 0 {
		return nil, errors.New("training the tokenizer: the texts are empty: expected text to learn from")
	}
	m, err := newMerger(counts, len(o.Special))
	if err != nil {
		return nil, fmt.Errorf("training the tokenizer: %w", err)
	}
	if err := learnMerges(ctx, &s, m, o); err != nil {
		return nil, fmt.Errorf("training the tokenizer: %w", err)
	}
	return build(s)
}

func (o TrainOptions) withDefaults() (TrainOptions, error) {
	if len(o.Special) == 0 {
		o.Special = []string{"<|endoftext|>"}
	}
	if o.Pre == "" {
		o.Pre = "smollm"
	}
	if o.MinCount == 0 {
		o.MinCount = 2
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Progress == nil {
		o.Progress = func(TrainStage, int64, int64) {}
	}
	switch least := 256 + len(o.Special); {
	case o.VocabSize < least:
		return o, fmt.Errorf("a vocabulary of %d is too small: expected at least %d, which are %d special tokens and 256 bytes",
			o.VocabSize, least, len(o.Special))
	case o.VocabSize > 1<<24:
		return o, fmt.Errorf("a vocabulary of %d is too large: expected at most %d", o.VocabSize, 1<<24)
	case o.MinCount < 1:
		return o, fmt.Errorf("a least count of %d: expected at least 1", o.MinCount)
	case o.Workers < 1:
		return o, fmt.Errorf("%d workers: expected at least 1", o.Workers)
	}
	return o, nil
}

// newTrainSpec returns a tokenizer without merges: the special tokens, then the bytes in order of their byte-level
// characters, as Hugging Face's trainer has them.
func newTrainSpec(o TrainOptions) (spec, error) {
	s := spec{decoder: newByteLevel(true)}
	if !slices.Contains(PreTokenizers(), o.Pre) {
		return s, fmt.Errorf("pre-tokenizer %q is none to train with: expected %s", o.Pre, strings.Join(PreTokenizers(), ", "))
	}
	pre, err := preByName(o.Pre)
	if err != nil {
		return s, err
	}
	s.pre = pre.steps()
	for i, text := range o.Special {
		switch {
		case utf8.RuneCountInString(text) < 2 || !utf8.ValidString(text):
			return s, fmt.Errorf("special token %q: expected at least two characters of UTF-8", text)
		case slices.Contains(o.Special[:i], text):
			return s, fmt.Errorf("special token %q is given twice", text)
		}
		s.added = append(s.added, AddedToken{ID: int32(i), Content: text, Special: true})
		s.vocab = append(s.vocab, vocabEntry{text, int32(i)})
	}
	for _, b := range byteOrder() {
		s.vocab = append(s.vocab, vocabEntry{string(byteRunes[b]), int32(len(s.vocab))})
	}
	return s, nil
}

// byteOrder returns the bytes in order of their byte-level characters.
func byteOrder() []byte {
	order := make([]byte, 256)
	for b := range order {
		order[b] = byte(b)
	}
	slices.SortFunc(order, func(a, b byte) int { return int(byteRunes[a] - byteRunes[b]) })
	return order
}

// learnMerges fills the vocabulary of s with the merges of the most frequent pairs.
func learnMerges(ctx context.Context, s *spec, m *merger, o TrainOptions) error {
	ids := make(map[string]int32, o.VocabSize)
	for _, v := range s.vocab {
		ids[v.text] = v.id
	}
	for step := 0; len(s.vocab) < o.VocabSize; step++ {
		if step%256 == 0 {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			o.Progress(Merging, int64(len(s.vocab)), int64(o.VocabSize))
		}
		index, ok := m.best(o.MinCount)
		if !ok {
			break
		}
		left, right := m.pairs[index].tokens()
		pair := mergePair{s.vocab[left].text, s.vocab[right].text}
		text := pair[0] + pair[1]
		id, known := ids[text]
		if known && int(id) < len(o.Special) {
			continue // text that looks like a special token never becomes one
		}
		if !known {
			id = int32(len(s.vocab))
			ids[text] = id
			s.vocab = append(s.vocab, vocabEntry{text, id})
		}
		s.merges = append(s.merges, pair)
		m.merge(index, id)
	}
	o.Progress(Merging, int64(len(s.vocab)), int64(o.VocabSize))
	return nil
}
