package kernel

import "math"

// RoPE rotates x in place: rows of h heads of e values at x[i*stride:], by the angles of position pos[i]. The two halves of a
// head form the pairs. table holds, for each position, e/2 cosines and then e/2 sines. inverse turns back, which is the backward.
func (c *CPU) RoPE(x, table []float32, pos []int32, h, e, stride int, inverse bool) {
	c.rope(ropeTask{x: x, table: table, pos: pos, h: h, e: e, stride: stride}, inverse, sweepWork("rope", 2*len(pos)*h*e))
}

// RoPEBF16 is RoPE that also writes the rows with all their stride values as rows of bfloat16, half[n, Words(stride)].
func (c *CPU) RoPEBF16(half, x, table []float32, pos []int32, h, e, stride int, inverse bool) {
	work := sweepWork("rope", 2*len(pos)*h*e)
	work.Bytes += float64(len(pos) * (6*stride - 4*h*e))
	c.rope(ropeTask{x: x, table: table, pos: pos, h: h, e: e, stride: stride, half: roundPairsTask{halves(half), x, stride, c.bf16}}, inverse, work)
}

func (c *CPU) rope(t ropeTask, inverse bool, work Work) {
	t.level, t.sign = c.level, 1
	if inverse {
		t.sign = -1
	}
	byRows(c, &c.task.rope, t, len(t.pos), rowGrain(t.stride), work)
}

// SwiGLU computes y[n,f] = silu(gate)·up, with gu[n,2f] holding each row's gate and then its up values.
func (c *CPU) SwiGLU(y, gu []float32, n, f int) {
	byRows(c, &c.task.swiglu, swigluTask{c.level, y, gu, f}, n, rowGrain(f), sweepWork("swiglu", 3*n*f))
}

// SwiGLUBackward computes dgu[n,2f] from dy[n,f] and gu[n,2f], and y[n,f] again, which SwiGLU gave. dgu may be gu, and y may be dy.
func (c *CPU) SwiGLUBackward(dgu, y, dy, gu []float32, n, f int) {
	byRows(c, &c.task.dswiglu, dswigluTask{c.level, dgu, y, dy, gu, f}, n, rowGrain(f), sweepWork("swiglu backward", 6*n*f))
}

// CrossEntropy computes loss[i] = logsumexp(logits[i]) − logits[i, targets[i]] for each row of logits[n,v], and turns logits in
// place into its gradient times scale: (softmax − onehot)·scale. A negative target means none: loss 0, gradient 0. With scale 0 the
// logits are left as they are.
func (c *CPU) CrossEntropy(loss, logits []float32, targets []int32, v int, scale float32) {
	defer c.Done(c.Start(), sweepWork("cross-entropy", 2*len(targets)*v))
	c.crossEntropy(crossEntropyTask{loss: loss, logits: logits, targets: targets, v: v, scale: scale})
}

// CrossEntropyBF16 is CrossEntropy that also writes the gradient as rows of bfloat16, half[n, Words(v)].
func (c *CPU) CrossEntropyBF16(half, loss, logits []float32, targets []int32, v int, scale float32) {
	defer c.Done(c.Start(), Work{Kernel: "cross-entropy", Bytes: 10 * float64(len(targets)) * float64(v)})
	c.crossEntropy(crossEntropyTask{loss: loss, logits: logits, targets: targets, v: v, scale: scale, half: roundPairsTask{halves(half), logits, v, c.bf16}})
}

func (c *CPU) crossEntropy(task crossEntropyTask) {
	t := &c.task.crossent
	*t = task
	t.level = c.level
	c.pool.Run(len(t.targets), 1, t)
	*t = crossEntropyTask{}
}

// rowGrain is how many rows of d values make a range that is worth handing to a worker.
func rowGrain(d int) int { return max(1, 16384/max(d, 1)) }

type ropeTask struct {
	level        Level
	x, table     []float32
	pos          []int32
	h, e, stride int
	sign         float32
	half         roundPairsTask
}

func (t *ropeTask) Do(worker, lo, hi int) {
	for i := lo; i < hi; i++ {
		angles := row(t.table, int(t.pos[i]), t.e)
		t.level.rope(t.x[i*t.stride:i*t.stride+t.h*t.e], angles[:t.e/2], angles[t.e/2:], t.sign)
		t.half.Do(worker, i, i+1)
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
	half         roundPairsTask
}

func (t *crossEntropyTask) Do(worker, lo, hi int) {
	for i := lo; i < hi; i++ {
		t.loss[i] = t.row(row(t.logits, i, t.v), t.targets[i])
		t.half.Do(worker, i, i+1)
	}
}

// row turns the logits of a row into its gradient, unless scale is 0, and returns its loss.
func (t *crossEntropyTask) row(logits []float32, target int32) float32 {
	if target < 0 {
		if t.scale != 0 {
			clear(logits)
		}
		return 0
	}
	top, logit := t.level.maxOf(logits), logits[target]
	if t.scale == 0 {
		return crossEntropy(t.level.sumExp(logits, top), top, logit)
	}
	s := t.level.exp(logits, top)
	t.level.scale(logits, logits, float32(float64(t.scale)/s))
	logits[target] -= t.scale
	return crossEntropy(s, top, logit)
}

// crossEntropy is the loss of a row with Σ e^(logit−top) = s.
func crossEntropy(s float64, top, logit float32) float32 {
	return float32(math.Log(s) + (float64(top) - float64(logit)))
}
