package kernel

import "math"

// PagedRows is consecutive query rows of one sequence, and the pages that hold its keys and values.
type PagedRows struct {
	Row, Rows int
	Table     []int32 // page of the entries [i·Size, (i+1)·Size)
}

// AttentionPaged computes o[n, h·e] = softmax(q·kᵀ/√e)·v where the query row i sees the first keys[i] entries of its sequence's pages. Rows of q lie qs
// apart, those of o h·e apart. keys must not fall within a PagedRows, nor be below 1. The bits are those of Attention over the same entries: they do not
// depend on the pages' size, on the rows that are computed together, or on the workers.
func (c *CPU) AttentionPaged(o, q []float32, qs int, pages *Pages, rows []PagedRows, keys []int32) {
	defer c.Done(c.Start(), pagedWork(pages, keys))
	t := &c.task.paged
	t.pages, t.rows = pages, rows
	for len(t.zeros) < len(keys) {
		t.zeros = append(t.zeros, 0)
	}
	t.attentionTask = attentionTask{o: o, q: q, qs: qs, a: pages.heads, span: Range{t.zeros[:len(keys)], keys}, buf: c.attentionBuffers(pages.heads), heads: 1}
	if t.buf == nil {
		t.generic()
	} else {
		t.runPaged(c)
	}
	t.attentionTask, t.pages, t.rows = attentionTask{}, nil, nil
}

func pagedWork(p *Pages, keys []int32) Work {
	sum := 0.0
	for _, k := range keys {
		sum += float64(k)
	}
	entry := PageBytes(1, p.Format, p.heads)
	return Work{Kernel: "attention paged", FLOPs: 4 * sum * float64(p.heads.H*p.heads.E), Bytes: sum * float64(entry)}
}

type pagedTask struct {
	attentionTask
	pages   *Pages
	rows    []PagedRows
	owner   []int32 // PagedRows of each block
	zeros   []int32
	scratch []float32 // [e]
}

// runPaged computes with the level's kernels: an item is a block of queries of some kv heads.
func (t *pagedTask) runPaged(c *CPU) {
	b, group := t.buf, t.a.H/t.a.K
	b.blocks, t.owner = b.blocks[:0], t.owner[:0]
	queries, keys := 0, 0
	for i, r := range t.rows {
		b.blocks = appendQueryBlocks(b.blocks, r.Row, r.Row+r.Rows, group, blockQueries, t.span)
		for len(t.owner) < len(b.blocks) {
			t.owner = append(t.owner, int32(i))
		}
		queries += r.Rows * group
		keys += int(t.span.Hi[r.Row+r.Rows-1])
	}
	if len(b.blocks) == 0 {
		return
	}
	t.heads = 1
	if b.kernels.few(queries / len(b.blocks)) {
		t.heads = min(maxPanels, max(1, t.a.K*len(b.blocks)/c.pool.Workers()))
	}
	const worth = 128 // keys of a range that pays for handing it over
	grain := worth * len(b.blocks) / max(keys*t.heads, 1)
	if b.kernels.few(queries / len(b.blocks)) {
		grain = max(grain, t.items()/(4*c.pool.Workers())) // the next item's keys come while one is computed
	}
	c.pool.Run(t.items(), grain, t)
}

func (t *pagedTask) Do(worker, lo, hi int) {
	s, kernels := &t.buf.workers[worker], &t.buf.kernels
	for i := lo; i < hi; i++ {
		b, g, gEnd := t.item(i)
		table := t.table(i)
		if i == lo {
			t.fetchFirst(i)
		}
		if i+1 < hi {
			t.fetchFirst(i + 1)
		}
		if t.byRow(b) {
			t.rowBlock(s, b, g, gEnd, table)
			continue
		}
		heads := 1
		if kernels.few(b.queries) {
			heads = gEnd - g
		}
		for ; g < gEnd; g += heads {
			t.pagedBlock(s, b, g, g+heads, table)
		}
	}
}

// table is the pages of an item.
func (t *pagedTask) table(i int) []int32 {
	return t.rows[t.owner[len(t.buf.blocks)-1-i%len(t.buf.blocks)]].Table
}

// fetchFirst has the memory bring the first tile of an item of few queries.
func (t *pagedTask) fetchFirst(i int) {
	b, g, gEnd := t.item(i)
	if t.buf.kernels.few(b.queries) {
		t.fetch(t.table(i), 0, int(t.span.Hi[b.row]), g, gEnd)
	}
}

// pagedBlock computes the outputs of a block of queries of the kv heads [g, gEnd).
func (t *pagedTask) pagedBlock(s *attentionScratch, b queryBlock, g, gEnd int, table []int32) {
	kernels, e, group := &t.buf.kernels, t.a.E, t.a.H/t.a.K
	panels := s.place(b, g, gEnd, t.a, t.span, kernels)
	for i := range panels {
		panels[i].begin(t.q, t.qs, t.a.unit())
	}
	keys := panels[len(panels)-1].keys
	few := kernels.few(b.queries)
	for base := 0; base < keys; base += keyTile {
		if few {
			t.fetch(table, base+keyTile, keys, g, gEnd)
		}
		for i := range panels {
			p := &panels[i]
			if n := min(keyTile, p.keys-base); n > 0 {
				t.pagedStep(s, p, table, base, n, p.head[0]/group)
			}
		}
	}
	for i := range panels {
		panels[i].end(t.o, t.a.H*e, kernels)
	}
}

// fetch has the memory bring a tile of keys, from base on, and their values, of the kv heads [g, gEnd): few queries wait for little else.
func (t *pagedTask) fetch(table []int32, base, keys, g, gEnd int) {
	for end := min(base+keyTile, keys); base < end; {
		page, entry := base/t.pages.Size, base%t.pages.Size
		n := min(t.pages.Size-entry, end-base)
		t.pages.fetch(table[page], entry, n, g, gEnd, t.buf.kernels.prefetch)
		base += n
	}
}

// pagedStep takes a panel through the n keys from base on, which are one tile of the definition, page by page.
func (t *pagedTask) pagedStep(s *attentionScratch, p *queryPanel, table []int32, base, n, g int) {
	size, e := t.pages.Size, t.a.E
	for at := 0; at < n; {
		page, entry := (base+at)/size, (base+at)%size
		part := min(size-entry, n-at)
		key, stride := t.pages.tile(s.page, pageKeys, table[page], entry, part, g)
		p.scores(&s.s[at*p.lanes], &key[0], &p.qT[0], part, 4*stride, e, 0, 0)
		at += part
	}
	p.softmax(&s.s[0], &p.m[0], &p.l[0], &p.shrink[0], &p.limit[0], base, n, p.seen(base, n))
	shrink := &p.shrink[0]
	for at := 0; at < n; {
		page, entry := (base+at)/size, (base+at)%size
		part := min(size-entry, n-at)
		value, stride := t.pages.tile(s.page, pageValues, table[page], entry, part, g)
		p.accumulate(&p.oT[0], &value[0], &s.s[at*p.lanes], shrink, e, 4*stride, part)
		shrink = &s.ones[0]
		at += part
	}
}

// generic is the definition.
func (t *pagedTask) generic() {
	e, group := t.a.E, t.a.H/t.a.K
	scale := float32(1 / math.Sqrt(float64(e)))
	t.scratch = grow(t.scratch, e)
	for _, r := range t.rows {
		for i := r.Row; i < r.Row+r.Rows; i++ {
			for j := range t.a.H {
				g := j / group
				query, out := t.q[i*t.qs+j*e:i*t.qs+(j+1)*e], t.o[(i*t.a.H+j)*e:(i*t.a.H+j+1)*e]
				clear(out)
				soft := onlineSoftmax{top: float32(math.Inf(-1))}
				for at := range int(t.span.Hi[i]) {
					page, entry := r.Table[at/t.pages.Size], at%t.pages.Size
					key, _ := t.pages.tile(t.scratch, pageKeys, page, entry, 1, g)
					w := soft.next(scale*dot(query, key), out)
					value, _ := t.pages.tile(t.scratch, pageValues, page, entry, 1, g)
					for p := range out {
						out[p] += w * value[p]
					}
				}
				for p := range out {
					out[p] /= soft.sum
				}
			}
		}
	}
}

// onlineSoftmax is a softmax whose scores come one by one.
type onlineSoftmax struct{ top, sum float32 }

// next takes a score and returns its weight; out, the mixture so far, is scaled where the score is the new largest.
func (s *onlineSoftmax) next(score float32, out []float32) float32 {
	if score > s.top {
		shrink := float32(math.Exp(float64(s.top - score)))
		s.sum *= shrink
		for p := range out {
			out[p] *= shrink
		}
		s.top = score
	}
	w := float32(math.Exp(float64(score - s.top)))
	s.sum += w
	return w
}
