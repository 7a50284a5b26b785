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
	embedAlign = 16
)

// attentionTile is the kernels for one number of query lanes. Strides are in bytes.
type attentionTile struct {
	lanes      int
	scores     func(c, a, b *float32, rows, stride, depth, next, other int)
	softmax    func(s, m, l, shrink *float32, limit *int32, base, keys, full int)
	accumulate func(c, a, b, scale *float32, rows, stride, depth int)
}

// attentionKernels is one level's kernels: narrow tiles are for the few queries of decoding.
type attentionKernels struct {
	wide, narrow    attentionTile
	softmaxBackward func(s, dp, lse, delta *float32, limit *int32, base, keys, full int)
	laneDots        func(out, a, b *float32, rows int)
	outer           func(c, a, b *float32, rows, cols, depth int)
	transpose       func(dst, src, scale *float32, rows, cols, dstStride, srcStride int)
	addScaled       func(y, x *float32, n int, scale float32)
	prefetch        func(p *float32, rows, stride, bytes int)
}

// queryTile is a run of queries of one kv head that see keys from the same first one. Queries are counted by rows and, within a row, by the heads
// of the group: it starts at the given head of the row.
type queryTile struct{ row, head, lanes int }

// appendQueryTiles adds the tiles of the query rows [from, to), of at most so many lanes.
func appendQueryTiles(tiles []queryTile, from, to, group, lanes int, span Range) []queryTile {
	for from < to {
		end := from + 1
		for end < to && span.Lo[end] == span.Lo[from] {
			end++
		}
		for u, n := 0, (end-from)*group; u < n; u += lanes {
			tiles = append(tiles, queryTile{from + u/group, u % group, min(lanes, n-u)})
		}
		from = end
	}
	return tiles
}

// attentionBuffers is the memory of attention, kept from call to call.
type attentionBuffers struct {
	kernels attentionKernels
	tiles   []queryTile
	chunks  []queryChunk
	partial []float32
	workers []attentionScratch
}

// prepare readies the memory for heads of e values.
func (b *attentionBuffers) prepare(level Level, workers, e int) {
	b.kernels = attentionKernelsOf(level)
	if b.workers == nil {
		b.workers = make([]attentionScratch, workers)
	}
	for i := range b.workers {
		b.workers[i].prepare(e)
	}
}

// attentionScratch is one worker's memory for one tile of queries: rows are [lanes][pad], their transposes [pad][lanes].
type attentionScratch struct {
	e, pad           int
	q, do, o         []float32 // [lanes][pad]
	qT, doT, oT, dqT []float32 // [pad][lanes]
	s, dp            []float32 // [keyTile][lanes]
	scale, ones      []float32 // [pad or lanes]: log2(e)/√e and 1

	m, l, shrink, lse, delta, inverse [maxLanes]float32
	limit                             [maxLanes]int32
	row, head                         [maxLanes]int // of each lane; head counts all query heads
}

func (s *attentionScratch) prepare(e int) {
	if s.e == e {
		return
	}
	s.e, s.pad = e, (e+embedAlign-1)/embedAlign*embedAlign
	panel, tile, vector := maxLanes*s.pad, (keyTile+embedAlign)*maxLanes, max(s.pad, maxLanes)
	slab := alignedFloats(7*panel + 2*tile + 2*vector)
	take := func(n int) []float32 {
		part := slab[:n:n]
		slab = slab[n:]
		return part
	}
	for _, p := range []*[]float32{&s.q, &s.do, &s.o, &s.qT, &s.doT, &s.oT, &s.dqT} {
		*p = take(panel)
	}
	s.s, s.dp = take(tile), take(tile)
	s.scale, s.ones = take(vector), take(vector)
	for i := range s.scale {
		s.scale[i], s.ones[i] = float32(math.Log2E/math.Sqrt(float64(e))), 1
	}
}

// place finds the rows, heads and key limits of a tile's lanes. The lanes that are left over are limited like the last one.
func (s *attentionScratch) place(q queryTile, g int, a Heads, span Range) {
	group := a.H / a.K
	row, head := q.row, q.head
	for lane := range q.lanes {
		s.row[lane], s.head[lane] = row, g*group+head
		s.limit[lane] = span.Hi[row] - span.Lo[row]
		if head++; head == group {
			row, head = row+1, 0
		}
	}
	for lane := q.lanes; lane < maxLanes; lane++ {
		s.limit[lane] = s.limit[q.lanes-1]
	}
}

// gather copies the values of the tile's queries, which lie stride apart, to the rows dst, zeros for the lanes left over, and to their transpose
// dstT times scale.
func (s *attentionScratch) gather(dst, dstT, src, scale []float32, stride, used, lanes int, k *attentionKernels) {
	for lane := range used {
		from := s.row[lane]*stride + s.head[lane]*s.e
		copy(dst[lane*s.pad:lane*s.pad+s.e], src[from:from+s.e])
	}
	clear(dst[used*s.pad : lanes*s.pad])
	k.transpose(&dstT[0], &dst[0], &scale[0], lanes, s.pad, 4*lanes, 4*s.pad)
}

// scatter copies the transposed values srcT, times scale of their lane, to the tile's queries; tmp is overwritten.
func (s *attentionScratch) scatter(dst, srcT, tmp, scale []float32, stride, used, lanes int, k *attentionKernels) {
	k.transpose(&tmp[0], &srcT[0], &scale[0], s.pad, lanes, 4*s.pad, 4*lanes)
	for lane := range used {
		to := s.row[lane]*stride + s.head[lane]*s.e
		copy(dst[to:to+s.e], tmp[lane*s.pad:])
	}
}

// prefetch fetches the values of a tile's queries of the kv head g, which lie stride apart in x, ahead of their use.
func (q queryTile) prefetch(x []float32, stride, g int, a Heads, k *attentionKernels) {
	group := a.H / a.K
	rows := (q.head + q.lanes + group - 1) / group
	k.prefetch(&x[q.row*stride+g*group*a.E], rows, 4*stride, 4*group*a.E)
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
