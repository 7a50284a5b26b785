package token

import (
	"context"
	"encoding/binary"
	"iter"
	"sync"
)

// wordCounts counts pre-tokens of two bytes and more: single bytes have nothing to merge.
type wordCounts struct {
	short []countSlot // open addressing, pieces of at most maxKey bytes
	used  int
	long  map[string]*int64
}

type countSlot struct {
	key   pieceKey
	count int64 // 0 where free
}

func newWordCounts() *wordCounts {
	return &wordCounts{short: make([]countSlot, 1<<14), long: map[string]*int64{}}
}

// add counts n more occurrences of a piece.
func (w *wordCounts) add(piece []byte, n int64) {
	if len(piece) <= maxKey {
		w.addKey(keyOf(piece), n)
		return
	}
	if count, ok := w.long[string(piece)]; ok {
		*count += n
		return
	}
	first := n // not &n, which would put every n on the heap
	w.long[string(piece)] = &first
}

func (w *wordCounts) addKey(key pieceKey, n int64) {
	mask := uint64(len(w.short) - 1)
	i := key.hash() & mask
	for w.short[i].count != 0 && w.short[i].key != key {
		i = (i + 1) & mask
	}
	s := &w.short[i]
	s.count += n
	if s.key == key {
		return
	}
	s.key = key
	if w.used++; w.used > len(w.short)/2 {
		w.grow()
	}
}

func (w *wordCounts) grow() {
	old := w.short
	w.short, w.used = make([]countSlot, 2*len(old)), 0
	for _, s := range old {
		if s.count != 0 {
			w.addKey(s.key, s.count)
		}
	}
}

// all yields every word and its count. The slice is only good until the next one.
func (w *wordCounts) all(yield func([]byte, int64) bool) {
	var word [16]byte
	for _, s := range w.short {
		if s.count == 0 {
			continue
		}
		binary.LittleEndian.PutUint64(word[:8], s.key.lo)
		binary.LittleEndian.PutUint64(word[8:], s.key.hi)
		if !yield(word[:word[15]], s.count) {
			return
		}
	}
	for word, n := range w.long {
		if !yield([]byte(word), *n) {
			return
		}
	}
}

// batchBytes is how much text a worker takes at a time.
const batchBytes = 1 << 20

// batch is some texts, joined, and where each ends.
type batch struct {
	text []byte
	ends []int
}

// countWords counts the pre-tokens of texts with several workers, and the bytes read.
func countWords(ctx context.Context, texts iter.Seq[[]byte], s *scanner, workers int, progress func(done int64)) (*wordCounts, int64, error) {
	full, empty := make(chan *batch, workers), make(chan *batch, 2*workers+1)
	for range cap(empty) {
		empty <- &batch{}
	}
	parts := make([]*wordCounts, workers)
	var group sync.WaitGroup
	for i := range parts {
		parts[i] = newWordCounts()
		group.Go(func() {
			for b := range full {
				parts[i].addBatch(b, s)
				empty <- b
			}
		})
	}
	total := feed(ctx, texts, full, empty, progress)
	close(full)
	group.Wait()
	if ctx.Err() != nil {
		return nil, total, context.Cause(ctx)
	}
	for _, part := range parts[1:] {
		for word, n := range part.all {
			parts[0].add(word, n)
		}
	}
	return parts[0], total, nil
}

func (w *wordCounts) addBatch(b *batch, s *scanner) {
	start := 0
	for _, end := range b.ends {
		text := b.text[start:end]
		for i := 0; i < len(text); {
			next := s.next(s, text, i)
			if next-i > 1 {
				w.add(text[i:next], 1)
			}
			i = next
		}
		start = end
	}
}

// feed copies texts into batches and returns their size in bytes.
func feed(ctx context.Context, texts iter.Seq[[]byte], full, empty chan *batch, progress func(int64)) (total int64) {
	b := <-empty
	send := func() {
		full <- b
		progress(total)
		b = <-empty
		b.text, b.ends = b.text[:0], b.ends[:0]
	}
	for text := range texts {
		for len(text) > 0 {
			if ctx.Err() != nil {
				return total
			}
			n := cutPoint(text, batchBytes)
			b.text = append(b.text, text[:n]...)
			b.ends = append(b.ends, len(b.text))
			total += int64(n)
			text = text[n:]
			if len(b.text) >= batchBytes {
				send()
			}
		}
	}
	if len(b.ends) > 0 {
		full <- b
		progress(total)
	}
	return total
}

// cutPoint returns where a text can be cut beyond limit without changing its pre-tokens: between a letter and the space before a
// word, where every pattern begins a new piece. Without such a place it is the whole text.
func cutPoint(text []byte, limit int) int {
	for i := limit; i+1 < len(text); i++ {
		if text[i] == ' ' && isASCIILetter(text[i-1]) && isASCIILetter(text[i+1]) {
			return i
		}
	}
	return len(text)
}

func isASCIILetter(b byte) bool { return b < 128 && asciiClass[b] == letter }
