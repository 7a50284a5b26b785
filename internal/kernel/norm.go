package kernel

// RMSNorm computes y[n,d] = x·rstd·w with rstd[n] = 1/√(mean(x²)+eps) of each row, which backward needs.
func (c *CPU) RMSNorm(y, rstd, x, w []float32, n, d int, eps float32) {
	c.norm(normTask{y: y, rstd: rstd[:n], x: x, w: w[:d], eps: eps}, sweepWork("rmsnorm", 2*n*d))
}

// RMSNormBF16 is RMSNorm with y as rows of bfloat16, y[n, Words(d)].
func (c *CPU) RMSNormBF16(y, rstd, x, w []float32, n, d int, eps float32) {
	c.norm(normTask{half: halves(y), rstd: rstd[:n], x: x, w: w[:d], eps: eps}, Work{Kernel: "rmsnorm", Bytes: 6 * float64(n) * float64(d)})
}

// RMSNormBackward adds to dx[n,d] and dw[d] the gradients of RMSNorm. dw is reduced over the rows in order, starting from dw. Where h is not nil, it
// receives what RMSNorm gave, h[n,d].
func (c *CPU) RMSNormBackward(dx, dw, h, dy, x, w, rstd []float32, n, d int) {
	t := dnormTask{dx: dx, dw: dw[:d], dy: dy, x: x, w: w[:d], rstd: rstd[:n]}
	work := sweepWork("rmsnorm backward", 4*n*d)
	if h != nil {
		work.Bytes *= 1.25
		t.again = normTask{y: h, rstd: rstd[:n], x: x, w: w[:d]}
	}
	c.dnorm(t, work)
}

// RMSNormBackwardBF16 is RMSNormBackward with h as rows of bfloat16, h[n, Words(d)], which also writes dx as such rows, half[n, Words(d)].
func (c *CPU) RMSNormBackwardBF16(dx, half, dw, h, dy, x, w, rstd []float32, n, d int) {
	c.dnorm(dnormTask{dx: dx, dw: dw[:d], dy: dy, x: x, w: w[:d], rstd: rstd[:n],
		half: roundPairsTask{halves(half), dx, d, c.bf16}, again: normTask{half: halves(h), rstd: rstd[:n], x: x, w: w[:d]}}, sweepWork("rmsnorm backward", 5*n*d))
}

func (c *CPU) dnorm(t dnormTask, work Work) {
	t.level, t.again.level, t.again.bf16 = c.level, c.level, c.bf16
	byRows(c, &c.task.dnorm, t, len(t.rstd), rowGrain(2*len(t.w)), work)
}

func (c *CPU) norm(t normTask, work Work) {
	t.level, t.bf16 = c.level, c.bf16
	byRows(c, &c.task.norm, t, len(t.rstd), rowGrain(len(t.w)), work)
}

// normTask normalises rows, into y or into half.
type normTask struct {
	level      Level
	bf16       bool // has the instructions
	y          []float32
	half       []BF16
	rstd, x, w []float32
	eps        float32
}

// innerValues is how many values the innermost cache keeps beside others.
const innerValues = 4096

// Do takes few rows at a time, which are read twice.
func (t *normTask) Do(_, lo, hi int) {
	d := len(t.w)
	for end := lo; lo < hi; lo = end {
		end = min(lo+max(1, innerValues/d), hi)
		t.level.rstd(t.rstd[lo:end], t.x[lo*d:end*d], d, t.eps)
		t.scale(lo, end)
	}
}

// scale multiplies rows by their rstd and by the weight.
func (t *normTask) scale(lo, hi int) {
	d := len(t.w)
	rstd, x := t.rstd[lo:hi], t.x[lo*d:hi*d]
	if t.half == nil {
		t.level.norm(t.y[lo*d:hi*d], rstd, x, t.w)
		return
	}
	half := t.half[lo*even(d) : hi*even(d)]
	if t.bf16 {
		bf16Norm((*uint16)(&half[0]), &rstd[0], &x[0], &t.w[0], len(rstd), d)
	} else {
		normBF16Generic(half, rstd, x, t.w)
	}
	for last := d; d%2 == 1 && last < len(half); last += d + 1 {
		half[last] = 0
	}
}

type dnormTask struct {
	level                  Level
	dx, dw, dy, x, w, rstd []float32
	half                   roundPairsTask // of dx
	again                  normTask       // has no weight where nobody wants the norm
}

// Do computes, with g = dy∘w, dx += rstd·(g − x·rstd²·mean(g∘x)).
func (t *dnormTask) Do(worker, lo, hi int) {
	d := len(t.w)
	t.level.dnorm(t.dx[lo*d:hi*d], t.dy[lo*d:hi*d], t.x[lo*d:hi*d], t.w, t.rstd[lo:hi])
	t.half.Do(worker, lo, hi)
	if t.again.w != nil {
		t.again.scale(lo, hi)
	}
}

// Then adds the rows to dw while they are in a cache.
func (t *dnormTask) Then(_, lo, hi int) {
	d := len(t.w)
	t.level.dnormWeight(t.dw, t.dy[lo*d:hi*d], t.x[lo*d:hi*d], t.rstd[lo:hi])
}
