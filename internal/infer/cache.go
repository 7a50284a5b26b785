package infer

import (
	"slices"

	"mor/internal/kernel"
	"mor/internal/model"
)

// Cache keeps the keys and values of all sequences in pages. Each KV slot of the plan has a table of pages for each sequence, which hold
//
//   - for a KVOwn layer, an entry for each token that ran the layer, in order: with recursion-wise keys these are fewer than the tokens;
//   - for a KVUpdate layer, an entry for each position: a token's own where it ran the layer, otherwise that of the source slot;
//   - in the slot that a KVRead layer reads, an entry for each position, because the first recursion makes keys for every token.
//
// A page may be in the tables of several sequences. Only its owner adds entries to it; another sequence copies it first.
type Cache struct {
	m      *model.Model
	pages  *kernel.Pages
	size   int // entries of a page
	total  int // pages
	free   []int32
	refs   []int32     // [total] tables and prefixes that hold the page
	owner  []int32     // [total] sequence that may add entries
	slots  []cacheSlot // those that are written to
	held   []int       // by slot of the plan: place in slots
	flow   *model.Flow
	seated []*Sequence // by seat
	kept   []int32     // [total] prefixes that hold the page
	idle   int         // pages that only prefixes hold
	rows   []kernel.PagedRows
	keys   []int32
	prefixes
}

// cacheSlot is a KV slot that has entries of its own.
type cacheSlot struct {
	slot, segment int
	source        int // KVUpdate: slot whose entries stand where there is no own one; otherwise −1
}

// NewCache returns an empty cache of so many pages, for rows of so many seats.
func NewCache(m *model.Model, pages, size, seats int, f kernel.PageFormat) *Cache {
	c := m.Config
	heads := kernel.Heads{H: c.NumAttentionHeads, K: c.NumKeyValueHeads, E: c.HeadDim}
	k := &Cache{m: m, pages: m.CPU().NewPages(pages, size, f, heads), size: size, total: pages, refs: make([]int32, pages), owner: make([]int32, pages), kept: make([]int32, pages),
		held: make([]int, m.Plan.Slots), seated: make([]*Sequence, seats)}
	for i := range pages {
		k.free = append(k.free, int32(pages-1-i))
	}
	for i, s := range m.Plan.Segments {
		for _, l := range s.Layers {
			switch l.KV {
			case model.KVOwn:
				k.held[l.Slot] = len(k.slots)
				k.slots = append(k.slots, cacheSlot{l.Slot, i, -1})
			case model.KVUpdate:
				k.held[l.Slot] = len(k.slots)
				k.slots = append(k.slots, cacheSlot{l.Slot, i, l.Source})
			}
		}
	}
	k.prefixes.init()
	return k
}

// pagesFor is how many pages a sequence of so many tokens takes at most.
func (k *Cache) pagesFor(tokens int) int { return len(k.slots) * ((tokens + k.size - 1) / k.size) }

// longest is how many tokens one sequence can surely have: a page of each slot is left for a copy.
func (k *Cache) longest() int { return (k.total/len(k.slots) - 1) * k.size }

// take hands out a free page, which must be there.
func (k *Cache) take(owner int32) int32 {
	page := k.free[len(k.free)-1]
	k.free = k.free[:len(k.free)-1]
	k.refs[page], k.owner[page] = 1, owner
	return page
}

// hold counts one more holder of a page: a table, or a prefix.
func (k *Cache) hold(page int32, prefix bool) { k.count(page, 1, prefix) }

// release counts one less. A page that nobody holds is free.
func (k *Cache) release(page int32, prefix bool) {
	k.count(page, -1, prefix)
	if k.refs[page] == 0 {
		k.owner[page] = 0
		k.free = append(k.free, page)
	}
}

func (k *Cache) count(page, n int32, prefix bool) {
	k.idle -= k.unused(page)
	k.refs[page] += n
	if prefix {
		k.kept[page] += n
	}
	k.idle += k.unused(page)
}

// unused is 1 where only prefixes hold a page.
func (k *Cache) unused(page int32) int {
	if k.refs[page] > 0 && k.refs[page] == k.kept[page] {
		return 1
	}
	return 0
}

// bound tells whether a slot gets entries under the sequence's limit of recursions.
func (k *Cache) bound(s *Sequence, slot *cacheSlot) bool {
	r := k.m.Plan.Segments[slot.segment].Recursion
	return r < int(s.limit)
}

// wanted is how many pages n more tokens can take.
func (k *Cache) wanted(s *Sequence, n int) int {
	sum := 0
	for i := range k.slots {
		if slot := &k.slots[i]; k.bound(s, slot) {
			have, count := len(s.tables[i]), int(s.count[slot.segment])
			sum += max(0, (count+n+k.size-1)/k.size-have)
			if count%k.size != 0 && k.owner[s.tables[i][count/k.size]] != s.id {
				sum++
			}
		}
	}
	return sum
}

// reserve gets pages for n more tokens, whose number wanted has told. Pages of others that entries would be added to are copied.
func (k *Cache) reserve(s *Sequence, n int) {
	for i := range k.slots {
		slot := &k.slots[i]
		if !k.bound(s, slot) {
			continue
		}
		count := int(s.count[slot.segment])
		if last := count / k.size; count%k.size != 0 && k.owner[s.tables[i][last]] != s.id {
			old := s.tables[i][last]
			s.tables[i][last] = k.take(s.id)
			k.pages.Copy(s.tables[i][last], old, count%k.size)
			k.release(old, false)
		}
		for len(s.tables[i])*k.size < count+n {
			s.tables[i] = append(s.tables[i], k.take(s.id))
		}
	}
}

// settle ends a chunk: every position has an entry where one belongs, and pages without entries are free again.
func (k *Cache) settle(s *Sequence) {
	for i := range k.slots {
		slot := &k.slots[i]
		if slot.source >= 0 && k.bound(s, slot) {
			k.follow(s, i, k.own(s, slot.source))
		}
	}
	for i := range k.slots {
		slot := &k.slots[i]
		if slot.source >= 0 && k.bound(s, slot) {
			s.count[slot.segment] = k.own(s, slot.source)
		}
		k.trim(s, i)
	}
}

// own is how many entries a slot has.
func (k *Cache) own(s *Sequence, slot int) int32 { return s.count[k.slots[k.held[slot]].segment] }

// trim frees the pages of a table behind the last entry.
func (k *Cache) trim(s *Sequence, i int) {
	need := (int(s.count[k.slots[i].segment]) + k.size - 1) / k.size
	for len(s.tables[i]) > need {
		last := len(s.tables[i]) - 1
		k.release(s.tables[i][last], false)
		s.tables[i] = s.tables[i][:last]
	}
}

// retract forgets the entries of the tokens from done on, which are settled.
func (k *Cache) retract(s *Sequence, done int) {
	for segment := range s.count {
		s.count[segment] -= k.entries(s, segment, done, s.done)
	}
	for i := range k.slots {
		k.trim(s, i)
	}
}

// drop frees all that a sequence holds.
func (k *Cache) drop(s *Sequence) {
	for i := range s.tables {
		for _, page := range s.tables[i] {
			k.release(page, false)
		}
		s.tables[i] = s.tables[i][:0]
	}
	clear(s.count)
}

// share gives a sequence all that another holds.
func (k *Cache) share(to, from *Sequence) {
	for i := range from.tables {
		to.tables[i] = append(to.tables[i][:0], from.tables[i]...)
		for _, page := range to.tables[i] {
			k.hold(page, false)
		}
	}
	copy(to.count, from.count)
}

// bytes is the size of the entries of a sequence.
func (k *Cache) bytes(s *Sequence) int64 {
	entries := 0
	for i := range k.slots {
		entries += int(s.count[k.slots[i].segment])
	}
	c := k.m.Config
	return int64(entries) * kernel.PageBytes(1, k.pages.Format, kernel.Heads{H: c.NumAttentionHeads, K: c.NumKeyValueHeads, E: c.HeadDim})
}

// attend is the model.Attend of the sequences that have seats.
func (k *Cache) attend(o, qkv []float32, width int, groups []model.Group, seats []int32) {
	first, end := groups[0].Lo, groups[len(groups)-1].Hi
	k.rows, k.keys = k.rows[:0], slices.Grow(k.keys[:0], end-first)[:end-first]
	for i := range groups {
		g := &groups[i]
		for lo := g.Lo; lo < g.Hi; {
			hi := lo + 1
			for hi < g.Hi && k.seated[seats[hi]] == k.seated[seats[lo]] {
				hi++
			}
			k.gather(g, seats[lo:hi], lo-first, qkv, width)
			lo = hi
		}
	}
	k.m.CPU().AttentionPaged(o, qkv, width, k.pages, k.rows, k.keys)
}

// gather keeps the keys and values of the rows of one sequence, which stand at a place of qkv, and tells what they attend to.
func (k *Cache) gather(g *model.Group, seats []int32, at int, qkv []float32, width int) {
	s, slot := k.seated[seats[0]], g.Layer.Slot
	if g.Layer.KV == model.KVRead {
		slot = g.Layer.Source
	}
	table := s.tables[k.held[slot]]
	if g.Idle { // they look at what is there
		if n := k.own(s, slot); n > 0 && int(n) <= len(table)*k.size {
			for i := range seats {
				k.keys[at+i] = n
			}
			k.rows = append(k.rows, kernel.PagedRows{Row: at, Rows: len(seats), Table: table})
		}
		return
	}
	if g.Layer.KV == model.KVUpdate {
		k.follow(s, k.held[slot], k.own(s, g.Layer.Source))
	}
	q, kv, base := k.m.Config.QueryDim(), k.m.Config.KVDim(), int(s.count[g.Segment])
	for i, seat := range seats {
		entry := base + i
		if g.Layer.KV != model.KVOwn {
			entry = int(k.flow.Seats[seat].Pos)
		}
		if row := (at + i) * width; g.Layer.KV != model.KVRead {
			k.pages.Put(table[entry/k.size], entry%k.size, qkv[row+q:], qkv[row+q+kv:])
		}
		k.keys[at+i] = int32(entry + 1)
	}
	k.rows = append(k.rows, kernel.PagedRows{Row: at, Rows: len(seats), Table: table})
	if g.Last {
		s.count[g.Segment] += int32(len(seats))
		if g.Layer.KV == model.KVUpdate {
			s.count[g.Segment] = k.own(s, g.Layer.Source)
		}
	}
}

// follow copies the entries of the source slot that slot i lacks.
func (k *Cache) follow(s *Sequence, i int, to int32) {
	slot := &k.slots[i]
	table, source := s.tables[i], s.tables[k.held[slot.source]]
	for at := int(s.count[slot.segment]); at < int(to); {
		n := min(k.size-at%k.size, int(to)-at)
		k.pages.CopyEntries(table[at/k.size], at%k.size, source[at/k.size], at%k.size, n)
		at += n
	}
}
