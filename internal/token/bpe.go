package token

import (
	"fmt"
	"math"
	"math/bits"
)

const noRank = math.MaxUint32

// mergeTable finds the merge of two adjacent tokens: a flat open-addressing hash table.
type mergeTable struct {
	slots []mergeSlot
	shift uint
	pairs [][2]int32 // all merges, in order of rank
}

type mergeSlot struct {
	pair uint64 // left<<32 | right, emptyPair where free
	rank uint32
	id   int32
}

const emptyPair = math.MaxUint64

func pairKey(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

// newMergeTable resolves merges, whose order is their rank. Of two merges of the same pair the later one counts, as in
// Hugging Face tokenizers.
func newMergeTable(merges []mergePair, texts map[string]int32) (mergeTable, error) {
	size := 1 << bits.Len(uint(2*len(merges)+1))
	m := mergeTable{slots: make([]mergeSlot, size), shift: uint(64 - bits.TrailingZeros(uint(size))), pairs: make([][2]int32, len(merges))}
	for i := range m.slots {
		m.slots[i].pair = emptyPair
	}
	var joined []byte
	for rank, p := range merges {
		left, ok := texts[p[0]]
		if !ok {
			return m, fmt.Errorf("model.merges[%d]: %q is not in model.vocab", rank, p[0])
		}
		right, ok := texts[p[1]]
		if !ok {
			return m, fmt.Errorf("model.merges[%d]: %q is not in model.vocab", rank, p[1])
		}
		joined = append(append(joined[:0], p[0]...), p[1]...)
		id, ok := texts[string(joined)]
		if !ok {
			return m, fmt.Errorf("model.merges[%d]: the merged token %q is not in model.vocab", rank, joined)
		}
		m.pairs[rank] = [2]int32{left, right}
		slot := m.slot(pairKey(left, right))
		*slot = mergeSlot{pairKey(left, right), uint32(rank), id}
	}
	return m, nil
}

// slot returns the slot of the pair, or the free one where it belongs.
func (m *mergeTable) slot(pair uint64) *mergeSlot {
	mask := uint64(len(m.slots) - 1)
	for i := pair * 0x9E3779B97F4A7C15 >> m.shift; ; i++ {
		s := &m.slots[i&mask]
		if s.pair == pair || s.pair == emptyPair {
			return s
		}
	}
}

// lookup returns the rank and the token of a merge, noRank where the two do not merge.
func (m *mergeTable) lookup(left, right int32) (rank uint32, id int32) {
	s := m.slot(pairKey(left, right))
	if s.pair == emptyPair {
		return noRank, 0
	}
	return s.rank, s.id
}

// shortPiece is the longest pre-token, in bytes, whose merges are found by scanning; longer ones use a heap, so that a megabyte
// without a space still takes n log n steps.
const shortPiece = 48

// appendBPE appends the tokens of one pre-token.
func (t *Tokenizer) appendBPE(e *encoder, dst []int32, piece []byte) []int32 {
	if t.whole != nil {
		if id, ok := t.whole[string(piece)]; ok {
			return append(dst, id)
		}
	}
	start := len(dst)
	dst = t.appendSymbols(dst, piece)
	symbols := dst[start:]
	if len(symbols) > shortPiece {
		return dst[:start+e.mergeLong(&t.merges, symbols)]
	}
	return dst[:start+mergeShort(&t.merges, symbols)]
}

// appendSymbols appends a token for each byte.
func (t *Tokenizer) appendSymbols(dst []int32, piece []byte) []int32 {
	wasUnknown := false
	for _, b := range piece {
		id := t.byteIDs[b]
		if id >= 0 {
			dst = append(dst, id)
		} else if t.unk >= 0 && !(wasUnknown && t.spec.fuseUnk) {
			dst = append(dst, t.unk)
		}
		wasUnknown = id < 0
	}
	return dst
}

// mergeShort applies the merges in place, lowest rank first, leftmost first, and returns how many symbols are left.
func mergeShort(m *mergeTable, symbols []int32) int {
	var ranks [shortPiece]uint32 // rank of symbols i and i+1
	var ids [shortPiece]int32
	n := len(symbols)
	for i := 0; i+1 < n; i++ {
		ranks[i], ids[i] = m.lookup(symbols[i], symbols[i+1])
	}
	for n > 1 {
		best := 0
		for i := 1; i < n-1; i++ {
			if ranks[i] < ranks[best] {
				best = i
			}
		}
		if ranks[best] == noRank {
			break
		}
		symbols[best] = ids[best]
		copy(symbols[best+1:n-1], symbols[best+2:n])
		n--
		copy(ranks[best+1:n], ranks[best+2:n+1])
		copy(ids[best+1:n], ids[best+2:n+1])
		if best > 0 {
			ranks[best-1], ids[best-1] = m.lookup(symbols[best-1], symbols[best])
		}
		if best+1 < n {
			ranks[best], ids[best] = m.lookup(symbols[best], symbols[best+1])
		}
	}
	return n
}

// longState holds the buffers of mergeLong.
type longState struct {
	prev, next []int
	heap       []candidate
}

// candidate is a merge of the symbol at pos with the next one.
type candidate struct {
	rank uint32
	pos  int
}

func (a candidate) before(b candidate) bool {
	return a.rank < b.rank || a.rank == b.rank && a.pos < b.pos
}

// mergeLong is mergeShort for long pre-tokens: symbols form a linked list and the merges to come a heap, in which outdated
// ones stay until they surface.
func (s *longState) mergeLong(m *mergeTable, symbols []int32) int {
	n := len(symbols)
	s.prev, s.next, s.heap = s.prev[:0], s.next[:0], s.heap[:0]
	for i := range n {
		s.prev = append(s.prev, i-1)
		s.next = append(s.next, i+1)
	}
	for i := range n - 1 {
		s.propose(m, symbols, i)
	}
	for len(s.heap) > 0 {
		c := s.pop()
		if symbols[c.pos] < 0 || s.next[c.pos] == n {
			continue
		}
		right := s.next[c.pos]
		rank, id := m.lookup(symbols[c.pos], symbols[right])
		if rank != c.rank {
			continue
		}
		symbols[c.pos], symbols[right] = id, -1
		s.next[c.pos] = s.next[right]
		if s.next[right] < n {
			s.prev[s.next[right]] = c.pos
			s.propose(m, symbols, c.pos)
		}
		if s.prev[c.pos] >= 0 {
			s.propose(m, symbols, s.prev[c.pos])
		}
	}
	kept := 0
	for i := 0; i < n; i = s.next[i] {
		symbols[kept] = symbols[i]
		kept++
	}
	return kept
}

func (s *longState) propose(m *mergeTable, symbols []int32, pos int) {
	rank, _ := m.lookup(symbols[pos], symbols[s.next[pos]])
	if rank == noRank {
		return
	}
	h := append(s.heap, candidate{rank, pos})
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h[i].before(h[parent]) {
			break
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
	s.heap = h
}

func (s *longState) pop() candidate {
	h := s.heap
	top := h[0]
	last := len(h) - 1
	h[0] = h[last]
	h = h[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			break
		}
		if child+1 < last && h[child+1].before(h[child]) {
			child++
		}
		if !h[child].before(h[i]) {
			break
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
	s.heap = h
	return top
}
