package kernel

// Packed is a weight matrix w[out,in] laid out for products: packed once, used for any number of them.
type Packed struct {
	in, out int
	panels  []float32
	level   Level
}

// Pack lays out w[out,in] for LinearPacked. Where p is not nil its memory is used again.
func (c *CPU) Pack(p *Packed, w []float32, in, out int) *Packed {
	return c.layOut(reuse(p, in, out, c.level), operandB{w, in, true}, out, in)
}

// PackTransposed lays out w[out,in] for LinearBackwardInputPacked. Where p is not nil its memory is used again.
func (c *CPU) PackTransposed(p *Packed, w []float32, in, out int) *Packed {
	return c.layOut(reuse(p, in, out, c.level), operandB{w, in, false}, in, out)
}

// layOut packs b[k,n]; plain Go reads it as it lies.
func (c *CPU) layOut(p *Packed, b operandB, n, k int) *Packed {
	defer c.Done(c.Start(), sweepWork("pack", 2*n*k))
	if c.level == Generic {
		p.panels = append(p.panels[:0], b.data[:n*k]...)
		return p
	}
	p.panels = grow(p.panels, c.level.packedLen(n, k))
	c.pack(p.panels, b, n, k)
	return p
}

// reuse is p, or a new one, for a matrix of the given size.
func reuse(p *Packed, in, out int, level Level) *Packed {
	if p == nil {
		p = &Packed{}
	}
	p.in, p.out, p.level = in, out, level
	return p
}

// LinearPacked is Linear with a weight packed by Pack: the same bits.
func (c *CPU) LinearPacked(y, x []float32, w *Packed, n int, acc bool) {
	work := productWork("linear", n, w.in, w.out)
	switch {
	case n == 0:
	case c.level == Generic:
		byRows(c, &c.task.linear, linearTask{y, x, w.panels, w.in, w.out, acc}, n, 16, work)
	default:
		c.packedProduct(c.level, y, x, w.in, w.panels, n, w.out, w.in, acc, work)
	}
}

// LinearBackwardInputPacked is LinearBackwardInput with a weight packed by PackTransposed: the same bits.
func (c *CPU) LinearBackwardInputPacked(dx, dy []float32, w *Packed, n int, acc bool) {
	work := productWork("dx", n, w.in, w.out)
	switch {
	case n == 0:
	case c.level == Generic:
		byRows(c, &c.task.dinput, dinputTask{dx, dy, w.panels, w.in, w.out, acc}, n, 16, work)
	default:
		c.packedProduct(c.level, dx, dy, w.out, w.panels, n, w.in, w.out, acc, work)
	}
}
