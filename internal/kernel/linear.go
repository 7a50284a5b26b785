package kernel

// Linear computes y[n,out] = x[n,in]·w[out,in]ᵀ, added to y when acc is set. Each element is one chain of
// multiply-adds over in, ascending, starting from y when acc is set and from zero otherwise.
func (c *CPU) Linear(y, x, w []float32, n, in, out int, acc bool) {
	work := productWork("linear", n, in, out)
	if c.level == Generic {
		byRows(c, &c.task.linear, linearTask{y, x, w, in, out, acc}, n, 16, work)
		return
	}
	defer c.Done(c.Start(), work)
	c.product(y, x, operandB{w, in, true}, n, out, in, acc)
}

// LinearBackwardInput computes dx[n,in] = dy[n,out]·w[out,in], added to dx when acc is set. Each element is one chain over out, ascending.
func (c *CPU) LinearBackwardInput(dx, dy, w []float32, n, in, out int, acc bool) {
	work := productWork("dx", n, in, out)
	if c.level == Generic {
		byRows(c, &c.task.dinput, dinputTask{dx, dy, w, in, out, acc}, n, 16, work)
		return
	}
	defer c.Done(c.Start(), work)
	c.product(dx, dy, operandB{w, in, false}, n, in, out, acc)
}

// LinearBackwardWeight adds dyᵀ·x to dw[out,in], with dy[n,out] and x[n,in]. Each element is one chain over the rows,
// ascending, starting from dw: rows in two calls give the same bits as in one.
func (c *CPU) LinearBackwardWeight(dw, dy, x []float32, n, in, out int) {
	start, work := c.Start(), productWork("dw", n, in, out)
	if n == 0 || in == 0 || out == 0 {
		return
	}
	if c.level != Generic {
		c.outerProducts(start, c.level, dw, outerRows{dy, false, out, n, out}, outerRows{x, false, in, n, in}, work)
		return
	}
	defer c.Done(start, work)
	t := &c.task.dweight
	*t = dweightTask{dw, dy, x, n, in, out}
	c.pool.Run(out, 16, t)
	*t = dweightTask{}
}

type linearTask struct {
	y, x, w []float32
	in, out int
	acc     bool
}

func (t *linearTask) Do(_, lo, hi int) { linearGeneric(t.y, t.x, t.w, lo, hi, t.in, t.out, t.acc) }

type dinputTask struct {
	dx, dy, w []float32
	in, out   int
	acc       bool
}

func (t *dinputTask) Do(_, lo, hi int) { dinputGeneric(t.dx, t.dy, t.w, lo, hi, t.in, t.out, t.acc) }

type dweightTask struct {
	dw, dy, x  []float32
	n, in, out int
}

func (t *dweightTask) Do(_, lo, hi int) { dweightGeneric(t.dw, t.dy, t.x, t.n, lo, hi, t.in, t.out) }
