package token

import (
	"fmt"
	"math"
	"slices"
)

// merger holds the distinct words as rows of symbols and the counts of their pairs, which it keeps up to date as pairs merge:
// a merge costs as much as the places where its pair occurs, whatever the size of the text.
type merger struct {
	symbols []int32 // by position; none between words and where a symbol was merged into the one before it
	next    []int32 // position of the next symbol of a symbol
	prev    []int32
	word    []int32 // by position
	counts  []int64 // by word

	pairs  []pairCount
	index  pairIndex
	places []place // linked lists of positions, one list a pair
	queue  pairQueue

	touched []int32 // pairs that a merge made more frequent
	buffer  []int32
	step    int32
}

const none = -1

// pairCount is a pair and how often it occurs.
type pairCount struct {
	key         uint64 // pairKey of the two tokens
	count       int64
	first, last int32 // ends of the list of places, none when empty; a place may be outdated
	touched     int32 // the step that touched it last
}

func (p *pairCount) tokens() (left, right int32) { return int32(p.key >> 32), int32(uint32(p.key)) }

// place is a position of the left symbol of a pair.
type place struct{ position, next int32 }

// newMerger lays out the words; the byte at place i of byteOrder becomes symbol firstByte+i.
func newMerger(words *wordCounts, firstByte int) (*merger, error) {
	m := &merger{index: newPairIndex()}
	var symbolOf [256]int32
	for i, b := range byteOrder() {
		symbolOf[b] = int32(firstByte + i)
	}
	positions := 1
	for word := range words.all {
		positions += len(word) + 1
	}
	if positions > math.MaxInt32/2 {
		return nil, fmt.Errorf("%d bytes of distinct words: expected at most %d, give less text", positions, math.MaxInt32/2)
	}
	m.symbols, m.word = make([]int32, 0, positions), make([]int32, 0, positions)
	m.next, m.prev = make([]int32, 0, positions), make([]int32, 0, positions)
	m.addPosition(none, 0)
	for word, count := range words.all {
		for _, b := range word {
			m.addPosition(symbolOf[b], int32(len(m.counts)))
		}
		m.addPosition(none, 0)
		m.counts = append(m.counts, count)
	}
	for i := 1; i < len(m.symbols); i++ {
		if m.symbols[i-1] != none && m.symbols[i] != none {
			m.add(m.symbols[i-1], m.symbols[i], m.counts[m.word[i]], int32(i-1))
		}
	}
	m.enqueue()
	return m, nil
}

func (m *merger) addPosition(symbol, word int32) {
	i := int32(len(m.symbols))
	m.symbols = append(m.symbols, symbol)
	m.prev, m.next = append(m.prev, i-1), append(m.next, i+1)
	m.word = append(m.word, word)
}

// add counts a pair that has come to be at a position.
func (m *merger) add(left, right int32, count int64, position int32) {
	i, isNew := m.index.find(pairKey(left, right), len(m.pairs))
	if isNew {
		m.pairs = append(m.pairs, pairCount{key: pairKey(left, right), first: none, last: none, touched: none})
	}
	p := &m.pairs[i]
	p.count += count
	n := int32(len(m.places))
	m.places = append(m.places, place{position, none})
	if p.first == none {
		p.first = n
	} else {
		m.places[p.last].next = n
	}
	p.last = n
	if p.touched != m.step {
		p.touched = m.step
		m.touched = append(m.touched, i)
	}
}

// enqueue puts the touched pairs into the queue with their new counts.
func (m *merger) enqueue() {
	for _, i := range m.touched {
		if p := &m.pairs[i]; p.count > 0 {
			m.queue.push(queued{p.count, p.key, i})
		}
	}
	m.touched = m.touched[:0]
	m.step++
}

// best takes the most frequent pair out of the queue. Counts only shrink while a pair waits, so that an outdated one at the top
// is put back where it belongs.
func (m *merger) best(least int64) (index int32, ok bool) {
	for len(m.queue) > 0 {
		top := m.queue.pop()
		count := m.pairs[top.index].count
		if count < least {
			continue
		}
		if count == top.count {
			return top.index, true
		}
		m.queue.push(queued{count, top.key, top.index})
	}
	return 0, false
}

// merge replaces a pair by a symbol everywhere, from left to right.
func (m *merger) merge(index, symbol int32) {
	left, right := m.pairs[index].tokens()
	for _, at := range m.takePlaces(index) {
		if m.symbols[at] != left {
			continue
		}
		second := m.next[at]
		if m.symbols[second] != right {
			continue
		}
		count := m.counts[m.word[at]]
		before, after := m.prev[at], m.next[second]
		m.pairs[index].count -= count
		if s := m.symbols[before]; s != none {
			m.subtract(s, left, count)
			m.add(s, symbol, count, before)
		}
		if s := m.symbols[after]; s != none {
			m.subtract(right, s, count)
			m.add(symbol, s, count, at)
		}
		m.symbols[at], m.symbols[second] = symbol, none
		m.next[at], m.prev[after] = after, at
	}
	m.enqueue()
}

// takePlaces returns the positions of a pair in ascending order and forgets them.
func (m *merger) takePlaces(index int32) []int32 {
	m.buffer = m.buffer[:0]
	p := &m.pairs[index]
	for i := p.first; i != none; i = m.places[i].next {
		m.buffer = append(m.buffer, m.places[i].position)
	}
	p.first, p.last = none, none
	if !slices.IsSorted(m.buffer) {
		slices.Sort(m.buffer)
	}
	return m.buffer
}

func (m *merger) subtract(left, right int32, count int64) {
	i, _ := m.index.find(pairKey(left, right), 0)
	m.pairs[i].count -= count
}

// pairIndex finds a pair's place in merger.pairs: a flat open-addressing hash table.
type pairIndex struct {
	slots []indexSlot
	used  int
}

type indexSlot struct {
	key   uint64
	index int32
}

func newPairIndex() pairIndex { return pairIndex{slots: freeSlots(1 << 16)} }

func freeSlots(n int) []indexSlot {
	slots := make([]indexSlot, n)
	for i := range slots {
		slots[i].key = emptyPair
	}
	return slots
}

// find returns the index of a pair, which is fresh where the pair is new.
func (x *pairIndex) find(key uint64, fresh int) (index int32, isNew bool) {
	s := x.slot(key)
	if s.key == key {
		return s.index, false
	}
	*s = indexSlot{key, int32(fresh)}
	if x.used++; x.used > len(x.slots)/2 {
		old := x.slots
		x.slots = freeSlots(2 * len(old))
		for _, s := range old {
			if s.key != emptyPair {
				*x.slot(s.key) = s
			}
		}
	}
	return int32(fresh), true
}

func (x *pairIndex) slot(key uint64) *indexSlot {
	mask := uint64(len(x.slots) - 1)
	for i := key * 0x9E3779B97F4A7C15 >> 32; ; i++ {
		s := &x.slots[i&mask]
		if s.key == key || s.key == emptyPair {
			return s
		}
	}
}

// pairQueue is a heap of pairs, the next one to merge on top.
type pairQueue []queued

type queued struct {
	count int64
	key   uint64
	index int32
}

func (a queued) before(b queued) bool {
	return a.count > b.count || a.count == b.count && a.key < b.key
}

func (q *pairQueue) push(item queued) {
	h := append(*q, item)
	i := len(h) - 1
	for ; i > 0 && item.before(h[(i-1)/2]); i = (i - 1) / 2 {
		h[i] = h[(i-1)/2]
	}
	h[i] = item
	*q = h
}

func (q *pairQueue) pop() queued {
	h := *q
	top, item := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	i := 0
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1].before(h[child]) {
			child++
		}
		if !h[child].before(item) {
			break
		}
		h[i] = h[child]
		i = child
	}
	if len(h) > 0 {
		h[i] = item
	}
	*q = h
	return top
}
