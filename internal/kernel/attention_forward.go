package kernel

type attentionTask struct {
	o, lse, q, k, v []float32
	qs, kvs         int
	a               Heads
	span            Range
	buf             *attentionBuffers
	bf16            *attentionBF16 // where products are of bfloat16
	heads           int            // kv heads of an item
}

// run computes with the level's kernels: an item is a block of queries of some kv heads.
func (t *attentionTask) run(c *CPU) {
	b := t.buf
	b.blocks = appendQueryBlocks(b.blocks[:0], 0, len(t.span.Lo), t.a.H/t.a.K, blockQueries, t.span)
	keys, queries := 0, 0
	for _, q := range b.blocks {
		keys += int(t.span.Hi[q.row] - t.span.Lo[q.row])
		queries += q.queries
	}
	// Few queries wait for memory, which is fastest when all heads of a key row are read together.
	t.heads = 1
	if b.kernels.few(queries / len(b.blocks)) {
		t.heads = min(maxPanels, max(1, t.a.K*len(b.blocks)/c.pool.Workers()))
	}
	const worth = 512 // keys of a range that pays for handing it over
	c.pool.Run(t.items(), worth*len(b.blocks)/max(keys*t.heads, 1), t)
}

func (t *attentionTask) Do(worker, lo, hi int) {
	if t.buf == nil {
		attentionGeneric(t.o, t.lse, t.q, t.k, t.v, lo, hi, t.qs, t.kvs, t.a, t.span)
		return
	}
	s, kernels := &t.buf.workers[worker], &t.buf.kernels
	for i := lo; i < hi; i++ {
		b, g, gEnd := t.item(i)
		if t.bf16 != nil {
			t.blockBF16(s, &t.bf16.workers[worker], b, g, i)
			continue
		}
		heads := 1
		if kernels.few(b.queries) {
			heads = gEnd - g
		}
		for ; g < gEnd; g += heads {
			t.block(s, b, g, g+heads, i)
		}
	}
}

// items is how many items there are.
func (t *attentionTask) items() int { return len(t.buf.blocks) * ((t.a.K + t.heads - 1) / t.heads) }

// item is the queries and kv heads of an item. The last blocks of a sequence have most keys: they go first, so that no worker is left with a long one
// at the end.
func (t *attentionTask) item(i int) (b queryBlock, g, gEnd int) {
	blocks := t.buf.blocks
	g = i / len(blocks) * t.heads
	return blocks[len(blocks)-1-i%len(blocks)], g, min(g+t.heads, t.a.K)
}

// block computes the outputs of a block of queries of the kv heads [g, gEnd), which belongs to an item.
func (t *attentionTask) block(s *attentionScratch, b queryBlock, g, gEnd, item int) {
	kernels, e := &t.buf.kernels, t.a.E
	panels := s.place(b, g, gEnd, t.a, t.span, kernels)
	for i := range panels {
		panels[i].begin(t.q, t.qs, t.a.unit())
	}
	first, keys := int(t.span.Lo[b.row]), panels[len(panels)-1].keys
	from, to := first*t.kvs+g*e, (first+keys-1)*t.kvs+gEnd*e
	key, value := t.k[from:to], t.v[from:to]
	for base := 0; base < keys; base += keyTile {
		n := min(keyTile, keys-base)
		t.step(s, panels, key[base*t.kvs:], value[base*t.kvs:], base, n, keys-base > keyTile)
		if base == 0 {
			t.fetch(b, g, gEnd, item)
		}
	}
	for i := range panels {
		t.finish(&panels[i])
	}
}

// fetch fetches, ahead of their use, where the outputs of a block of an item go and the queries of the next item.
func (t *attentionTask) fetch(b queryBlock, g, gEnd, item int) {
	kernels := &t.buf.kernels
	b.prefetch(t.o, t.a.H*t.a.E, g, gEnd, t.a, kernels)
	if item+1 < t.items() {
		next, g, gEnd := t.item(item + 1)
		next.prefetch(t.q, t.qs, g, gEnd, t.a, kernels)
	}
}

// finish writes the outputs and lse of a panel that has seen all its keys.
func (t *attentionTask) finish(p *queryPanel) {
	p.end(t.o, t.a.H*t.a.E, &t.buf.kernels)
	for lane := range p.queries {
		t.lse[p.row[lane]*t.a.H+p.head[lane]] = p.lse[lane]
	}
}

// step takes the panels through one tile of keys, whose values start at key and value.
func (t *attentionTask) step(s *attentionScratch, panels []queryPanel, key, value []float32, base, n int, more bool) {
	e, stride, next := t.a.E, 4*t.kvs, 0
	if more {
		next = keyTile * stride
	}
	first := panels[0].head[0] / (t.a.H / t.a.K)
	for i := range panels {
		p := &panels[i]
		n := min(n, p.keys-base)
		if n <= 0 {
			continue
		}
		at := (p.head[0]/(t.a.H/t.a.K) - first) * e
		p.scores(&s.s[0], &key[at], &p.qT[0], n, stride, e, next, apart(key, value))
		p.softmax(&s.s[0], &p.m[0], &p.l[0], &p.shrink[0], &p.limit[0], base, n, p.seen(base, n))
		p.accumulate(&p.oT[0], &value[at], &s.s[0], &p.shrink[0], e, stride, n)
	}
}
