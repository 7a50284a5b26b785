package kernel

import (
	"encoding/binary"
	"math"
	"unsafe"

	"mor/internal/quant"
)

// floatTask multiplies rows with the panels of matrices of floats that stand side by side. Each element is one chain of multiply-adds over the inputs,
// ascending. Where the CPU multiplies pairs of bfloat16, rows for such matrices are rounded to it first, and a chain goes by pairs.
type floatTask struct {
	y, x   []float32 // [n][ldy], [n][in]
	w      []*Matrix
	n, ldy int
	acc    bool
	panels int
	level  Level
	edge   []edgeTile // by worker
	pairs  []float32  // [n][in/2] words: x in bfloat16, where products of pairs want it
	sweep  *sweep     // over the panels, for each block of rows
}

// floatRows is the number of rows that pass a panel before the next panel.
const floatRows = 112

// projectFloat is project for types that need no integers.
func (c *CPU) projectFloat(y, x []float32, ws []*Matrix, n, ldy int, acc bool) {
	t := &c.task.float
	*t = floatTask{y: y, x: x, w: ws, n: n, ldy: ldy, acc: acc, panels: panelsOf(ws), level: c.level, edge: c.edgeTiles(), sweep: &c.task.sweep}
	if c.bf16 && ws[0].Type == quant.BF16 {
		c.task.packedA = grow(c.task.packedA, words(n, ws[0].In))
		c.roundPairs(c.task.packedA, x, n, ws[0].In)
		t.pairs = c.task.packedA
	}
	parts := t.sweep.begin(t.panels*((n+floatRows-1)/floatRows), c.pool.Workers())
	c.pool.Run(parts, 1, t)
	*t = floatTask{}
}

func (t *floatTask) Do(worker, part, _ int) {
	for lo, hi := t.sweep.take(part); lo < hi; lo, hi = t.sweep.take(part) {
		for item := lo; item < hi; item++ {
			from := item / t.panels * floatRows
			w, panel, col := findPanel(t.w, item%t.panels)
			t.panel(w, panel, col, from, min(from+floatRows, t.n), &t.edge[worker])
		}
	}
}

// findPanel is the matrix and the column of a panel, counted over all matrices.
func findPanel(ws []*Matrix, panel int) (w *Matrix, at, col int) {
	for _, w := range ws {
		n := Panels(w.Out)
		if panel < n {
			return w, panel, col + panel*panelOut
		}
		panel -= n
		col += w.Out
	}
	return nil, 0, 0
}

// panel computes the rows [from, to) of a panel, whose first column is col of y.
func (t *floatTask) panel(w *Matrix, panel, col, from, to int, edge *edgeTile) {
	cols := min(panelOut, w.Out-panel*panelOut)
	if t.level == Generic {
		t.generic(w, panel*panelOut, cols, col, from, to)
		return
	}
	width := t.level.panel() // a tile has as many columns; a panel has one or two tiles
	size := w.panelSize()
	if w.Type == quant.F32 {
		size = size / panelOut * width // its panels are as wide as tiles
	}
	for at := 0; at < cols; at += width {
		for i, tile := from, 0; i < to; tile++ {
			rows, left, next := t.level.tile(to-i), min(width, cols-at), 0
			if tile < 2 && to-from > t.level.tallest() {
				next = size + tile*size/2 // the first two tiles fetch the next panel while they compute, so that no tile waits for memory
			}
			y := t.y[i*t.ldy+col+at:]
			if left == width {
				t.tile(w, panel, at, i, rows, &y[0], 4*t.ldy, t.acc, next)
				i += rows
				continue
			}
			if t.acc {
				for r := range rows {
					copy(edge[r*width:r*width+left], y[r*t.ldy:])
				}
			}
			t.tile(w, panel, at, i, rows, &edge[0], 4*width, t.acc, next)
			for r := range rows {
				copy(y[r*t.ldy:r*t.ldy+left], edge[r*width:])
			}
			i += rows
		}
	}
}

// tile runs a microkernel on the columns from at on of a panel, and the rows from row on. It fetches half a panel from next bytes behind the beginning of this one.
func (t *floatTask) tile(w *Matrix, panel, at, row, rows int, c *float32, ldc int, acc bool, next int) {
	if t.pairs != nil {
		b := (*float32)(unsafe.Pointer(&w.data[panel*w.panelSize()+4*at]))
		AVX512BF16.gemm(rows, c, ldc, &t.pairs[row*w.In/2], 2*w.In, b, w.In/2, acc, next)
		return
	}
	a := &t.x[row*w.In]
	if w.Type == quant.F32 {
		width := t.level.panel()
		t.level.gemm(rows, c, ldc, a, 4*w.In, &w.packed.panels[(panel*panelOut+at)/width*width*w.In], w.In, acc, next)
		return
	}
	size := w.panelSize()
	t.level.gemmHalf(w.Type, rows, c, ldc, a, 4*w.In, w.data[panel*size:], at, w.In, acc, next)
}

// generic is the definition.
func (t *floatTask) generic(w *Matrix, first, cols, col, from, to int) {
	wide := make([]float32, w.In)
	for o := range cols {
		w.Row(wide, first+o)
		for i := from; i < to; i++ {
			y := t.y[i*t.ldy+col+o:]
			linearGeneric(y, t.x[i*w.In:], wide, 0, 1, w.In, 1, t.acc)
		}
	}
}

// setRow lays out row i from the bytes of its values.
func (p *Packed) setRow(i int, raw []byte) {
	for k := range p.in {
		p.panels[p.at(i, k)] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*k:]))
	}
}

// row writes the values of row i.
func (p *Packed) row(dst []float32, i int) {
	for k := range p.in {
		dst[k] = p.panels[p.at(i, k)]
	}
}

// at is where value k of row i lies.
func (p *Packed) at(i, k int) int {
	w := p.level.panel()
	if p.level == Generic {
		w = 1
	}
	return (i/w*p.in+k)*w + i%w
}
