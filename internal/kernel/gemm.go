package kernel

import (
	"unsafe"

	"mor/internal/memory"
)

// Products follow the usual scheme: b is packed in panels of a tile's width, a is read where it lies, and a microkernel holds a tile of c in
// registers. Each element of c is one chain of multiply-adds over k, ascending: blocks of k go on from c as stored. So neither tile, nor
// block, nor worker shows in the result.

const (
	blockK = 256 // of k: a panel of b and the rows of a tile stay in the first cache
	blockN = 512 // columns of a task
	align  = 16  // values of a cache line
	blockM = 8   // tiles of a task, one above the other
)

// operandB says how b[k,n] lies: b(p,j) at p·ld+j, or at j·ld+p when transposed.
type operandB struct {
	data       []float32
	ld         int
	transposed bool
}

// operandA says how a[m,k] lies: a(i,p) at i·ld+p, or packed in blocks of a task's rows, [m/ld][k][ld].
type operandA struct {
	data   []float32
	ld     int
	packed bool
}

// product computes c[m,n] (+)= a[m,k]·b[k,n].
func (c *CPU) product(dst []float32, a operandA, b operandB, m, n, k int, acc bool) {
	if m == 0 || n == 0 || k == 0 {
		return
	}
	c.task.packed = grow(c.task.packed, c.level.packedLen(n, k))
	c.pack(c.task.packed, b, n, k)
	c.multiply(c.level, dst, a, c.task.packed, m, n, k, acc)
}

// transposedProduct adds aᵀ·b to dst[m,n], with a[k,m] and b[k,n]. It goes through k in parts, so that what is packed of both stays in the outer cache.
func (c *CPU) transposedProduct(dst, a, b []float32, m, n, k int) {
	const part = 2 * blockK
	tall := c.level.tallest() * blockM
	for p := 0; p < k; p += part {
		kp := min(part, k-p)
		c.task.packedA = grow(c.task.packedA, (m+tall-1)/tall*tall*kp)
		c.packPlain(c.task.packedA, a[p*m:], m, tall, m, kp)
		c.task.packed = grow(c.task.packed, c.level.packedLen(n, kp))
		c.packPlain(c.task.packed, b[p*n:], n, c.level.panel(), n, kp)
		c.multiply(c.level, dst, operandA{c.task.packedA, tall, true}, c.task.packed, m, n, kp, true)
	}
}

// packedLen is how many values the panels of b[k,n] take.
func (l Level) packedLen(n, k int) int {
	w := l.panel()
	return (n + w - 1) / w * w * k
}

// pack writes b[k,n] in panels [n/w][k][w], the last one filled up with zeros.
func (c *CPU) pack(dst []float32, b operandB, n, k int) {
	w := c.level.panel()
	if !b.transposed {
		c.packPlain(dst, b.data, b.ld, w, n, k)
		return
	}
	defer c.profile.packed(c.Start())
	t := &c.task.pack
	*t = packTask{dst, b.data, b.ld, w, n, k, true}
	c.pool.Run((n+w-1)/w, 1, t)
	*t = packTask{}
}

// packPlain writes src(p,j), at p·ld+j, in panels [n/w][k][w], the last one filled up with zeros. Rows of src are read from end to end.
func (c *CPU) packPlain(dst, src []float32, ld, w, n, k int) {
	defer c.profile.packed(c.Start())
	t := &c.task.pack
	*t = packTask{dst, src, ld, w, n, k, false}
	c.pool.Run(k, 32, t)
	*t = packTask{}
}

type packTask struct {
	dst, src    []float32
	ld, w, n, k int
	transposed  bool // items are panels; otherwise rows
}

func (t *packTask) Do(_, lo, hi int) {
	w := t.w
	if !t.transposed {
		for p := lo; p < hi; p++ {
			for j := 0; j < t.n; j += w {
				dst := t.dst[j*t.k+p*w : j*t.k+(p+1)*w]
				if cols := t.n - j; cols < w {
					clear(dst[cols:])
				}
				copy(dst, t.src[p*t.ld+j:p*t.ld+t.n])
			}
		}
		return
	}
	for j := lo * w; j < hi*w; j += w {
		dst, cols := t.dst[j*t.k:(j+w)*t.k], min(w, t.n-j)
		if cols < w {
			clear(dst)
		}
		packTransposed(dst, t.src[j*t.ld:], t.ld, w, cols, t.k)
	}
}

// packTransposed writes dst[p·w+j] = src[j·ld+p] for j below cols.
func packTransposed(dst, src []float32, ld, w, cols, k int) {
	wide, blocks := cols/8*8, k/8
	if blocks > 0 {
		for j := 0; j < wide; j += 8 {
			transpose8AVX2(&dst[j], 4*w, &src[j*ld], 4*ld, blocks)
		}
	}
	for j := range cols {
		from := 0
		if j < wide {
			from = 8 * blocks
		}
		for p := from; p < k; p++ {
			dst[p*w+j] = src[j*ld+p]
		}
	}
}

// multiply computes c[m,n] (+)= a[m,k]·b with b packed, by the microkernels of a level.
func (c *CPU) multiply(level Level, dst []float32, a operandA, packed []float32, m, n, k int, acc bool) {
	t := &c.task.multiply
	tall := level.tallest() * blockM
	*t = multiplyTask{dst: dst, a: a, packed: packed, m: m, n: n, k: k, acc: acc, level: level, tall: tall, across: (n + blockN - 1) / blockN}
	t.edge = c.edgeTiles()
	c.pool.Run((m+tall-1)/tall*t.across, 1, t)
	*t = multiplyTask{}
}

// edgeTiles returns a scratch tile for each worker.
func (c *CPU) edgeTiles() []edgeTile {
	if c.task.edge == nil {
		c.task.edge = make([]edgeTile, c.pool.Workers())
	}
	return c.task.edge
}

// edgeTile is a whole tile for columns that c does not have all of.
type edgeTile [14 * 32]float32

type multiplyTask struct {
	dst          []float32
	a            operandA
	packed       []float32
	m, n, k      int
	acc          bool
	level        Level
	tall, across int // rows of a task; tasks side by side
	edge         []edgeTile
}

func (t *multiplyTask) Do(worker, lo, hi int) {
	for task := lo; task < hi; task++ {
		i, j := task/t.across*t.tall, task%t.across*blockN
		t.block(i, min(i+t.tall, t.m), j, min(j+blockN, t.n), &t.edge[worker])
	}
}

// block computes the rows [i0, i1) and columns [j0, j1), the panel of b in the inner cache while the tiles go by.
func (t *multiplyTask) block(i0, i1, j0, j1 int, edge *edgeTile) {
	w := t.level.panel()
	for p := 0; p < t.k; p += blockK {
		k, acc := min(blockK, t.k-p), t.acc || p > 0
		for j := j0; j < j1; j += w {
			b := &t.packed[j*t.k+p*w]
			for i := i0; i < i1; {
				rows := t.level.tile(i1 - i)
				a := &t.a.data[t.a.at(i, p, t.k)]
				if j+w <= t.n {
					t.level.gemm(rows, t.a.packed, &t.dst[i*t.n+j], 4*t.n, a, 4*t.a.ld, b, k, acc)
				} else {
					t.edgeTile(edge, rows, i, j, a, b, k, acc)
				}
				i += rows
			}
		}
	}
}

// at is where a(i,p) of k lies.
func (a *operandA) at(i, p, k int) int {
	if a.packed {
		return (i/a.ld*k+p)*a.ld + i%a.ld
	}
	return i*a.ld + p
}

// edgeTile computes a tile whose last columns c does not have, by way of a scratch tile.
func (t *multiplyTask) edgeTile(edge *edgeTile, rows, i, j int, a, b *float32, k int, acc bool) {
	w, cols := t.level.panel(), t.n-j
	if acc {
		for r := range rows {
			copy(edge[r*w:r*w+cols], t.dst[(i+r)*t.n+j:])
		}
	}
	t.level.gemm(rows, t.a.packed, &edge[0], 4*w, a, 4*t.a.ld, b, k, acc)
	for r := range rows {
		copy(t.dst[(i+r)*t.n+j:(i+r)*t.n+t.n], edge[r*w:r*w+cols])
	}
}

// grow returns a slice of n values, s itself where it is long enough, that begins at a cache line.
func grow(s []float32, n int) []float32 {
	if cap(s) >= n {
		return s[:n]
	}
	raw := memory.Make[float32](n + n/4 + align)
	skip := int(-uintptr(unsafe.Pointer(&raw[0])) % 64 / 4)
	return raw[skip : skip+n : len(raw)]
}

// Packed is a weight matrix w[out,in] laid out for Linear: packed once, used for any number of products.
type Packed struct {
	in, out int
	panels  []float32
	level   Level
}

// Pack lays out w[out,in]. Where p is not nil its memory is used again.
func (c *CPU) Pack(p *Packed, w []float32, in, out int) *Packed {
	if p == nil {
		p = &Packed{}
	}
	p.in, p.out, p.level = in, out, c.level
	defer c.Done(c.Start(), sweepWork("pack", 2*in*out))
	if c.level == Generic {
		p.panels = append(p.panels[:0], w[:in*out]...)
		return p
	}
	p.panels = grow(p.panels, c.level.packedLen(out, in))
	c.pack(p.panels, operandB{w, in, true}, out, in)
	return p
}

// LinearPacked is Linear with a packed weight: the same bits.
func (c *CPU) LinearPacked(y, x []float32, w *Packed, n int, acc bool) {
	if c.level == Generic {
		c.Linear(y, x, w.panels, n, w.in, w.out, acc)
		return
	}
	defer c.Done(c.Start(), productWork("linear", n, w.in, w.out))
	if n > 0 {
		c.multiply(c.level, y, operandA{x, w.in, false}, w.panels, n, w.out, w.in, acc)
	}
}
