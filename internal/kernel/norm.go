package kernel

// RMSNorm computes y[n,d] = x·rstd·w with rstd[n] = 1/√(mean(x²)+eps) of each row, which backward needs.
func (c *CPU) RMSNorm(y, rstd, x, w []float32, n, d int, eps float32) {
	defer c.Done(c.Start(), sweepWork("rmsnorm", 2*n*d))
	c.norm(normTask{y: y, rstd: rstd[:n], x: x, w: w[:d], eps: eps})
}

// RMSNormBF16 is RMSNorm with y as rows of bfloat16, y[n, Words(d)].
func (c *CPU) RMSNormBF16(y, rstd, x, w []float32, n, d int, eps float32) {
	defer c.Done(c.Start(), Work{Kernel: "rmsnorm", Bytes: 6 * float64(n) * float64(d)})
	c.norm(normTask{half: halves(y), rstd: rstd[:n], x: x, w: w[:d], eps: eps})
}

// RMSNormBackward adds to dx[n,d] and dw[d] the gradients of RMSNorm. dw is reduced over the rows in order, starting from dw. Where half is not nil, it
// receives dx as rows of bfloat16, half[n, Words(d)].
func (c *CPU) RMSNormBackward(dx, half, dw, dy, x, w, rstd []float32, n, d int) {
	work := sweepWork("rmsnorm backward", 4*n*d)
	t := &c.task.dnorm
	*t = dnormTask{level: c.level, dx: dx, dw: dw[:d], dy: dy, x: x, w: w[:d], rstd: rstd[:n]}
	if half != nil {
		work.Bytes *= 1.125
		t.half = roundPairsTask{halves(half), dx, d, c.bf16}
	}
	defer c.Done(c.Start(), work)
	c.pool.RunOrdered(n, rowGrain(2*d), t)
	*t = dnormTask{}
}

func (c *CPU) norm(t normTask) {
	u := &c.task.norm
	*u = t
	u.level, u.bf16 = c.level, c.bf16
	c.pool.Run(len(t.rstd), rowGrain(len(t.w)), u)
	*u = normTask{}
}

// normTask normalises rows, into rows of floats or of bfloat16.
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
		rstd, x := t.rstd[lo:end], t.x[lo*d:end*d]
		t.level.rstd(rstd, x, d, t.eps)
		if t.half == nil {
			t.level.norm(t.y[lo*d:end*d], rstd, x, t.w)
			continue
		}
		half := t.half[lo*even(d) : end*even(d)]
		if t.bf16 {
			bf16Norm((*uint16)(&half[0]), &rstd[0], &x[0], &t.w[0], len(rstd), d)
		} else {
			normBF16Generic(half, rstd, x, t.w)
		}
		for last := d; d%2 == 1 && last < len(half); last += d + 1 {
			half[last] = 0
		}
	}
}

type dnormTask struct {
	level                  Level
	dx, dw, dy, x, w, rstd []float32
	half                   roundPairsTask // of dx
}

// Do computes, with g = dy∘w, dx += rstd·(g − x·rstd²·mean(g∘x)).
func (t *dnormTask) Do(worker, lo, hi int) {
	d := len(t.w)
	t.level.dnorm(t.dx[lo*d:hi*d], t.dy[lo*d:hi*d], t.x[lo*d:hi*d], t.w, t.rstd[lo:hi])
	t.half.Do(worker, lo, hi)
}

// Then adds the rows to dw while they are in a cache.
func (t *dnormTask) Then(_, lo, hi int) {
	d := len(t.w)
	t.level.dnormWeight(t.dw, t.dy[lo*d:hi*d], t.x[lo*d:hi*d], t.rstd[lo:hi])
}
