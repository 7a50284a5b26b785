package kernel

import "math"

// RMSNorm computes y[n,d] = x·rstd·w with rstd[n] = 1/√(mean(x²)+eps) of each row, which backward needs.
func (c *CPU) RMSNorm(y, rstd, x, w []float32, n, d int, eps float32) {
	defer c.Done(c.Start(), sweepWork("rmsnorm", 2*n*d))
	t := &c.task.norm
	*t = normTask{c.level, y, rstd, x, w[:d], d, eps}
	c.pool.Run(n, rowGrain(d), t)
	*t = normTask{}
}

// RMSNormBackward adds to dx[n,d] and dw[d] the gradients of RMSNorm. dw is reduced over the rows in order, starting from dw.
func (c *CPU) RMSNormBackward(dx, dw, dy, x, w, rstd []float32, n, d int) {
	defer c.Done(c.Start(), sweepWork("rmsnorm backward", 4*n*d))
	t := &c.task.dnorm
	*t = dnormTask{c.level, dx, dy, x, w[:d], rstd, d}
	c.pool.Run(n, rowGrain(d), t)
	*t = dnormTask{}
	c.columns(columnTask{op: (*columnTask).normWeight, dw: dw, dy: dy, x: x, rstd: rstd, n: n, d: d})
}

// RoPE rotates x in place: rows of h heads of e values at x[i*stride:], by the angles of position pos[i]. The two halves of a
// head form the pairs. table holds, for each position, e/2 cosines and then e/2 sines. inverse turns back, which is the backward.
func (c *CPU) RoPE(x, table []float32, pos []int32, h, e, stride int, inverse bool) {
	defer c.Done(c.Start(), sweepWork("rope", 2*len(pos)*h*e))
	t := &c.task.rope
	*t = ropeTask{c.level, x, table, pos, h, e, stride, 1}
	if inverse {
		t.sign = -1
	}
	c.pool.Run(len(pos), rowGrain(h*e), t)
	*t = ropeTask{}
}

// SwiGLU computes y[n,f] = silu(gate)·up, with gu[n,2f] holding each row's gate and then its up values.
func (c *CPU) SwiGLU(y, gu []float32, n, f int) {
	defer c.Done(c.Start(), sweepWork("swiglu", 3*n*f))
	t := &c.task.swiglu
	*t = swigluTask{c.level, y, gu, f}
	c.pool.Run(n, rowGrain(f), t)
	*t = swigluTask{}
}

// SwiGLUBackward computes dgu[n,2f] from dy[n,f] and gu[n,2f], and y[n,f] again, which SwiGLU gave. dgu may be gu, and y may be dy.
func (c *CPU) SwiGLUBackward(dgu, y, dy, gu []float32, n, f int) {
	defer c.Done(c.Start(), sweepWork("swiglu backward", 6*n*f))
	t := &c.task.dswiglu
	*t = dswigluTask{c.level, dgu, y, dy, gu, f}
	c.pool.Run(n, rowGrain(f), t)
	*t = dswigluTask{}
}

// CrossEntropy computes loss[i] = logsumexp(logits[i]) − logits[i, targets[i]] for each row of logits[n,v], and turns logits in
// place into its gradient times scale: (softmax − onehot)·scale. A negative target means none: loss 0, gradient 0. With scale 0 the
// logits are left as they are.
func (c *CPU) CrossEntropy(loss, logits []float32, targets []int32, v int, scale float32) {
	defer c.Done(c.Start(), sweepWork("cross-entropy", 2*len(targets)*v))
	t := &c.task.crossent
	*t = crossEntropyTask{c.level, loss, logits, targets, v, scale}
	c.pool.Run(len(targets), 1, t)
	*t = crossEntropyTask{}
}

// rowGrain is how many rows of d values make a range that is worth handing to a worker.
func rowGrain(d int) int { return max(1, 16384/max(d, 1)) }

type normTask struct {
	level         Level
	y, rstd, x, w []float32
	d             int
	eps           float32
}

func (t *normTask) Do(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		x := row(t.x, i, t.d)
		r := float32(1 / math.Sqrt(float64(t.level.dot(x, x)/float32(t.d)+t.eps)))
		t.rstd[i] = r
		t.level.norm(row(t.y, i, t.d), x, t.w, r)
	}
}

type dnormTask struct {
	level              Level
	dx, dy, x, w, rstd []float32
	d                  int
}

// Do computes, with g = dy∘w, dx += rstd·(g − x·rstd²·mean(g∘x)).
func (t *dnormTask) Do(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		dy, x, r := row(t.dy, i, t.d), row(t.x, i, t.d), t.rstd[i]
		s := t.level.dot3(dy, t.w, x) * (r * r / float32(t.d))
		t.level.dnorm(row(t.dx, i, t.d), dy, x, t.w, r, s)
	}
}

type ropeTask struct {
	level        Level
	x, table     []float32
	pos          []int32
	h, e, stride int
	sign         float32
}

func (t *ropeTask) Do(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		angles := row(t.table, int(t.pos[i]), t.e)
		t.level.rope(t.x[i*t.stride:i*t.stride+t.h*t.e], angles[:t.e/2], angles[t.e/2:], t.sign)
	}
}

type swigluTask struct {
	level Level
	y, gu []float32
	f     int
}

func (t *swigluTask) Do(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		t.level.swiglu(row(t.y, i, t.f), row(t.gu, 2*i, t.f), row(t.gu, 2*i+1, t.f))
	}
}

type dswigluTask struct {
	level          Level
	dgu, y, dy, gu []float32
	f              int
}

func (t *dswigluTask) Do(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		gate, up := 2*i, 2*i+1
		t.level.dswiglu(row(t.dgu, gate, t.f), row(t.dgu, up, t.f), row(t.y, i, t.f), row(t.dy, i, t.f), row(t.gu, gate, t.f), row(t.gu, up, t.f))
	}
}

type crossEntropyTask struct {
	level        Level
	loss, logits []float32
	targets      []int32
	v            int
	scale        float32
}

func (t *crossEntropyTask) Do(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		logits, target := row(t.logits, i, t.v), t.targets[i]
		if target < 0 {
			t.loss[i] = 0
			if t.scale != 0 {
				clear(logits)
			}
			continue
		}
		top, logit := t.level.maxOf(logits), logits[target]
		if t.scale == 0 {
			t.loss[i] = crossEntropy(t.level.sumExp(logits, top), top, logit)
			continue
		}
		s := t.level.exp(logits, top)
		t.loss[i] = crossEntropy(s, top, logit)
		t.level.scale(logits, logits, float32(float64(t.scale)/s))
		logits[target] -= t.scale
	}
}

// crossEntropy is the loss of a row with Σ e^(logit−top) = s.
func crossEntropy(s float64, top, logit float32) float32 {
	return float32(math.Log(s) + (float64(top) - float64(logit)))
}
