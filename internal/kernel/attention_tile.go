package kernel

import (
	"math"
	"unsafe"
)

// keyTile is how many keys a softmax step takes, counted from the first key of the row. It is part of the definition of the bits.
const keyTile = 48

// maxLanes is the most query lanes of any level, and embedAlign what the rows of a tile are padded to.
const (
	maxLanes   = 32
	embedAlign = 32
)

// A worker takes blockQueries queries through the keys together, so that a tile of keys is read once for several panels, of which it has maxPanels.
const (
	blockQueries = 64
	maxPanels    = 8
)

// attentionTile is the kernels for one number of query lanes. Strides are in bytes.
type attentionTile struct {
	lanes           int
	scores          func(c, a, b *float32, rows, stride, depth, next, other int)
	softmax         func(s, m, l, shrink *float32, limit *int32, base, keys, full int)
	softmaxBackward func(s, dp, lse, delta *float32, limit *int32, base, keys, full int)
	accumulate      func(c, a, b, scale *float32, rows, stride, depth int)
	outer           func(c, a, b *float32, rows, cols, depth int)
	laneDots        func(out, a, b *float32, rows int)
	move            laneMover
}

// laneMover is how values of queries come to lanes, and go back, by blocks of so many columns.
type laneMover struct {
	gather  func(dst, dstT, src *float32, rows, heads *int, stride, width, pad, lanes, blocks int, scale float32)
	scatter func(dst, srcT, scale *float32, rows, heads *int, stride, width, queries, lanes, blocks int)
	block   int
}

// attentionKernels is one level's kernels. The tiles are from the one with the fewest lanes, for decoding, to the fastest.
type attentionKernels struct {
	tiles     []attentionTile
	row       rowKernels
	sums      func(lse, inverse, m, l *float32, lanes int)
	addScaled func(y, x *float32, n int, scale float32)
	prefetch  func(p *float32, rows, stride, bytes int) // into the second cache
	near      func(p *float32, rows, stride, bytes int) // into the first
}

// fit is the smallest tile for so many queries, or the largest there is.
func (k *attentionKernels) fit(queries int) *attentionTile {
	last := len(k.tiles) - 1
	for i := range last {
		if queries <= k.tiles[i].lanes {
			return &k.tiles[i]
		}
	}
	return &k.tiles[last]
}

// few tells whether the queries wait for memory rather than compute.
func (k *attentionKernels) few(queries int) bool { return queries <= k.tiles[len(k.tiles)-2].lanes }

// queryBlock is a run of queries of one kv head that see keys from the same first one. Queries are counted by rows and, within a row, by the heads
// of the group: it starts at the given head of the row.
type queryBlock struct{ row, head, queries int }

// appendQueryBlocks adds the blocks of the query rows [from, to), of at most so many queries each.
func appendQueryBlocks(blocks []queryBlock, from, to, group, most int, span Range) []queryBlock {
	for from < to {
		end := from + 1
		for end < to && span.Lo[end] == span.Lo[from] {
			end++
		}
		for u, n := 0, (end-from)*group; u < n; u += most {
			blocks = append(blocks, queryBlock{from + u/group, u % group, min(most, n-u)})
		}
		from = end
	}
	return blocks
}

// attentionBuffers is the memory of attention, kept from call to call.
type attentionBuffers struct {
	kernels attentionKernels
	blocks  []queryBlock
	chunks  []queryChunk
	partial []float32
	workers []attentionScratch
	bf16    attentionBF16
}

// prepare readies the memory for heads of e values.
func (b *attentionBuffers) prepare(level Level, workers, e int) {
	if b.workers == nil {
		b.kernels = attentionKernelsOf(level)
		b.workers = make([]attentionScratch, workers)
	}
	for i := range b.workers {
		b.workers[i].prepare(e)
	}
}

// attentionScratch is one worker's memory.
type attentionScratch struct {
	e, pad int       // pad is e rounded up
	s, dp  []float32 // [keyTile][lanes]
	page   []float32 // [keyTile][e], for pages of other formats
	sums   []float32 // dk and dv of a chunk that is alone
	ones   []float32 // [lanes]
	groups [keyTile / keyGroup]*float32
	panels [maxPanels]queryPanel
}

// queryPanel is as many queries as a tile has lanes, of one kv head: rows are [lanes][pad], their transposes [pad][lanes]. The lanes that are left
// over compute again what the last query does, which nobody reads.
type queryPanel struct {
	*attentionTile
	e, pad, queries          int
	keys, full               int // keys from the first that the last query sees, and that all queries see
	q, do                    []float32
	qT, doT, oT, dqT         []float32
	m, l, shrink, lse, delta [maxLanes]float32
	limit                    [maxLanes]int32 // keys that each lane sees
	row, head                [maxLanes]int   // of each lane; head counts all query heads
}

func (s *attentionScratch) prepare(e int) {
	if s.e == e {
		return
	}
	s.e, s.pad = e, (e+embedAlign-1)/embedAlign*embedAlign
	panel, tile := maxLanes*s.pad, keyTile*maxLanes
	slab := alignedFloats(scratchValues(s.pad))
	take := func(n int) []float32 {
		part := slab[:n:n]
		slab = slab[n:]
		return part
	}
	s.s, s.dp, s.ones, s.page = take(tile), take(tile), take(maxLanes), take(keyTile*s.pad)
	for i := range s.ones {
		s.ones[i] = 1
	}
	for i := range s.panels {
		p := &s.panels[i]
		p.e, p.pad = e, s.pad
		for _, part := range []*[]float32{&p.qT, &p.oT, &p.dqT, &p.doT, &p.q, &p.do} {
			*part = take(panel)
		}
	}
}

// scratchValues is how many values a worker's memory holds.
func scratchValues(pad int) int {
	return 6*maxPanels*maxLanes*pad + (2*keyTile+1)*maxLanes + keyTile*pad
}

// place assigns the queries of a block for the kv heads [g, gEnd) to panels.
func (s *attentionScratch) place(b queryBlock, g, gEnd int, a Heads, span Range, k *attentionKernels) []queryPanel {
	n := 0
	for ; g < gEnd; g++ {
		for from := 0; from < b.queries; n++ {
			tile := k.fit(b.queries - from)
			s.panels[n].place(b, from, g, a, span, tile)
			from += tile.lanes
		}
	}
	return s.panels[:n]
}

func (p *queryPanel) place(b queryBlock, from, g int, a Heads, span Range, tile *attentionTile) {
	p.attentionTile, p.queries = tile, min(tile.lanes, b.queries-from)
	group := a.H / a.K
	row, head := b.row+(b.head+from)/group, (b.head+from)%group
	for lane := range p.queries {
		p.row[lane], p.head[lane] = row, g*group+head
		p.limit[lane] = span.Hi[row] - span.Lo[row]
		if head++; head == group {
			row, head = row+1, 0
		}
	}
	last := p.queries - 1
	for lane := p.queries; lane < tile.lanes; lane++ {
		p.limit[lane], p.row[lane], p.head[lane] = p.limit[last], p.row[last], p.head[last]
	}
	p.keys, p.full = int(p.limit[last]), int(p.limit[0])
}

// seen is how many of the n keys from base on all queries of the panel see.
func (p *queryPanel) seen(base, n int) int { return min(max(p.full-base, 0), n) }

// gather copies the values of the queries, which lie stride apart, to the rows dst, unless that is nil, and to their transpose dstT times scale.
func (p *queryPanel) gather(dst, dstT, src []float32, scale float32, stride int) {
	var rows *float32
	if dst != nil {
		rows = &dst[0]
	}
	blocks := p.e / p.move.block
	p.move.gather(rows, &dstT[0], &src[0], &p.row[0], &p.head[0], 4*stride, 4*p.e, 4*p.pad, p.lanes, blocks, scale)
	for col := blocks * p.move.block; col < p.e; col++ {
		for lane := range p.lanes {
			x := src[p.row[lane]*stride+p.head[lane]*p.e+col]
			if dstT[col*p.lanes+lane] = x * scale; dst != nil {
				dst[lane*p.pad+col] = x
			}
		}
	}
}

// scatter copies the transposed values srcT, times the scale of their lane, to the queries.
func (p *queryPanel) scatter(dst, srcT, scale []float32, stride int) {
	blocks := p.e / p.move.block
	p.move.scatter(&dst[0], &srcT[0], &scale[0], &p.row[0], &p.head[0], 4*stride, 4*p.e, p.queries, p.lanes, blocks)
	for col := blocks * p.move.block; col < p.e; col++ {
		for lane := range p.queries {
			dst[p.row[lane]*stride+p.head[lane]*p.e+col] = srcT[col*p.lanes+lane] * scale[lane]
		}
	}
}

// begin readies a panel for the softmax over its keys: the values of its queries, and sums of nothing.
func (p *queryPanel) begin(q []float32, stride int, unit float32) {
	p.gather(nil, p.qT, q, unit, stride)
	p.beginSums()
}

func (p *queryPanel) beginSums() {
	clear(p.oT[:p.e*p.lanes])
	for lane := range p.lanes {
		p.m[lane], p.l[lane] = float32(math.Inf(-1)), 0
	}
}

// end writes the outputs of a panel that has seen all its keys, and leaves their lse.
func (p *queryPanel) end(o []float32, stride int, k *attentionKernels) {
	k.sums(&p.lse[0], &p.shrink[0], &p.m[0], &p.l[0], p.lanes)
	p.scatter(o, p.oT, p.shrink[:], stride)
}

// unit is what queries are multiplied by, so that their scores are logarithms to the base 2 of the weights: log2(e)/√e.
func (a Heads) unit() float32 { return float32(math.Log2E / math.Sqrt(float64(a.E))) }

// prefetch fetches the values of the queries of the kv heads [g, gEnd), whose rows lie stride apart in x, ahead of their use.
func (b queryBlock) prefetch(x []float32, stride, g, gEnd int, a Heads, k *attentionKernels) {
	group := a.H / a.K
	k.near(&x[b.row*stride+g*group*a.E], (b.head+b.queries+group-1)/group, 4*stride, 4*(gEnd-g)*group*a.E)
}

// apart is how many bytes b starts behind a.
func apart(a, b []float32) int {
	return int(uintptr(unsafe.Pointer(&b[0])) - uintptr(unsafe.Pointer(&a[0])))
}

// alignedFloats returns n zeros that start on a cache line.
func alignedFloats(n int) []float32 {
	const line = 16
	s := make([]float32, n+line)
	skip := int(-uintptr(unsafe.Pointer(&s[0]))%(4*line)) / 4
	return s[skip : skip+n : skip+n]
}
