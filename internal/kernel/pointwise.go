package kernel

// RMSNorm computes y[n,d] = x·rstd·w with rstd[n] = 1/√(mean(x²)+eps) of each row, which backward needs.
func (c *CPU) RMSNorm(y, rstd, x, w []float32, n, d int, eps float32) {
	t := &c.task.norm
	*t = normTask{y, rstd, x, w, d, eps}
	c.pool.Run(n, rowGrain(d), t)
	*t = normTask{}
}

// RMSNormBackward adds to dx[n,d] and dw[d] the gradients of RMSNorm. dw is reduced over the rows in order, starting from dw.
func (c *CPU) RMSNormBackward(dx, dw, dy, x, w, rstd []float32, n, d int) {
	t := &c.task.dnorm
	*t = dnormTask{dx, dy, x, w, rstd, d}
	c.pool.Run(n, rowGrain(d), t)
	*t = dnormTask{}
	c.columns(columnTask{op: (*columnTask).normWeight, dw: dw, dy: dy, x: x, rstd: rstd, n: n, d: d})
}

// RoPE rotates x in place: rows of h heads of e values at x[i*stride:], by the angles of position pos[i]. The two halves of a
// head form the pairs. table holds, for each position, e/2 cosines and then e/2 sines. inverse turns back, which is the backward.
func (c *CPU) RoPE(x, table []float32, pos []int32, h, e, stride int, inverse bool) {
	t := &c.task.rope
	*t = ropeTask{x, table, pos, h, e, stride, inverse}
	c.pool.Run(len(pos), rowGrain(h*e), t)
	*t = ropeTask{}
}

// SwiGLU computes y[n,f] = silu(gate)·up, with gu[n,2f] holding each row's gate and then its up values.
func (c *CPU) SwiGLU(y, gu []float32, n, f int) {
	t := &c.task.swiglu
	*t = swigluTask{y, gu, f}
	c.pool.Run(n, rowGrain(f), t)
	*t = swigluTask{}
}

// SwiGLUBackward computes dgu[n,2f] from dy[n,f] and gu[n,2f]. dgu may be gu.
func (c *CPU) SwiGLUBackward(dgu, dy, gu []float32, n, f int) {
	t := &c.task.dswiglu
	*t = dswigluTask{dgu, dy, gu, f}
	c.pool.Run(n, rowGrain(f), t)
	*t = dswigluTask{}
}

// CrossEntropy computes loss[i] = logsumexp(logits[i]) − logits[i, targets[i]] for each row of logits[n,v], and turns logits in
// place into its gradient times scale: (softmax − onehot)·scale. A negative target means none: loss 0, gradient 0. With scale 0 the
// logits are left as they are.
func (c *CPU) CrossEntropy(loss, logits []float32, targets []int32, v int, scale float32) {
	t := &c.task.crossent
	*t = crossEntropyTask{loss, logits, targets, v, scale}
	c.pool.Run(len(targets), 1, t)
	*t = crossEntropyTask{}
}

// rowGrain is how many rows of d values make a range that is worth handing to a worker.
func rowGrain(d int) int { return max(1, 16384/max(d, 1)) }

type normTask struct {
	y, rstd, x, w []float32
	d             int
	eps           float32
}

func (t *normTask) Do(_, lo, hi int) { normGeneric(t.y, t.rstd, t.x, t.w, lo, hi, t.d, t.eps) }

type dnormTask struct {
	dx, dy, x, w, rstd []float32
	d                  int
}

func (t *dnormTask) Do(_, lo, hi int) { dnormGeneric(t.dx, t.dy, t.x, t.w, t.rstd, lo, hi, t.d) }

type ropeTask struct {
	x, table     []float32
	pos          []int32
	h, e, stride int
	inverse      bool
}

func (t *ropeTask) Do(_, lo, hi int) {
	ropeGeneric(t.x, t.table, t.pos, lo, hi, t.h, t.e, t.stride, t.inverse)
}

type swigluTask struct {
	y, gu []float32
	f     int
}

func (t *swigluTask) Do(_, lo, hi int) { swigluGeneric(t.y, t.gu, lo, hi, t.f) }

type dswigluTask struct {
	dgu, dy, gu []float32
	f           int
}

func (t *dswigluTask) Do(_, lo, hi int) { dswigluGeneric(t.dgu, t.dy, t.gu, lo, hi, t.f) }

type crossEntropyTask struct {
	loss, logits []float32
	targets      []int32
	v            int
	scale        float32
}

func (t *crossEntropyTask) Do(_, lo, hi int) {
	crossEntropyGeneric(t.loss, t.logits, t.targets, lo, hi, t.v, t.scale)
}
