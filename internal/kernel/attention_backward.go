package kernel

import (
	"math"
	"sort"
)

type dattentionTask struct {
	dq, dk, dv, do, o, lse, q, k, v []float32
	dqs, dkvs, qs, kvs              int
	a                               Heads
	span                            Range
	buf                             *attentionBuffers
}

// queryChunk is consecutive query rows whose part of dk and dv is summed on its own: the tiles [tile, tileEnd) and the key rows [lo, hi). For
// each kv head, at holds dk[hi-lo][pad] and dv[hi-lo][pad] in turn.
type queryChunk struct{ tile, tileEnd, lo, hi, at int }

// run computes with the level's kernels, first the chunks of each kv head, then their sum over the key rows.
func (t *dattentionTask) run(c *CPU) {
	t.split()
	c.pool.Run(len(t.buf.chunks)*t.a.K, 1, t)
	u := &c.task.dattnSum
	*u = dattentionSumTask{t, t.buf.chunks[0].lo}
	c.pool.Run(t.buf.chunks[len(t.buf.chunks)-1].hi-u.first, 64, u)
	*u = dattentionSumTask{}
}

// split cuts the rows into chunks: where a row shares no key with those before it, and within such a sequence into parts of like work. The
// chunks of a sequence do not depend on the others.
func (t *dattentionTask) split() {
	b, span, n := t.buf, t.span, len(t.span.Lo)
	const (
		tasks = 24      // enough for a few workers to get equal shares of one sequence
		parts = 8       // bounds the memory to a few times that of dk and dv
		worth = 1 << 16 // queries times keys of a part that pays for its sum
	)
	b.tiles, b.chunks = b.tiles[:0], b.chunks[:0]
	group, pad, size := t.a.H/t.a.K, b.workers[0].pad, 0
	for from := 0; from < n; {
		to, work := from, 0
		for to < n && (to == from || span.Lo[to] < span.Hi[to-1]) {
			work += int(span.Hi[to] - span.Lo[to])
			to++
		}
		part := max(work/min(parts, (tasks+t.a.K-1)/t.a.K), worth/group)
		for from < to {
			end, w := from, 0
			for end < to && w < part {
				w += int(span.Hi[end] - span.Lo[end])
				end++
			}
			c := queryChunk{tile: len(b.tiles), lo: int(span.Lo[from]), hi: int(span.Hi[end-1]), at: size}
			b.tiles = appendQueryTiles(b.tiles, from, end, group, b.kernels.wide.lanes, span)
			c.tileEnd = len(b.tiles)
			b.chunks = append(b.chunks, c)
			size += 2 * t.a.K * (c.hi - c.lo) * pad
			from = end
		}
	}
	if len(b.partial) < size {
		b.partial = alignedFloats(size)
	}
}

func (t *dattentionTask) Do(worker, lo, hi int) {
	for i := lo; i < hi; i++ {
		if t.buf == nil {
			dattentionGeneric(t, i)
			continue
		}
		c, g := t.buf.chunks[i/t.a.K], i%t.a.K
		dk, dv := t.sums(c, g)
		clear(dk)
		clear(dv)
		for _, q := range t.buf.tiles[c.tile:c.tileEnd] {
			t.tile(&t.buf.workers[worker], dk, dv, q, c.lo, g)
		}
	}
}

// sums returns a chunk's dk and dv[hi-lo][pad] of the kv head g.
func (t *dattentionTask) sums(c queryChunk, g int) (dk, dv []float32) {
	n := (c.hi - c.lo) * t.buf.workers[0].pad
	both := t.buf.partial[c.at+2*g*n:][:2*n]
	return both[:n], both[n:]
}

// tile sets dq of one tile of queries of the kv head g and adds to dk and dv[...][pad], which start at the key row origin.
func (t *dattentionTask) tile(s *attentionScratch, dk, dv []float32, q queryTile, origin, g int) {
	kernels, e := &t.buf.kernels, t.a.E
	k := &kernels.wide
	s.place(q, g, t.a, t.span)
	s.gather(s.q, s.qT, t.q, s.scale, t.qs, q.lanes, k.lanes, kernels)
	s.gather(s.o, s.oT, t.o, s.ones, t.a.H*e, q.lanes, k.lanes, kernels)
	s.gather(s.do, s.doT, t.do, s.ones, t.a.H*e, q.lanes, k.lanes, kernels)
	kernels.laneDots(&s.delta[0], &s.oT[0], &s.doT[0], e)
	clear(s.lse[:])
	for lane := range q.lanes {
		s.lse[lane] = t.lse[s.row[lane]*t.a.H+s.head[lane]] * math.Log2E
	}
	clear(s.dqT[:e*k.lanes])
	first, keys, full := int(t.span.Lo[q.row]), int(s.limit[q.lanes-1]), int(s.limit[0])
	from, to := first*t.kvs+g*e, (first+keys-1)*t.kvs+(g+1)*e
	key, value := t.k[from:to], t.v[from:to]
	dk, dv = dk[(first-origin)*s.pad:][:keys*s.pad], dv[(first-origin)*s.pad:][:keys*s.pad]
	for base := 0; base < keys; base += keyTile {
		n := min(keyTile, keys-base)
		k.scores(&s.s[0], &key[base*t.kvs], &s.qT[0], n, 4*t.kvs, e, 0, 0)
		k.scores(&s.dp[0], &value[base*t.kvs], &s.doT[0], n, 4*t.kvs, e, 0, 0)
		kernels.softmaxBackward(&s.s[0], &s.dp[0], &s.lse[0], &s.delta[0], &s.limit[0], base, n, min(max(full-base, 0), n))
		kernels.outer(&dv[base*s.pad], &s.s[0], &s.do[0], n, s.pad, q.lanes)
		kernels.outer(&dk[base*s.pad], &s.dp[0], &s.q[0], n, s.pad, q.lanes)
		k.accumulate(&s.dqT[0], &key[base*t.kvs], &s.dp[0], &s.ones[0], e, 4*t.kvs, n)
	}
	for lane := range k.lanes {
		s.inverse[lane] = t.scale()
	}
	s.scatter(t.dq, s.dqT, s.o, s.inverse[:], t.dqs, q.lanes, k.lanes, kernels)
}

// scale is 1/√e.
func (t *dattentionTask) scale() float32 { return float32(1 / math.Sqrt(float64(t.a.E))) }

// dattentionSumTask adds the chunks' sums to dk and dv, chunk after chunk; an item is a key row, counted from first.
type dattentionSumTask struct {
	t     *dattentionTask
	first int
}

func (u *dattentionSumTask) Do(_, lo, hi int) {
	t, e := u.t, u.t.a.E
	lo, hi = lo+u.first, hi+u.first
	chunks, pad, add := t.buf.chunks, t.buf.workers[0].pad, t.buf.kernels.addScaled
	start := sort.Search(len(chunks), func(i int) bool { return chunks[i].hi > lo })
	for _, c := range chunks[start:] {
		if c.lo >= hi {
			break
		}
		for g := range t.a.K {
			dk, dv := t.sums(c, g)
			for r := max(lo, c.lo); r < min(hi, c.hi); r++ {
				to, from := r*t.dkvs+g*e, (r-c.lo)*pad
				add(&t.dk[to : to+e][0], &dk[from], e, t.scale())
				add(&t.dv[to : to+e][0], &dv[from], e, 1)
			}
		}
	}
}
