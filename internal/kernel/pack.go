package kernel

// Operands are packed in panels of a tile's width: what the microkernels read lies in order.

// packedLen is how many values the panels of b[k,n] take.
func (l Level) packedLen(n, k int) int {
	w := l.panel()
	return (n + w - 1) / w * w * k
}

// pack writes b[k,n] in panels [n/w][k][w], the last one filled up with zeros.
func (c *CPU) pack(dst []float32, b operandB, n, k int) {
	w := c.level.panel()
	if !b.transposed {
		c.packPlain(dst, b.data, b.ld, w, n, k)
		return
	}
	defer c.profile.packed(c.Start())
	t := &c.task.pack
	*t = packTask{dst, b.data, b.ld, w, n, k, c.level, true}
	c.pool.Run((n+w-1)/w, 1, t)
	*t = packTask{}
}

// packPlain writes src(p,j), at p·ld+j, in panels [n/w][k][w], the last one filled up with zeros. Rows of src are read from end to end.
func (c *CPU) packPlain(dst, src []float32, ld, w, n, k int) {
	defer c.profile.packed(c.Start())
	t := &c.task.pack
	*t = packTask{dst, src, ld, w, n, k, c.level, false}
	c.pool.Run(k, 32, t)
	*t = packTask{}
}

type packTask struct {
	dst, src    []float32
	ld, w, n, k int
	level       Level
	transposed  bool // items are panels; otherwise rows
}

func (t *packTask) Do(_, lo, hi int) {
	w := t.w
	if !t.transposed {
		t.rows(lo, hi)
		return
	}
	for j := lo * w; j < hi*w; j += w {
		dst, cols := t.dst[j*t.k:(j+w)*t.k], min(w, t.n-j)
		if cols < w {
			clear(dst)
		}
		t.level.packTransposed(dst, t.src[j*t.ld:], t.ld, w, cols, t.k)
	}
}

// rows packs the rows [lo, hi) of src.
func (t *packTask) rows(lo, hi int) {
	w, whole := t.w, t.n/t.w
	if whole > 0 {
		t.level.packRows(&t.dst[lo*w], 4*t.k*w, &t.src[lo*t.ld], 4*t.ld, hi-lo, whole, w)
	}
	j := whole * w
	if j == t.n {
		return
	}
	for p := lo; p < hi; p++ {
		dst := t.dst[j*t.k+p*w : j*t.k+(p+1)*w]
		clear(dst[copy(dst, t.src[p*t.ld+j:p*t.ld+t.n]):])
	}
}

// packTransposed writes dst[p·w+j] = src[j·ld+p] for j below cols.
func (l Level) packTransposed(dst, src []float32, ld, w, cols, k int) {
	transpose, size := transpose8AVX2, 8
	if l >= AVX512 {
		transpose, size = transpose16AVX512, 16
	}
	wide, blocks := cols/size*size, k/size
	if blocks > 0 {
		for j := 0; j < wide; j += size {
			transpose(&dst[j], 4*w, &src[j*ld], 4*ld, blocks)
		}
	}
	for j := range cols {
		from := 0
		if j < wide {
			from = size * blocks
		}
		for p := from; p < k; p++ {
			dst[p*w+j] = src[j*ld+p]
		}
	}
}
