package kernel

import "mor/internal/quant"

// Project computes the products of x[n,in] with matrices that stand side by side: y[n, Σ out] = x·[w0; w1; …]ᵀ, added to y when acc is set. The matrices
// have the same In. A row's result does not depend on the other rows.
func (c *CPU) Project(y, x []float32, ws []*Matrix, n int, acc bool) {
	ldy := 0
	for _, w := range ws {
		ldy += w.Out
	}
	col := 0
	for n > 0 && len(ws) > 0 {
		same := 1
		for same < len(ws) && ws[same].Type == ws[0].Type {
			same++
		}
		c.project(y[col:], x, ws[:same], n, ldy, acc)
		for _, w := range ws[:same] {
			col += w.Out
		}
		ws = ws[same:]
	}
}

// project multiplies with matrices of one type, into columns of y.
func (c *CPU) project(y, x []float32, ws []*Matrix, n, ldy int, acc bool) {
	defer c.Done(c.Start(), projectWork(ws, n))
	switch ws[0].Type {
	case quant.F32, quant.F16, quant.BF16:
		c.projectFloat(y, x, ws, n, ldy, acc)
		return
	}
	l := layoutOf(ws[0].Type)
	c.quantise(&c.task.activations, x, n, ws[0].In, &l)
	t := &c.task.panel
	if t.tiles == nil {
		t.tiles = make([][rowTile * panelOut]float32, c.pool.Workers())
		if c.level != Generic && !c.vnni {
			t.scratch = make([]panelScratch, c.pool.Workers())
		}
	}
	*t = panelTask{y: y, a: &c.task.activations, w: ws, n: n, ldy: ldy, acc: acc, panels: panelsOf(ws), tiles: t.tiles, scratch: t.scratch, level: c.level, vnni: c.vnni, sweep: &c.task.sweep}
	parts := t.sweep.begin(t.panels*((n+rowBlock-1)/rowBlock), c.pool.Workers())
	c.pool.Run(parts, 1, t)
	t.y, t.w = nil, nil
}

func panelsOf(ws []*Matrix) int {
	n := 0
	for _, w := range ws {
		n += Panels(w.Out)
	}
	return n
}

// Panels is how many panels so many outputs take.
func Panels(out int) int { return (out + panelOut - 1) / panelOut }

// projectWork is a product of n rows with matrices side by side.
func projectWork(ws []*Matrix, n int) Work {
	w := Work{Kernel: "project " + ws[0].Type.String(), In: ws[0].In}
	for _, m := range ws {
		w.Out += m.Out
		w.Bytes += float64(m.Size())
	}
	w.FLOPs = 2 * float64(n) * float64(w.In) * float64(w.Out)
	w.Bytes += 4 * float64(n) * float64(w.In+w.Out)
	return w
}
