package kernel

import "math"

type attentionTask struct {
	o, lse, q, k, v []float32
	qs, kvs         int
	a               Heads
	span            Range
	buf             *attentionBuffers
}

// run computes with the level's kernels: an item is a tile of queries of one kv head.
func (t *attentionTask) run(c *CPU) {
	b := t.buf
	b.tiles = appendQueryTiles(b.tiles[:0], 0, len(t.span.Lo), t.a.H/t.a.K, b.kernels.wide.lanes, t.span)
	keys := 0
	for _, q := range b.tiles {
		keys += int(t.span.Hi[q.row] - t.span.Lo[q.row])
	}
	const worth = 512 // keys of a range that pays for handing it over
	c.pool.Run(len(b.tiles)*t.a.K, worth*len(b.tiles)/max(keys, 1), t)
}

func (t *attentionTask) Do(worker, lo, hi int) {
	if t.buf == nil {
		attentionGeneric(t.o, t.lse, t.q, t.k, t.v, lo, hi, t.qs, t.kvs, t.a, t.span)
		return
	}
	tiles := t.buf.tiles
	for i := lo; i < hi; i++ {
		// The last tiles of a sequence have most keys: they go first, so that no worker is left with a long one at the end.
		t.tile(&t.buf.workers[worker], tiles[len(tiles)-1-i%len(tiles)], i/len(tiles))
	}
}

// tile computes the outputs of one tile of queries of the kv head g.
func (t *attentionTask) tile(s *attentionScratch, q queryTile, g int) {
	kernels, e := &t.buf.kernels, t.a.E
	k := &kernels.wide
	if q.lanes <= kernels.narrow.lanes {
		k = &kernels.narrow
	}
	s.place(q, g, t.a, t.span)
	q.prefetch(t.o, t.a.H*e, g, t.a, kernels)
	s.gather(s.q, s.qT, t.q, s.scale, t.qs, q.lanes, k.lanes, kernels)
	clear(s.oT[:e*k.lanes])
	for lane := range k.lanes {
		s.m[lane], s.l[lane] = float32(math.Inf(-1)), 0
	}
	first, keys, full := int(t.span.Lo[q.row]), int(s.limit[q.lanes-1]), int(s.limit[0])
	from, to := first*t.kvs+g*e, (first+keys-1)*t.kvs+(g+1)*e
	key, value := t.k[from:to], t.v[from:to]
	values := apart(key, value)
	for base := 0; base < keys; base += keyTile {
		n, next := min(keyTile, keys-base), 4*keyTile*t.kvs
		if base+keyTile >= keys {
			next = 0
		}
		k.scores(&s.s[0], &key[base*t.kvs], &s.qT[0], n, 4*t.kvs, e, next, values)
		k.softmax(&s.s[0], &s.m[0], &s.l[0], &s.shrink[0], &s.limit[0], base, n, min(max(full-base, 0), n))
		k.accumulate(&s.oT[0], &value[base*t.kvs], &s.s[0], &s.shrink[0], e, 4*t.kvs, n)
	}
	for lane := range k.lanes {
		s.inverse[lane] = 1 / s.l[lane]
	}
	s.scatter(t.o, s.oT, s.q, s.inverse[:], t.a.H*e, q.lanes, k.lanes, kernels)
	for lane := range q.lanes {
		t.lse[s.row[lane]*t.a.H+s.head[lane]] = float32(float64(s.m[lane])*math.Ln2 + math.Log(float64(s.l[lane])))
	}
}
