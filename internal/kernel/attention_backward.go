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
	bf16                            *attentionBF16 // where products are of bfloat16
}

// queryChunk is consecutive query rows whose part of dk and dv is summed on its own: the blocks [block, blockEnd) and the key rows [lo, hi). For
// each kv head, at holds dk[hi-lo][pad] and dv[hi-lo][pad] in turn; nothing does where no other chunk has these rows, and a worker adds its sums to dk and dv itself.
type queryChunk struct {
	block, blockEnd, lo, hi, at int
	alone                       bool
}

// sum adds up over the key rows what the chunks of each kv head, the items of the task, computed with the level's kernels.
func (t *dattentionTask) sum(c *CPU) {
	if len(t.buf.partial) == 0 {
		return
	}
	u := &c.task.dattnSum
	*u = dattentionSumTask{t, t.buf.chunks[0].lo}
	c.pool.Run(t.buf.chunks[len(t.buf.chunks)-1].hi-u.first, 64, u)
	*u = dattentionSumTask{}
}

// split cuts the rows into chunks: where a row shares no key with those before it, and within such a sequence into parts of like work. The
// chunks of a sequence do not depend on the others.
func (t *dattentionTask) split() {
	b, span, n := t.buf, t.span, len(t.span.Lo)
	b.blocks, b.chunks = b.blocks[:0], b.chunks[:0]
	group, pad, size, own, most := t.a.H/t.a.K, b.workers[0].pad, 0, 0, blockQueries
	if t.bf16 != nil {
		most = bf16Queries
	}
	for from := 0; from < n; {
		to, work := from, 0
		for to < n && (to == from || span.Lo[to] < span.Hi[to-1]) {
			work += int(span.Hi[to] - span.Lo[to])
			to++
		}
		part, start := max(work/chunkParts(t.a), chunkWorth/group), from
		for from < to {
			end, w := from, 0
			for end < to && w < part {
				w += int(span.Hi[end] - span.Lo[end])
				end++
			}
			c := queryChunk{block: len(b.blocks), lo: int(span.Lo[from]), hi: int(span.Hi[end-1]), at: size, alone: from == start && end == to}
			b.blocks = appendQueryBlocks(b.blocks, from, end, group, most, span)
			c.blockEnd = len(b.blocks)
			b.chunks = append(b.chunks, c)
			if n := 2 * (c.hi - c.lo) * pad; c.alone {
				own = max(own, n)
			} else {
				size += t.a.K * n
			}
			from = end
		}
	}
	b.partial = grow(b.partial, size)
	for i := range b.workers {
		b.workers[i].sums = grow(b.workers[i].sums, own)
	}
}

// chunkWorth is queries times keys of a part of a sequence that pays for its sum.
const chunkWorth = 1 << 19

// chunkParts is into how many parts at most a sequence is cut: enough for a few workers to get equal shares of one, and so few that their sums take no more
// than a few times the memory of dk and dv.
func chunkParts(a Heads) int { return min(8, (24+a.K-1)/a.K) }

func (t *dattentionTask) Do(worker, lo, hi int) {
	for i := lo; i < hi; i++ {
		if t.buf == nil {
			dattentionGeneric(t, i)
			continue
		}
		c, g, s := &t.buf.chunks[i/t.a.K], i%t.a.K, &t.buf.workers[worker]
		dk, dv := t.sums(c, g, s)
		clear(dk)
		clear(dv)
		for b := c.block; b < c.blockEnd; b++ {
			if t.bf16 != nil {
				t.blockBF16(s, &t.bf16.workers[worker], dk, dv, b, c.lo, g)
				continue
			}
			t.block(s, dk, dv, b, c.lo, g)
		}
		if c.alone {
			t.add(dk, dv, c.lo, c.hi, g)
		}
	}
}

// sums returns a chunk's dk and dv[hi-lo][pad] of the kv head g, in a worker's memory where the chunk is alone.
func (t *dattentionTask) sums(c *queryChunk, g int, s *attentionScratch) (dk, dv []float32) {
	n := (c.hi - c.lo) * t.buf.workers[0].pad
	if c.alone {
		return s.sums[:n], s.sums[n : 2*n]
	}
	both := t.buf.partial[c.at+2*g*n:]
	return both[:n], both[n : 2*n]
}

// add adds sums [hi-lo][pad] of a kv head to the key rows [lo, hi) of dk and dv.
func (t *dattentionTask) add(dk, dv []float32, lo, hi, g int) {
	e, pad, add := t.a.E, t.buf.workers[0].pad, t.buf.kernels.addScaled
	for r := lo; r < hi; r++ {
		to, from := r*t.dkvs+g*e, (r-lo)*pad
		add(&t.dk[to : to+e][0], &dk[from], e, t.scale())
		add(&t.dv[to : to+e][0], &dv[from], e, 1)
	}
}

// block sets dq of one of the blocks of queries of the kv head g and adds to dk and dv[...][pad], which start at the key row origin.
func (t *dattentionTask) block(s *attentionScratch, dk, dv []float32, block, origin, g int) {
	b, kernels, e := t.buf.blocks[block], &t.buf.kernels, t.a.E
	panels := s.place(b, g, g+1, t.a, t.span, kernels)
	for i := range panels {
		t.load(&panels[i])
	}
	first, keys := int(t.span.Lo[b.row]), panels[len(panels)-1].keys
	from, to := first*t.kvs+g*e, (first+keys-1)*t.kvs+(g+1)*e
	key, value := t.k[from:to], t.v[from:to]
	dk, dv = dk[(first-origin)*s.pad:][:keys*s.pad], dv[(first-origin)*s.pad:][:keys*s.pad]
	for base := 0; base < keys; base += keyTile {
		at, to := base*t.kvs, base*s.pad
		for i := range panels {
			t.step(s, &panels[i], dk[to:], dv[to:], key[at:], value[at:], base)
			if base == 0 {
				t.fetch(block, g, i)
			}
		}
	}
	for i := range panels {
		t.finish(&panels[i])
	}
}

// fetch fetches, ahead of its use, where dq of a block goes and what the next block reads: with each of the block's first panels a part.
func (t *dattentionTask) fetch(block, g, panel int) {
	kernels, o := &t.buf.kernels, t.a.H*t.a.E
	if panel == 0 {
		t.buf.blocks[block].prefetch(t.dq, t.dqs, g, g+1, t.a, kernels)
	}
	if block+1 == len(t.buf.blocks) {
		return
	}
	switch next := t.buf.blocks[block+1]; panel {
	case 0:
		next.prefetch(t.q, t.qs, g, g+1, t.a, kernels)
	case 1:
		next.prefetch(t.do, o, g, g+1, t.a, kernels)
		next.prefetch(t.o, o, g, g+1, t.a, kernels)
	}
}

// load fetches what one panel needs of its queries.
func (t *dattentionTask) load(p *queryPanel) {
	p.gather(p.q, p.qT, t.q, t.a.unit(), t.qs)
	p.gather(p.do, p.doT, t.do, 1, t.a.H*t.a.E)
	t.begin(p)
}

// begin readies a panel whose do is there: what its softmax needs, and a dq of nothing.
func (t *dattentionTask) begin(p *queryPanel) {
	e := t.a.E
	p.gather(nil, p.oT, t.o, 1, t.a.H*e)
	p.laneDots(&p.delta[0], &p.oT[0], &p.doT[0], e)
	for lane := range p.lanes {
		p.lse[lane] = t.lse[p.row[lane]*t.a.H+p.head[lane]] * math.Log2E
	}
	clear(p.dqT[:e*p.lanes])
}

// finish writes dq of a panel that has seen all its keys.
func (t *dattentionTask) finish(p *queryPanel) {
	for lane := range p.lanes {
		p.shrink[lane] = t.scale()
	}
	p.scatter(t.dq, p.dqT, p.shrink[:], t.dqs)
}

// step takes a panel through the tile of keys from base on, whose values start at key and value and their gradients' sums at dk and dv.
func (t *dattentionTask) step(s *attentionScratch, p *queryPanel, dk, dv, key, value []float32, base int) {
	n, e, stride := min(keyTile, p.keys-base), t.a.E, 4*t.kvs
	if n <= 0 {
		return
	}
	next := 0
	if p.keys-base > keyTile {
		next = keyTile * stride
	}
	p.scores(&s.s[0], &key[0], &p.qT[0], n, stride, e, next, apart(key, value))
	p.scores(&s.dp[0], &value[0], &p.doT[0], n, stride, e, 0, 0)
	p.softmaxBackward(&s.s[0], &s.dp[0], &p.lse[0], &p.delta[0], &p.limit[0], base, n, p.seen(base, n))
	p.outer(&dv[0], &s.s[0], &p.do[0], n, s.pad, p.queries)
	p.outer(&dk[0], &s.dp[0], &p.q[0], n, s.pad, p.queries)
	p.accumulate(&p.dqT[0], &key[0], &s.dp[0], &s.ones[0], e, stride, n)
}

// scale is 1/√e.
func (t *dattentionTask) scale() float32 { return float32(1 / math.Sqrt(float64(t.a.E))) }

// dattentionSumTask adds the chunks' sums to dk and dv, chunk after chunk; an item is a key row, counted from first.
type dattentionSumTask struct {
	t     *dattentionTask
	first int
}

func (u *dattentionSumTask) Do(_, lo, hi int) {
	lo, hi = lo+u.first, hi+u.first
	chunks, pad := u.t.buf.chunks, u.t.buf.workers[0].pad
	start := sort.Search(len(chunks), func(i int) bool { return chunks[i].hi > lo })
	for i := start; i < len(chunks) && chunks[i].lo < hi; i++ {
		c := &chunks[i]
		if c.alone {
			continue
		}
		from := max(lo, c.lo)
		for g := range u.t.a.K {
			dk, dv := u.t.sums(c, g, nil)
			u.t.add(dk[(from-c.lo)*pad:], dv[(from-c.lo)*pad:], from, min(hi, c.hi), g)
		}
	}
}
