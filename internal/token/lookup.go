package token

import (
	"bytes"
	"hash/maphash"
	"math/bits"
	"strings"
)

// idTable finds tokens by their bytes: a flat open-addressing hash table of ids. The bytes are the tokenizer's.
type idTable struct {
	slots []int32 // none where free
	shift uint
	seed  maphash.Seed
}

// newIDTable returns a table with room for n tokens.
func newIDTable(n int) idTable {
	size := 1 << bits.Len(uint(2*n+1))
	t := idTable{slots: make([]int32, size), shift: uint(64 - bits.TrailingZeros(uint(size))), seed: maphash.MakeSeed()}
	for i := range t.slots {
		t.slots[i] = none
	}
	return t
}

// slot returns the slot of the token that stands for these bytes, or the free one where it belongs.
func (t *Tokenizer) slot(raw []byte) *int32 {
	x := &t.ids
	mask := uint64(len(x.slots) - 1)
	for i := maphash.Bytes(x.seed, raw) >> x.shift; ; i++ {
		s := &x.slots[i&mask]
		if *s == none || bytes.Equal(t.TokenBytes(*s), raw) {
			return s
		}
	}
}

// buildIDs fills the table from bytes to tokens. Of several with the same bytes an added one counts, otherwise the first.
func (t *Tokenizer) buildIDs(added map[int32]string) {
	t.ids = newIDTable(len(t.defined))
	for id := range int32(len(t.defined)) {
		if !t.defined[id] {
			continue
		}
		s := t.slot(t.TokenBytes(id))
		if _, isAdded := added[id]; isAdded || *s == none {
			*s = id
		}
	}
}

// vocabTexts is the texts of a vocabulary, one behind the other, so that what they were read from is not held.
type vocabTexts struct {
	text string
	ids  []int32 // ascending
	ends []int32 // in text
}

func packTexts(vocab []vocabEntry) vocabTexts {
	var all strings.Builder
	n := 0
	for i := range vocab {
		n += len(vocab[i].text)
	}
	all.Grow(n)
	v := vocabTexts{ids: make([]int32, len(vocab)), ends: make([]int32, len(vocab))}
	for i, e := range vocab {
		all.WriteString(e.text)
		v.ids[i], v.ends[i] = e.id, int32(all.Len())
	}
	v.text = all.String()
	return v
}

// all yields the ids, ascending, and their texts.
func (v *vocabTexts) all(yield func(id int32, text string) bool) {
	begin := int32(0)
	for i, end := range v.ends {
		if !yield(v.ids[i], v.text[begin:end]) {
			return
		}
		begin = end
	}
}

// mergeTexts lists the merges by the texts of their tokens, in order of rank.
func (t *Tokenizer) mergeTexts() []mergePair {
	texts := t.textsByID()
	out := make([]mergePair, len(t.merges.pairs))
	for i, p := range t.merges.pairs {
		out[i] = mergePair{texts[p[0]], texts[p[1]]}
	}
	return out
}
