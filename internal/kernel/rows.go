package kernel

// Rows are moved and weighted by these, most of them between a batch and the rows of it that a recursion works on.

// Add computes y += x.
func (c *CPU) Add(y, x []float32) {
	defer c.Done(c.Start(), sweepWork("add", 3*len(y)))
	c.elements(spanTask{op: (*spanTask).add, dst: y, src: x[:len(y)]})
}

// CopyRows computes dst[i] = src[i] for n rows of d values.
func (c *CPU) CopyRows(dst, src []float32, n, d int) {
	c.rows(n, rowTask{op: (*rowTask).copy, dst: dst, src: src, d: d}, sweepWork("copy", 2*n*d))
}

// Copy computes dst = src.
func (c *CPU) Copy(dst, src []float32) {
	defer c.Done(c.Start(), sweepWork("copy", 2*len(dst)))
	c.elements(spanTask{op: (*spanTask).copy, dst: dst, src: src[:len(dst)]})
}

// Clear computes y = 0.
func (c *CPU) Clear(y []float32) {
	defer c.Done(c.Start(), sweepWork("clear", len(y)))
	c.elements(spanTask{op: (*spanTask).clear, dst: y})
}

// Scale computes y *= s.
func (c *CPU) Scale(y []float32, s float32) {
	defer c.Done(c.Start(), sweepWork("scale", 2*len(y)))
	c.elements(spanTask{op: (*spanTask).scale, dst: y, s: s})
}

// GatherRows computes dst[i] = src[rows[i]] for rows of d values.
func (c *CPU) GatherRows(dst, src []float32, rows []int32, d int) {
	c.rows(len(rows), rowTask{op: (*rowTask).gather, dst: dst, src: src, index: rows, d: d}, sweepWork("gather", 2*len(rows)*d))
}

// ScatterRows computes dst[rows[i]] = src[i] for rows of d values. No row may occur twice.
func (c *CPU) ScatterRows(dst, src []float32, rows []int32, d int) {
	c.rows(len(rows), rowTask{op: (*rowTask).scatter, dst: dst, src: src, index: rows, d: d}, sweepWork("scatter", 2*len(rows)*d))
}

// SetColumns copies src[n, d−lo] to the columns of dst[n,d] from lo on; where src is nil they become zeros.
func (c *CPU) SetColumns(dst, src []float32, n, lo, d int) {
	work, op := sweepWork("clear", n*(d-lo)), (*rowTask).clearColumns
	if src != nil {
		work, op = sweepWork("copy", 2*n*(d-lo)), (*rowTask).setColumns
	}
	c.rows(n, rowTask{op: op, dst: dst, src: src, lo: lo, d: d}, work)
}

// ScatterAddRows computes dst[rows[i]] += src[i] for rows of d values. No row may occur twice.
func (c *CPU) ScatterAddRows(dst, src []float32, rows []int32, d int) {
	c.rows(len(rows), rowTask{op: (*rowTask).scatterAdd, dst: dst, src: src, index: rows, d: d}, sweepWork("scatter", 3*len(rows)*d))
}

// ScatterAddScaled computes dst[rows[i]] += g[i]·src[i] for rows of d values. No row may occur twice.
func (c *CPU) ScatterAddScaled(dst, src, g []float32, rows []int32, d int) {
	c.rows(len(rows), rowTask{op: (*rowTask).scatterAddScaled, dst: dst, src: src, w: g, index: rows, d: d}, sweepWork("scatter", 3*len(rows)*d))
}

// DotRows computes out[i] = a[i]·b[i] for n rows of d values.
func (c *CPU) DotRows(out, a, b []float32, n, d int) {
	c.rows(n, rowTask{op: (*rowTask).dot, dst: out, src: a, w: b, d: d}, sweepWork("dot rows", 2*n*d))
}

// ScaleRows computes dst[i] = g[i]·src[i] for n rows of d values. dst may be src.
func (c *CPU) ScaleRows(dst, src, g []float32, n, d int) {
	c.rows(n, rowTask{op: (*rowTask).scale, dst: dst, src: src, w: g, d: d}, sweepWork("scale rows", 2*n*d))
}

// MulVec computes y[i] = x[i]∘w for n rows of d values. y may be x.
func (c *CPU) MulVec(y, x, w []float32, n, d int) {
	c.rows(n, rowTask{op: (*rowTask).mulVec, dst: y, src: x, w: w, d: d}, sweepWork("encoding", 2*n*d))
}

// MulVecBackwardWeight adds to dw[d] the gradient of MulVec's w, Σ dy[i]∘x[i] in the order of the rows.
func (c *CPU) MulVecBackwardWeight(dw, dy, x []float32, n, d int) {
	defer c.Done(c.Start(), sweepWork("encoding", 2*n*d))
	c.columns(columnTask{op: (*columnTask).mulVecWeight, dw: dw, dy: dy, x: x, n: n, d: d})
}

// EmbedBackward adds dy[i] to dw[tokens[i]] in the order of the rows of d values.
func (c *CPU) EmbedBackward(dw, dy []float32, tokens []int32, d int) {
	defer c.Done(c.Start(), sweepWork("embedding backward", 3*len(tokens)*d))
	c.columns(columnTask{op: (*columnTask).embed, dw: dw, dy: dy, index: tokens, n: len(tokens), d: d})
}

// GELU computes y = x·Φ(x), the form with erf. y may be x.
func (c *CPU) GELU(y, x []float32) {
	defer c.Done(c.Start(), sweepWork("gelu", 2*len(y)))
	c.elements(spanTask{op: (*spanTask).gelu, dst: y, src: x[:len(y)]})
}

// GELUBackward computes dx from dy and what GELU read. dx may be dy.
func (c *CPU) GELUBackward(dx, dy, x []float32) {
	defer c.Done(c.Start(), sweepWork("gelu", 3*len(dx)))
	c.elements(spanTask{op: (*spanTask).dgelu, dst: dx, src: dy[:len(dx)], x: x[:len(dx)]})
}

// spanTask does one operation on each element.
type spanTask struct {
	op          func(t *spanTask, lo, hi int)
	level       Level
	dst, src, x []float32
	s           float32
}

func (c *CPU) elements(t spanTask) {
	u := &c.task.span
	*u = t
	u.level = c.level
	c.pool.Run(len(t.dst), rowGrain(1), u)
	*u = spanTask{}
}

func (t *spanTask) Do(_, lo, hi int) { t.op(t, lo, hi) }
func (t *spanTask) add(lo, hi int)   { t.level.add(t.dst[lo:hi], t.src[lo:hi]) }
func (t *spanTask) copy(lo, hi int)  { copy(t.dst[lo:hi], t.src[lo:hi]) }
func (t *spanTask) clear(lo, hi int) { clear(t.dst[lo:hi]) }
func (t *spanTask) scale(lo, hi int) { t.level.scale(t.dst[lo:hi], t.dst[lo:hi], t.s) }
func (t *spanTask) gelu(lo, hi int)  { geluGeneric(t.dst[lo:hi], t.src[lo:hi]) }
func (t *spanTask) dgelu(lo, hi int) { dgeluGeneric(t.dst[lo:hi], t.src[lo:hi], t.x[lo:hi]) }

// rowTask does one operation on each row; rows do not depend on one another.
type rowTask struct {
	op          func(t *rowTask, i int)
	level       Level
	dst, src, w []float32
	index       []int32
	lo, d       int
}

func (c *CPU) rows(n int, t rowTask, work Work) {
	t.level = c.level
	byRows(c, &c.task.row, t, n, rowGrain(t.d), work)
}

func (t *rowTask) Do(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		t.op(t, i)
	}
}

func (t *rowTask) copy(i int) { copy(row(t.dst, i, t.d), row(t.src, i, t.d)) }

func (t *rowTask) gather(i int) { copy(row(t.dst, i, t.d), row(t.src, int(t.index[i]), t.d)) }

func (t *rowTask) scatter(i int) { copy(row(t.dst, int(t.index[i]), t.d), row(t.src, i, t.d)) }

func (t *rowTask) clearColumns(i int) { clear(row(t.dst, i, t.d)[t.lo:]) }

func (t *rowTask) setColumns(i int) { copy(row(t.dst, i, t.d)[t.lo:], row(t.src, i, t.d-t.lo)) }

func (t *rowTask) scatterAdd(i int) {
	t.level.add(row(t.dst, int(t.index[i]), t.d), row(t.src, i, t.d))
}

func (t *rowTask) scatterAddScaled(i int) {
	t.level.addScaled(row(t.dst, int(t.index[i]), t.d), row(t.src, i, t.d), t.w[i])
}

func (t *rowTask) dot(i int) { t.dst[i] = t.level.dot(row(t.src, i, t.d), row(t.w, i, t.d)) }

func (t *rowTask) scale(i int) { t.level.scale(row(t.dst, i, t.d), row(t.src, i, t.d), t.w[i]) }

func (t *rowTask) mulVec(i int) { t.level.mul(row(t.dst, i, t.d), row(t.src, i, t.d), t.w[:t.d]) }

// columnTask reduces n rows into dw. The columns are shared out, so that each is summed in the order of the rows.
type columnTask struct {
	op        func(t *columnTask, i, lo, hi int)
	level     Level
	dw, dy, x []float32
	index     []int32
	n, d      int
}

// columns gives each worker a contiguous range of columns, in whole cache lines.
func (c *CPU) columns(t columnTask) {
	u := &c.task.column
	*u = t
	u.level = c.level
	workers := c.pool.Workers()
	c.pool.Run(t.d, max(64, ((t.d+workers-1)/workers+15)&^15), u)
	*u = columnTask{}
}

func (t *columnTask) Do(_, lo, hi int) {
	for i := range t.n {
		t.op(t, i, lo, hi)
	}
}

func (t *columnTask) mulVecWeight(i, lo, hi int) {
	t.level.addMul(t.dw[lo:hi], row(t.dy, i, t.d)[lo:hi], row(t.x, i, t.d)[lo:hi], 1)
}

func (t *columnTask) embed(i, lo, hi int) {
	t.level.add(row(t.dw, int(t.index[i]), t.d)[lo:hi], row(t.dy, i, t.d)[lo:hi])
}

// row is row i of a matrix whose rows have d values.
func row(x []float32, i, d int) []float32 { return x[i*d : (i+1)*d] }
