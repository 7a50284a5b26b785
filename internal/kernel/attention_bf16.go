package kernel

// Attention in bfloat16 rounds queries, keys, values, weights and the gradients of outputs and scores, and sums up in float32. The softmax stays in
// float32. Keys and values are rounded once a call, in the two forms that products read: rows of words of two values, and words of two rows.

const (
	bf16Lanes   = 32  // queries of a panel
	bf16Queries = 128 // of a block; those of a row's block reduce its part of dk and dv together
	bf16Keys    = 128 // of a softmax step, counted from the first key of the row. It is part of the definition of the bits.
)

// AttentionBF16 is Attention with operands rounded to bfloat16, where the CPU has units for products of it; elsewhere it is Attention.
func (c *CPU) AttentionBF16(o, lse, q, k, v []float32, qs, kvs int, a Heads, span Range) {
	if !c.bf16 {
		c.Attention(o, lse, q, k, v, qs, kvs, a, span)
		return
	}
	defer c.Done(c.Start(), attentionWork("attention bf16", 2, len(span.Lo)*2*(a.H+a.K)*a.E, a, span))
	if len(span.Lo) == 0 {
		return
	}
	b := c.attentionBuffers(a)
	h := b.bf16Of(c, a, span)
	h.k = c.bf16Rows(h.k, k, kvs, h)
	h.vPairs = c.bf16PairsOfRows(h.vPairs, v, kvs, h)
	t := &c.task.attention
	*t = attentionTask{o, lse, q, k, v, qs, kvs, a, span, b, h, 1}
	b.blocks = appendQueryBlocks(b.blocks[:0], 0, len(span.Lo), a.H/a.K, bf16Queries, span)
	c.pool.Run(t.items(), 1, t)
	*t = attentionTask{}
}

// AttentionBackwardBF16 is AttentionBackward with operands rounded as in AttentionBF16.
func (c *CPU) AttentionBackwardBF16(dq, dk, dv, do, o, lse, q, k, v []float32, dqs, dkvs, qs, kvs int, a Heads, span Range) {
	if !c.bf16 {
		c.AttentionBackward(dq, dk, dv, do, o, lse, q, k, v, dqs, dkvs, qs, kvs, a, span)
		return
	}
	start := c.Start()
	if len(span.Lo) == 0 {
		return
	}
	b := c.attentionBuffers(a)
	h := b.bf16Of(c, a, span)
	h.k, h.v = c.bf16Rows(h.k, k, kvs, h), c.bf16Rows(h.v, v, kvs, h)
	h.kPairs = c.bf16PairsOfRows(h.kPairs, k, kvs, h)
	t := &c.task.dattn
	*t = dattentionTask{dq, dk, dv, do, o, lse, q, k, v, dqs, dkvs, qs, kvs, a, span, b, h}
	t.split()
	c.runItems(start, t, len(b.chunks)*a.K, attentionWork("attention backward bf16", 5, len(span.Lo)*4*(a.H+a.K)*a.E, a, span))
}

// attentionBF16 is what a call rounds: for each of the kv heads in turn, the key rows [first, first+n).
type attentionBF16 struct {
	a              Heads
	first, n       int
	pad, words     int       // of a row of one head: columns rounded up to panels, and words of two values
	k, v           []float32 // [K][n][words] words of two values of a row
	kPairs, vPairs []float32 // [K][n][pad] words of a row and the next one; of the last and zero
	workers        []bf16Scratch
	kernels        attentionKernels
}

// bf16Scratch is one worker's memory. panels is how many a block has.
type bf16Scratch struct {
	s, dp          []float32 // [bf16Keys][bf16Lanes]
	pairs          []float32 // [bf16Keys/2][bf16Lanes] words of two keys
	p, ds          []float32 // [bf16Keys][panels·bf16Lanes/2] words of two queries
	qT, doT        []float32 // [panels][words][bf16Lanes] words of two values
	qPanel, dPanel []float32 // [pad/32][panels·bf16Lanes/2][32] words of two queries: of q and of do
}

// bf16Of readies the memory for a call.
func (b *attentionBuffers) bf16Of(c *CPU, a Heads, span Range) *attentionBF16 {
	h := &b.bf16
	h.first, h.n = int(span.Lo[0]), int(span.Hi[len(span.Hi)-1]-span.Lo[0])
	if h.a == a {
		return h
	}
	h.a, h.pad, h.words = a, b.workers[0].pad, even(a.E)/2
	h.kernels = b.kernels
	h.kernels.tiles = b.kernels.tiles[len(b.kernels.tiles)-1:]
	h.workers = make([]bf16Scratch, c.pool.Workers())
	const panels, half = bf16Queries / bf16Lanes, bf16Queries / 2
	for i := range h.workers {
		slab := alignedFloats(bf16ScratchValues(h.pad))
		take := func(n int) []float32 {
			part := slab[:n:n]
			slab = slab[n:]
			return part
		}
		s := &h.workers[i]
		s.s, s.dp, s.pairs = take(bf16Keys*bf16Lanes), take(bf16Keys*bf16Lanes), take(bf16Keys/2*bf16Lanes)
		s.p, s.ds = take(bf16Keys*half), take(bf16Keys*half)
		s.qT, s.doT = take(panels*h.words*bf16Lanes), take(panels*h.words*bf16Lanes)
		s.qPanel, s.dPanel = take(half*h.pad), take(half*h.pad)
	}
	return h
}

// bf16ScratchValues is how many words a worker's memory holds.
func bf16ScratchValues(pad int) int {
	return bf16Keys*(3*bf16Lanes+bf16Queries) + 3*bf16Queries*pad
}

// from is the rows of so many words of the kv head g from a key row on.
func (h *attentionBF16) from(x []float32, g, row, words int) []float32 {
	return x[(g*h.n+row-h.first)*words:]
}

// bf16Rows rounds the rows of x, which lie stride apart, to words of two values.
func (c *CPU) bf16Rows(dst, x []float32, stride int, h *attentionBF16) []float32 {
	return c.bf16Convert(grow(dst, h.a.K*h.n*h.words), x, stride, h, false)
}

// bf16PairsOfRows rounds the rows of x, which lie stride apart, to words of each row and the next one.
func (c *CPU) bf16PairsOfRows(dst, x []float32, stride int, h *attentionBF16) []float32 {
	return c.bf16Convert(grow(dst, h.a.K*h.n*h.pad), x, stride, h, true)
}

func (c *CPU) bf16Convert(dst, x []float32, stride int, h *attentionBF16, pairs bool) []float32 {
	defer c.profile.packed(c.Start())
	t := &c.task.attnRound
	*t = attentionRoundTask{h, dst, x, c.zeros(h.a.E), stride, pairs}
	c.pool.Run(h.n, rowGrain(h.a.K*h.a.E), t)
	*t = attentionRoundTask{}
	return dst
}

type attentionRoundTask struct {
	h            *attentionBF16
	dst, x, zero []float32
	stride       int
	pairs        bool
}

func (t *attentionRoundTask) Do(_, lo, hi int) {
	h, e := t.h, t.h.a.E
	const ahead = 8 // rows: they lie apart, so that no cache would guess the next one
	for i := lo; i < hi; i++ {
		if i+ahead < hi {
			h.kernels.prefetch(&t.x[(h.first+i+ahead)*t.stride], 1, 0, 4*h.a.K*e)
		}
		for g := range h.a.K {
			at := (h.first+i)*t.stride + g*e
			if !t.pairs {
				bf16Round((*uint16)(&halves(t.dst[(g*h.n+i)*h.words:])[0]), &t.x[at], e)
				continue
			}
			next := t.zero
			if i+1 < h.n {
				next = t.x[at+t.stride:]
			}
			pairRow(t.dst[(g*h.n+i)*h.pad:], bf16Lanes, t.x[at:], next, e)
		}
	}
}

// pairRow writes words of e columns of two rows in blocks of 32, which lie step words apart, the last one filled up with zeros.
func pairRow(dst []float32, step int, low, high []float32, e int) {
	whole := e / bf16Lanes
	if whole > 0 {
		bf16Pairs32(&dst[0], 4*step, &low[0], &high[0], whole)
	}
	if at := whole * bf16Lanes; at < e {
		var a, b [bf16Lanes]float32
		copy(a[:], low[at:e])
		copy(b[:], high[at:e])
		bf16Pairs32(&dst[whole*step], 0, &a[0], &b[0], 1)
	}
}

// bf16Multiply computes c[m, 32] (+)= a[m, k]·b[k, 32] in words of two values. Rows of c lie ldc apart, those of a lda.
func bf16Multiply(c []float32, ldc int, a []float32, lda int, b []float32, m, k int, acc bool) {
	i := 0
	if tiles := m / AVX512BF16.tallest(); tiles > 0 {
		AVX512BF16.column(tiles, &c[0], 4*ldc, &a[0], 4*lda, &b[0], k, acc, false, &c[0])
		i = tiles * AVX512BF16.tallest()
	}
	for i < m {
		rows := AVX512BF16.tile(m - i)
		AVX512BF16.gemm(rows, &c[i*ldc], 4*ldc, &a[i*lda], 4*lda, &b[0], k, acc, 0)
		i += rows
	}
}

// bf16Outer adds a[k, m]ᵀ·b[k, 32] to c[m, 32] in words of two values. Rows of a lie lda apart.
func bf16Outer(c, a []float32, lda int, b []float32, m, k int) {
	for i := 0; i < m; {
		rows := AVX512BF16.tile(m - i)
		AVX512BF16.outer(rows, &c[i*bf16Lanes], 4*bf16Lanes, &a[i], 4*lda, &b[0], 4*bf16Lanes, k, &a[i], 4*lda)
		i += rows
	}
}

// load gathers the values of a panel to rows, unless that is nil, and times a scale to words of two values, xT[words][lanes]. wide is for their transpose.
func (h *attentionBF16) load(p *queryPanel, rows, wide, xT, x []float32, scale float32, stride int) {
	p.gather(rows, wide, x, scale, stride)
	for w := range h.words { // behind an odd e lies a row of zeros
		bf16Pairs32(&xT[w*bf16Lanes], 0, &wide[2*w*bf16Lanes], &wide[(2*w+1)*bf16Lanes], 1)
	}
}

// blockBF16 computes the outputs of a block of queries of the kv head g, which belongs to an item.
func (t *attentionTask) blockBF16(s *attentionScratch, u *bf16Scratch, b queryBlock, g, item int) {
	h, e := t.bf16, t.a.E
	panels, size := s.place(b, g, g+1, t.a, t.span, &h.kernels), h.words*bf16Lanes
	for i := range panels {
		p := &panels[i]
		h.load(p, nil, p.qT, u.qT[i*size:], t.q, t.a.unit(), t.qs)
		p.beginSums()
	}
	first, keys := int(t.span.Lo[b.row]), panels[len(panels)-1].keys
	for base := 0; base < keys; base += bf16Keys {
		key, value := h.from(h.k, g, first+base, h.words), h.from(h.vPairs, g, first+base, h.pad)
		for i := range panels {
			p := &panels[i]
			n := min(bf16Keys, p.keys-base)
			if n <= 0 {
				continue
			}
			bf16Multiply(u.s, bf16Lanes, key, h.words, u.qT[i*size:], n, h.words, false)
			attnSoftmaxBF16(&u.pairs[0], &u.s[0], &p.m[0], &p.l[0], &p.shrink[0], &p.limit[0], base, n, p.seen(base, n))
			if base > 0 {
				attnScaleLanes(&p.oT[0], &p.shrink[0], e)
			}
			bf16Outer(p.oT, value, 2*h.pad, u.pairs, e, even(n)/2)
		}
		if base == 0 {
			t.fetch(b, g, g+1, item)
		}
	}
	for i := range panels {
		t.finish(&panels[i])
	}
}

// blockBF16 sets dq of a block of queries of the kv head g and adds to dk and dv[...][pad], which start at the key row origin.
func (t *dattentionTask) blockBF16(s *attentionScratch, u *bf16Scratch, dk, dv []float32, block, origin, g int) {
	h, b := t.bf16, t.buf.blocks[block]
	panels := s.place(b, g, g+1, t.a, t.span, &h.kernels)
	for i := range panels {
		t.loadBF16(u, &panels[i], i, len(panels))
	}
	first, keys := int(t.span.Lo[b.row]), panels[len(panels)-1].keys
	dk, dv = dk[(first-origin)*h.pad:], dv[(first-origin)*h.pad:]
	depth := len(panels) * bf16Lanes / 2
	for base := 0; base < keys; base += bf16Keys {
		n := min(bf16Keys, keys-base)
		for i := range panels {
			t.stepBF16(s, u, &panels[i], i, len(panels), first+base, base, n, g)
			if base == 0 {
				t.fetch(block, g, i)
			}
		}
		for j := 0; j < h.pad; j += bf16Lanes {
			at, panel := base*h.pad+j, j*depth
			bf16Multiply(dv[at:], h.pad, u.p, depth, u.dPanel[panel:], n, depth, true)
			bf16Multiply(dk[at:], h.pad, u.ds, depth, u.qPanel[panel:], n, depth, true)
		}
	}
	for i := range panels {
		t.finish(&panels[i])
	}
}

// loadBF16 fetches what one of so many panels needs of its queries.
func (t *dattentionTask) loadBF16(u *bf16Scratch, p *queryPanel, i, panels int) {
	h, e, size := t.bf16, t.a.E, t.bf16.words*bf16Lanes
	h.load(p, p.q, p.qT, u.qT[i*size:], t.q, t.a.unit(), t.qs)
	h.load(p, p.do, p.doT, u.doT[i*size:], t.do, 1, t.a.H*e)
	t.begin(p)
	for _, rows := range [][]float32{p.q, p.do} { // the products of dk and dv take all lanes
		clear(rows[p.queries*p.pad : p.lanes*p.pad])
	}
	const half = bf16Lanes / 2
	for w := range half {
		at, from := (i*half+w)*bf16Lanes, 2*w*p.pad
		pairRow(u.qPanel[at:], panels*half*bf16Lanes, p.q[from:], p.q[from+p.pad:], p.pad)
		pairRow(u.dPanel[at:], panels*half*bf16Lanes, p.do[from:], p.do[from+p.pad:], p.pad)
	}
}

// stepBF16 takes panel i of so many through the keys from base on, the first of which is the key row at, and leaves its part of the operands for dk and dv of
// n keys: zeros for keys that it does not see.
func (t *dattentionTask) stepBF16(s *attentionScratch, u *bf16Scratch, p *queryPanel, i, panels, at, base, n, g int) {
	h, e, size := t.bf16, t.a.E, t.bf16.words*bf16Lanes
	const half = bf16Lanes / 2
	seen, stride := min(max(p.keys-base, 0), n), panels*half
	for key := seen; key < n; key++ {
		clear(u.p[key*stride+i*half:][:half])
		clear(u.ds[key*stride+i*half:][:half])
	}
	if seen == 0 {
		return
	}
	bf16Multiply(u.s, bf16Lanes, h.from(h.k, g, at, h.words), h.words, u.qT[i*size:], seen, h.words, false)
	bf16Multiply(u.dp, bf16Lanes, h.from(h.v, g, at, h.words), h.words, u.doT[i*size:], seen, h.words, false)
	attnSoftmaxBackwardBF16(&u.p[i*half], &u.ds[i*half], &u.pairs[0], 4*stride, &u.s[0], &u.dp[0], &p.lse[0], &p.delta[0], &p.limit[0], base, seen, p.seen(base, seen))
	bf16Outer(p.dqT, h.from(h.kPairs, g, at, h.pad), 2*h.pad, u.pairs, e, even(seen)/2)
}
