package infer

import (
	"fmt"
	"sort"

	"mor/internal/kernel"
	"mor/internal/model"
)

// Cache keeps the keys and values of one sequence: for each KV slot of the plan, the entries of the tokens that reached it, in the order of
// their positions. It is a model.KeyStore. What it holds after a call is:
//
//   - in the slot of a KVOwn layer, one entry for each token that ran the layer; with recursion-wise keys these are fewer than the tokens;
//   - in the slot of a KVUpdate layer, one entry for each position: a token's own where it ran the layer, otherwise that of the source slot;
//   - in the slot that a KVRead layer reads, one entry for each position, because the first recursion makes keys for every token.
//
// It is not safe for concurrent use.
type Cache struct {
	width   int // k·e, values of a key
	context int // most tokens
	length  int // tokens
	slots   []slot
	span    kernel.Range // of the call at hand
}

// slot is m entries.
type slot struct {
	k, v []float32 // [m, k·e]
	pos  []int32   // [m] positions, ascending
}

// minRows is the room of a slot that gets its first entry.
const minRows = 64

// NewCache returns an empty cache for a sequence of the model.
func NewCache(m *model.Model) *Cache {
	return &Cache{width: m.Config.KVDim(), context: m.Config.MaxPositionEmbeddings, slots: make([]slot, m.Plan.Slots)}
}

// Len is the number of tokens that the cache has been extended by.
func (c *Cache) Len() int { return c.length }

// Bytes is the size of the keys and values held.
func (c *Cache) Bytes() int64 {
	entries := 0
	for i := range c.slots {
		entries += len(c.slots[i].pos)
	}
	return int64(entries) * int64(c.width) * 2 * 4
}

// Extend announces n more tokens. More than the model's context holds are refused.
func (c *Cache) Extend(n int) error {
	if c.length+n > c.context {
		return fmt.Errorf("context: %d tokens and %d more: the model was made for %d (max_position_embeddings); shorten the text", c.length, n, c.context)
	}
	c.length += n
	return nil
}

// Truncate forgets the tokens from position n on.
func (c *Cache) Truncate(n int) {
	c.length = min(c.length, n)
	for i := range c.slots {
		s := &c.slots[i]
		s.resize(sort.Search(len(s.pos), func(j int) bool { return int(s.pos[j]) >= n }), c.width)
	}
}

// Reset forgets all tokens and keeps the memory.
func (c *Cache) Reset() { c.Truncate(0) }

// Keys implements model.KeyStore for rows of this one sequence that follow those of the calls before.
func (c *Cache) Keys(l *model.Layer, rows *model.Rows, k, v []float32, stride int) model.KeyView {
	m := len(rows.Index)
	for len(c.span.Lo) < m {
		c.span.Lo, c.span.Hi = append(c.span.Lo, 0), append(c.span.Hi, 0)
	}
	span := kernel.Range{Lo: c.span.Lo[:m], Hi: c.span.Hi[:m]}
	s := &c.slots[l.Slot]
	if l.KV == model.KVOwn {
		base := len(s.pos)
		c.room(s, base+m)
		for i, pos := range rows.Pos {
			s.pos[base+i] = pos
			s.set(base+i, k[i*stride:], v[i*stride:], c.width)
			span.Hi[i] = int32(base + i + 1)
		}
		return model.KeyView{K: s.k, V: s.v, Stride: c.width, Span: span}
	}
	if l.KV == model.KVUpdate {
		c.follow(s, &c.slots[l.Source])
		for i, pos := range rows.Pos {
			s.set(int(pos), k[i*stride:], v[i*stride:], c.width)
		}
	}
	for i, pos := range rows.Pos {
		span.Hi[i] = pos + 1
	}
	return model.KeyView{K: s.k, V: s.v, Stride: c.width, Span: span}
}

// follow copies the entries of source that s lacks: those of the rows at hand, and of tokens before them that did not get this far.
func (c *Cache) follow(s, source *slot) {
	from, to := len(s.pos), len(source.pos)
	c.room(s, to)
	copy(s.pos[from:], source.pos[from:])
	copy(s.k[from*c.width:], source.k[from*c.width:])
	copy(s.v[from*c.width:], source.v[from*c.width:])
}

// room makes the slot m entries long. Its memory doubles, up to the context.
func (c *Cache) room(s *slot, m int) {
	if m > cap(s.pos) {
		rows := min(max(m, 2*cap(s.pos), minRows), max(m, c.context))
		k, v, pos := make([]float32, rows*c.width), make([]float32, rows*c.width), make([]int32, rows)
		copy(k, s.k)
		copy(v, s.v)
		copy(pos, s.pos)
		s.k, s.v, s.pos = k, v, pos
	}
	s.resize(m, c.width)
}

// resize makes the slot m entries long, for which it has room.
func (s *slot) resize(m, width int) {
	s.pos, s.k, s.v = s.pos[:m], s.k[:m*width], s.v[:m*width]
}

func (s *slot) set(i int, k, v []float32, width int) {
	copy(s.k[i*width:(i+1)*width], k)
	copy(s.v[i*width:(i+1)*width], v)
}
