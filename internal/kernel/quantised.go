package kernel

import (
	"math"

	"mor/internal/quant"
)

// Products with types of few bits: each row of activations is turned into integers of 8 bits, a scale for each block of 32; a block's integers are
// multiplied exactly, and the blocks are added in float32, in order. So neither tile, nor other rows, nor worker shows in a result, and the vector
// levels agree in every bit.

// activations is rows of activations as integers.
type activations struct {
	x       []byte    // [n][ldx] int8, or int16 where the level wants it
	aux     []float32 // [n][blocks][auxValues]
	padded  []float32 // by worker: a row filled up to whole blocks
	ldx     int       // bytes; odd in cache lines, so that the rows of a tile do not push each other out
	blocks  int
	in      int
	wide    bool // int16
	offset  int
	keep    int
	sign    float32
	source  []float32
	level   Level
	vnni    bool
	stretch int // of padded, for a worker
}

// auxValues describe a block of activations: its scale, offset·sum of the integers (bits of an int32) and the same of its second half, and
// sign·scale·sum.
const auxValues = 4

// rowTile is the number of rows that pass a panel together: their sums stay in the first cache.
const rowTile = 32

// rowBlock is the number of rows whose activations stay in the outer cache.
const rowBlock = 256

// quantise fills a with rows for matrices of a layout.
func (c *CPU) quantise(a *activations, x []float32, n, in int, l *layout) {
	a.blocks, a.in, a.wide, a.level, a.vnni, a.source = (in+blockIn-1)/blockIn, in, c.level != Generic && !c.vnni, c.level, c.vnni, x
	a.offset, a.keep, a.sign = -l.offset, -1, l.sign()
	if l.split {
		a.keep = 0
	}
	a.ldx = a.blocks * blockIn
	if a.wide {
		a.ldx *= 2
	}
	a.ldx = (a.ldx+cacheLine-1)/cacheLine*cacheLine | cacheLine
	if len(a.x) < n*a.ldx {
		a.x = alignedBytes(n * a.ldx * 5 / 4)
	}
	a.aux = grow(a.aux, n*a.blocks*auxValues)
	if in%blockIn != 0 {
		a.stretch = a.blocks * blockIn
		a.padded = grow(a.padded, a.stretch*c.pool.Workers())
	}
	c.pool.Run(n, rowGrain(4*in), a)
	a.source = nil
}

func (a *activations) Do(worker, lo, hi int) {
	for i := lo; i < hi; i++ {
		x := row(a.source, i, a.in)
		if a.in%blockIn != 0 {
			p := row(a.padded, worker, a.stretch)
			clear(p[copy(p, x):])
			x = p
		}
		a.level.quantise(a.vnni, a.x[i*a.ldx:], a.aux[i*a.blocks*auxValues:], x, a.blocks, a.offset, a.keep, a.sign)
	}
}

// quantiseGeneric is the definition of how a row of activations becomes integers.
func quantiseGeneric(q []byte, aux, x []float32, blocks, offset, keep int, sign float32) {
	for b := range blocks {
		part, top := x[b*blockIn:(b+1)*blockIn], float32(0)
		for _, v := range part {
			top = max(top, float32(math.Abs(float64(v))))
		}
		inverse, scale, sum := float32(0), top/127, [2]int{}
		if scale != 0 {
			inverse = 127 / top
		}
		for p, v := range part {
			i := int8(math.RoundToEven(float64(v * inverse)))
			q[b*blockIn+p] = byte(i)
			sum[p/16] += int(i)
		}
		a := aux[b*auxValues:]
		a[0], a[3] = scale, float32(sum[0]+sum[1])*scale*sign
		a[1] = math.Float32frombits(uint32(int32(offset * (sum[0] + sum[1]&keep))))
		a[2] = math.Float32frombits(uint32(int32(offset * sum[1])))
	}
}

// panelGeneric adds to the tile y[rows,32] the products of rows of activations with a panel of weights: it is the definition of the vector versions. For
// each block first the minimum is added, then the part of each scale, with one rounding each.
func panelGeneric(l *layout, y []float32, x []byte, ldx int, aux []float32, ldaux int, w []byte, blocks, rows int) {
	per := 1
	if l.header > 0 {
		per = superBlocks
	}
	for b := range blocks {
		super := b / per * (l.header + per*l.record)
		header, record := w[super:], w[super+l.header+b%per*l.record:]
		for o := range panelOut {
			scale, minimum := l.scales(header, record, o)
			for r := range rows {
				a, v := aux[r*ldaux+b*auxValues:], &y[r*panelOut+o]
				if l.minimum >= 0 {
					*v = fma(minimum, a[3], *v)
				}
				first, second := l.dot(record, o, x[r*ldx+b*blockIn:])
				first += int32(math.Float32bits(a[1]))
				if !l.split {
					*v = fma(float32(first+second), a[0]*scale[0], *v)
					continue
				}
				second += int32(math.Float32bits(a[2]))
				*v = fma(float32(first), a[0]*scale[0], *v)
				*v = fma(float32(second), a[0]*scale[1], *v)
			}
		}
	}
}

// dot multiplies the halves of a block of output o with activations.
func (l *layout) dot(record []byte, o int, x []byte) (first, second int32) {
	for p := range 16 {
		first += int32(l.get(record, o, p)) * int32(int8(x[p]))
		second += int32(l.get(record, o, p+16)) * int32(int8(x[p+16]))
	}
	return first, second
}

// fma is a·b+c with one rounding (but for ties of the second rounding).
func fma(a, b, c float32) float32 { return float32(math.FMA(float64(a), float64(b), float64(c))) }

// panelTask multiplies rows with the panels of matrices that stand side by side.
type panelTask struct {
	y       []float32 // [n][ldy]
	a       *activations
	w       []*Matrix
	n, ldy  int
	acc     bool
	panels  int
	tiles   [][rowTile * panelOut]float32 // by worker
	scratch []panelScratch                // by worker
	level   Level
	vnni    bool
	sweep   *sweep // over the panels, for each block of rows
}

// panelScratch is the widened weights of a block, for levels that want them.
type panelScratch [8*2*groupBytes + 3*4*panelOut]byte

func (t *panelTask) Do(worker, part, _ int) {
	for lo, hi := t.sweep.take(part); lo < hi; lo, hi = t.sweep.take(part) {
		for item := lo; item < hi; item++ {
			from := item / t.panels * rowBlock
			w, panel, col := findPanel(t.w, item%t.panels)
			for i := from; i < min(from+rowBlock, t.n); i += rowTile {
				t.tile(worker, w, panel, col, i, min(i+rowTile, from+rowBlock, t.n))
			}
		}
	}
}

// tile computes the rows [i, end) of a panel, whose first column is col of y.
func (t *panelTask) tile(worker int, w *Matrix, panel, col, i, end int) {
	rows, cols := end-i, min(panelOut, w.Out-panel*panelOut)
	y := t.tiles[worker][:rows*panelOut]
	clear(y)
	if t.acc {
		for r := range rows {
			copy(y[r*panelOut:][:cols], t.y[(i+r)*t.ldy+col:])
		}
	}
	size := w.panelSize()
	t.dot(worker, w.Type, y, i, w.data[panel*size:(panel+1)*size], rows)
	for r := range rows {
		copy(t.y[(i+r)*t.ldy+col:][:cols], y[r*panelOut:])
	}
}

// dot adds to y[rows,32] the products of the rows from i on with a panel.
func (t *panelTask) dot(worker int, q quant.Type, y []float32, i int, w []byte, rows int) {
	a := t.a
	x, aux, ldaux := a.x[i*a.ldx:], a.aux[i*a.blocks*auxValues:], a.blocks*auxValues
	if t.level == Generic {
		l := layoutOf(q)
		panelGeneric(&l, y, x, a.ldx, aux, ldaux, w, a.blocks, rows)
		return
	}
	if t.vnni {
		panelVNNI(q, &y[0], &x[0], a.ldx, &aux[0], 4*ldaux, &w[0], a.blocks, rows)
		return
	}
	panelAVX2(q, &y[0], &x[0], a.ldx, &aux[0], 4*ldaux, &w[0], a.blocks, rows, &t.scratch[worker][0])
}
