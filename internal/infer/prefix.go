package infer

import (
	"container/list"
	"hash/maphash"
	"math"
	"slices"
)

// prefix is a block of tokens behind other blocks, and the pages that hold its keys and values. Under causal routing these depend on nothing else,
// in recursion-wise slots too.
type prefix struct {
	key    uint64
	parent *prefix
	tokens []int32 // a page's size of them
	depth  []int32
	limit  int32 // the dial that they were computed with
	cut    float32
	count  []int32   // by segment: entries up to the block's end
	pages  [][]int32 // by slot: the pages that hold the block's entries, the first and last of which may hold others too
	place  *list.Element
}

// prefixes finds blocks by the hash of all tokens up to their end. Those that were used last stand first, a block before those behind it.
type prefixes struct {
	seed   maphash.Seed
	blocks map[uint64]*prefix
	recent *list.List // of *prefix
}

func (p *prefixes) init() {
	p.seed, p.blocks, p.recent = maphash.MakeSeed(), map[uint64]*prefix{}, list.New()
}

// hash is the key of a block of a sequence behind another block.
func (p *prefixes) hash(parent *prefix, s *Sequence, tokens []int32) uint64 {
	var h maphash.Hash
	h.SetSeed(p.seed)
	if parent != nil {
		maphash.WriteComparable(&h, parent.key)
	}
	maphash.WriteComparable(&h, uint64(s.limit)<<32|uint64(math.Float32bits(s.cut)))
	for _, t := range tokens {
		maphash.WriteComparable(&h, t)
	}
	return h.Sum64()
}

// find returns the block of these tokens behind the parent, or nil.
func (p *prefixes) find(parent *prefix, s *Sequence, tokens []int32) (*prefix, uint64) {
	key := p.hash(parent, s, tokens)
	b := p.blocks[key]
	if b == nil || b.parent != parent || b.limit != s.limit || b.cut != s.cut || !slices.Equal(b.tokens, tokens) {
		return nil, key
	}
	return b, key
}

// reuse gives a sequence, which holds nothing, the blocks that its first n tokens begin with, and returns how many tokens that are.
func (k *Cache) reuse(s *Sequence, n int) int {
	var last *prefix
	for at := 0; at+k.size <= n; at += k.size {
		b, _ := k.find(last, s, s.tokens[at:at+k.size])
		if b == nil {
			break
		}
		before := s.count
		if last != nil {
			before = last.count
		}
		for i, pages := range b.pages {
			if len(pages) == 0 {
				continue
			}
			from := int(before[k.slots[i].segment]) / k.size
			for _, page := range s.tables[i][min(from, len(s.tables[i])):] {
				k.release(page, false) // the block's own page has its entries, too
			}
			s.tables[i] = append(s.tables[i][:from], pages...)
			for _, page := range pages {
				k.hold(page, false)
			}
		}
		s.depth = append(s.depth, b.depth...)
		last = b
	}
	if last == nil {
		return 0
	}
	copy(s.count, last.count)
	k.touch(last)
	s.prefix, s.blocks = last, len(s.depth)/k.size
	return len(s.depth)
}

// touch makes a block and those before it the most recent.
func (k *Cache) touch(b *prefix) {
	for ; b != nil; b = b.parent {
		k.recent.MoveToFront(b.place)
	}
}

// remember keeps the whole blocks of what a sequence has computed for others.
func (k *Cache) remember(s *Sequence) {
	for ; (s.blocks+1)*k.size <= s.done; s.blocks++ {
		at := s.blocks * k.size
		tokens := s.tokens[at : at+k.size]
		b, key := k.find(s.prefix, s, tokens)
		if b == nil {
			if old := k.blocks[key]; old != nil { // another text with the same hash, or one whose beginning is gone
				return
			}
			b = k.newPrefix(s, key, at)
		}
		s.prefix = b
	}
	k.touch(s.prefix)
}

// newPrefix makes the block of a sequence that begins at a token.
func (k *Cache) newPrefix(s *Sequence, key uint64, at int) *prefix {
	end := at + k.size
	b := &prefix{key: key, parent: s.prefix, tokens: slices.Clone(s.tokens[at:end]), depth: slices.Clone(s.depth[at:end]), limit: s.limit, cut: s.cut,
		count: slices.Clone(s.count), pages: make([][]int32, len(k.slots))}
	before := make([]int32, len(s.count))
	if b.parent != nil {
		copy(before, b.parent.count)
	}
	for segment := range b.count {
		b.count[segment] = before[segment] + k.entries(s, segment, at, end)
	}
	for i := range k.slots {
		segment := k.slots[i].segment
		from, to := int(before[segment])/k.size, (int(b.count[segment])+k.size-1)/k.size
		if b.count[segment] > before[segment] {
			b.pages[i] = slices.Clone(s.tables[i][from:to])
		}
		for _, page := range b.pages[i] {
			k.hold(page, true)
		}
	}
	k.blocks[key] = b
	b.place = k.recent.PushFront(b)
	return b
}

// entries is how many entries of a segment's slots the tokens [from, to) have.
func (k *Cache) entries(s *Sequence, segment, from, to int) int32 {
	seg := &k.m.Plan.Segments[segment]
	r := seg.Recursion
	switch {
	case r >= int(s.limit):
		return 0
	case r < 0, k.m.Config.KVSharing(), !k.m.Config.Adaptive():
		return int32(to - from)
	}
	n := int32(0)
	for _, d := range s.depth[from:to] {
		if int(d) > r {
			n++
		}
	}
	return n
}

// forget frees what was used longest ago, until so many pages are free or nothing is left to forget.
func (k *Cache) forget(pages int) {
	for len(k.free) < pages && k.recent.Len() > 0 {
		b := k.recent.Back().Value.(*prefix)
		k.recent.Remove(b.place)
		delete(k.blocks, b.key)
		for _, table := range b.pages {
			for _, page := range table {
				k.release(page, true)
			}
		}
	}
}
