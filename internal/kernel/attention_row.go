package kernel

import "math"

// keyGroup is how many keys lie at regular distance in the layout that rowKernels read, and rowRegisters what outputs are a multiple of.
const (
	keyGroup     = 16
	rowRegisters = 16
	rowLanes     = 8 // of the transposed queries
	maxRows      = 2 // rows of a text beyond which tiles of many lanes are faster
)

// rowKernels is one level's kernels for the queries of one row and one kv head, which are too few to fill the lanes of a tile: keys lie in the lanes
// instead. scores and accumulate are by the number of queries that they compute at once.
type rowKernels struct {
	scores     []func(s *float32, keys **float32, q *float32, stride, depth, groups int)
	softmax    func(s, m, l, shrink *float32, queries, keys int)
	accumulate []func(o, w, shrink *float32, values **float32, stride, keys, e int)
}

// most is the largest number of queries at once.
func (k *rowKernels) most() int { return len(k.scores) }

// byRow tells whether the queries of a block are computed row by row.
func (t *pagedTask) byRow(b queryBlock) bool {
	group := t.a.H / t.a.K
	return group <= rowLanes && t.a.E%rowRegisters == 0 && b.head == 0 && b.queries%group == 0 && b.queries <= maxRows*group
}

// rowBlock computes the outputs of a block of few queries of the kv heads [g, gEnd), one row after the other.
func (t *pagedTask) rowBlock(s *attentionScratch, b queryBlock, g, gEnd int, table []int32) {
	group := t.a.H / t.a.K
	for row := b.row; row < b.row+b.queries/group; row++ {
		t.row(s, queryBlock{row, 0, group}, g, gEnd, table)
	}
}

// row computes the outputs of the queries of one row. The panels' oT are the outputs as rows.
func (t *pagedTask) row(s *attentionScratch, b queryBlock, g, gEnd int, table []int32) {
	kernels, e := &t.buf.kernels, t.a.E
	for at := g; at < gEnd; at++ {
		p := &s.panels[at-g]
		p.place(b, 0, at, t.a, t.span, kernels.fit(b.queries))
		p.gather(nil, p.qT, t.q, t.a.unit(), t.qs)
		clear(p.oT[:b.queries*e])
		for i := range b.queries {
			p.m[i], p.l[i] = float32(math.Inf(-1)), 0
		}
	}
	keys := s.panels[0].keys
	for base := 0; base < keys; base += keyTile {
		t.fetch(table, base+keyTile, keys, g, gEnd)
		for at := g; at < gEnd; at++ {
			t.rowStep(s, &s.panels[at-g], table, base, min(keyTile, keys-base), at)
		}
	}
	for at := g; at < gEnd; at++ {
		p := &s.panels[at-g]
		for i := range b.queries {
			out := t.o[b.row*t.a.H*e+p.head[i]*e:][:e]
			clear(out)
			kernels.addScaled(&out[0], &p.oT[i*e], e, 1/p.l[i])
		}
	}
}

// rowStep takes the queries of a row through the n keys from base on of the kv head g.
func (t *pagedTask) rowStep(s *attentionScratch, p *queryPanel, table []int32, base, n, g int) {
	k, e := &t.buf.kernels.row, t.a.E
	stride := t.groups(s, pageKeys, table, base, n, g)
	whole := (n + keyGroup - 1) / keyGroup * keyGroup
	for i := 0; i < p.queries; i += k.most() {
		k.scores[min(k.most(), p.queries-i)-1](&s.s[i*keyTile], &s.groups[0], &p.qT[i], stride, e, whole/keyGroup)
	}
	for i := range p.queries {
		for at := n; at < whole; at++ {
			s.s[i*keyTile+at] = float32(math.Inf(-1))
		}
	}
	k.softmax(&s.s[0], &p.m[0], &p.l[0], &p.shrink[0], p.queries, n)
	stride = t.groups(s, pageValues, table, base, n, g)
	for i := 0; i < p.queries; i += k.most() {
		k.accumulate[min(k.most(), p.queries-i)-1](&p.oT[i*e], &s.s[i*keyTile], &p.shrink[i], &s.groups[0], stride, n, e)
	}
}

// groups finds the groups of the n keys or values from base on, whose rows lie stride bytes apart: where they lie, or converted to s.page.
func (t *pagedTask) groups(s *attentionScratch, x int, table []int32, base, n, g int) (stride int) {
	size, e := t.pages.Size, t.a.E
	if t.pages.Format == PageFP32 && size%keyGroup == 0 {
		for at := 0; at < n; at += keyGroup {
			rows, _ := t.pages.tile(nil, x, table[(base+at)/size], (base+at)%size, 0, g)
			s.groups[at/keyGroup] = &rows[0]
		}
		return 4 * t.a.K * e
	}
	for at := 0; at < n; {
		page, entry := (base+at)/size, (base+at)%size
		part := min(size-entry, n-at)
		to := s.page[at*e : (at+part)*e]
		rows, stride := t.pages.tile(to, x, table[page], entry, part, g)
		for i := range part {
			if t.pages.Format == PageFP32 {
				copy(to[i*e:(i+1)*e], rows[i*stride:])
			}
		}
		at += part
	}
	for at := 0; at < n; at += keyGroup {
		s.groups[at/keyGroup] = &s.page[at*e]
	}
	return 4 * e
}
