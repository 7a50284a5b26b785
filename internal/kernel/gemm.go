package kernel

import (
	"unsafe"

	"mor/internal/memory"
)

// Products follow the usual scheme: b is packed in panels of a tile's width, a is read where it lies, and a microkernel holds a tile of c in
// registers. Each element of c is one chain of multiply-adds over k, ascending: blocks of k go on from c as stored. So neither tile, nor
// block, nor worker shows in the result.

const (
	blockK = 576     // of k: a panel of b stays in the inner caches, with the rows of a that meet it
	blockN = 576     // columns of a task
	partN  = 1 << 21 // values of an operand that are packed at once
	align  = 16      // values of a cache line

	aliasing = 1024 // values: rows so far apart, or a multiple of it, share few places of a cache and drive each other out
)

// operandB says how b[k,n] lies: b(p,j) at p·ld+j, or at j·ld+p when transposed.
type operandB struct {
	data       []float32
	ld         int
	transposed bool
}

// from is b without its first p rows and j columns.
func (b operandB) from(p, j int) operandB {
	if b.transposed {
		p, j = j, p
	}
	return operandB{b.data[p*b.ld+j:], b.ld, b.transposed}
}

// product computes c[m,n] (+)= a[m,k]·b[k,n].
func (c *CPU) product(dst, a []float32, b operandB, m, n, k int, acc bool) {
	if m == 0 || n == 0 || k == 0 {
		return
	}
	cols, depth := parts(n, k)
	c.task.packed = grow(c.task.packed, c.level.packedLen(cols, depth))
	for j := 0; j < n; j += cols {
		for p := 0; p < k; p += depth {
			nj, kp := min(cols, n-j), min(depth, k-p)
			c.pack(c.task.packed, b.from(p, j), nj, kp)
			c.multiply(c.level, dst[j:], n, a[p:], k, c.task.packed, m, nj, kp, acc || p > 0)
		}
	}
}

// parts cuts b[k,n] so that what is packed of it stays in the outer cache.
func parts(n, k int) (cols, depth int) {
	if n > 2*blockN {
		n = min(n, max(partN/k/blockN, 1)*blockN)
	}
	if n*k > partN {
		k = max(partN/n/blockK, 1) * blockK
	}
	return n, k
}

// evenly is the length of n items cut into the fewest parts of at most so many, in whole unrolled rounds of a microkernel.
func evenly(n, most int) int {
	count := (n + most - 1) / most
	return ((n+count-1)/count + 3) &^ 3
}

// packedProduct computes c[m,n] (+)= a[m,k]·b with b packed, by itself or in a chain.
func (c *CPU) packedProduct(level Level, dst, a []float32, lda int, packed []float32, m, n, k int, acc bool, work Work) {
	if c.chain.open {
		byRows(c, &c.task.rowsProduct, rowsProduct(c.newProduct(level, dst, n, a, lda, packed, m, n, k, acc)), m, 1, work)
		return
	}
	defer c.Done(c.Start(), work)
	c.multiply(level, dst, n, a, lda, packed, m, n, k, acc)
}

// multiply computes c[m,n] (+)= a[m,k]·b with b packed, by the microkernels of a level. Rows of c lie ldc apart, those of a lda.
func (c *CPU) multiply(level Level, dst []float32, ldc int, a []float32, lda int, packed []float32, m, n, k int, acc bool) {
	t := &c.task.multiply
	*t = c.newProduct(level, dst, ldc, a, lda, packed, m, n, k, acc)
	t.across = (n + t.wide - 1) / t.wide
	t.tall = level.taskHeight(m, t.across, c.pool.Workers())
	c.pool.Run((m+t.tall-1)/t.tall*t.across, 1, t)
	*t = multiplyTask{}
}

func (c *CPU) newProduct(level Level, dst []float32, ldc int, a []float32, lda int, packed []float32, m, n, k int, acc bool) multiplyTask {
	t := multiplyTask{dst: dst, ldc: ldc, a: a, lda: lda, packed: packed, m: m, n: n, k: k, acc: acc, level: level, edge: c.edgeTiles()}
	t.wide = (evenly(n, blockN) + level.panel() - 1) / level.panel() * level.panel()
	if lda%aliasing == 0 && k%align == 0 && m > 1 {
		t.copied = c.copies()
	}
	return t
}

// taskHeight is the rows of a task, at most tall, with which the workers are done soonest when there are so many tasks side by side.
func (l Level) taskHeight(m, across, workers int) int {
	best, soonest := 0, 0
	for rows := l.tall(); rows > l.tall()/2; rows -= l.tallest() {
		whole, left := m/rows*across, m%rows
		done := whole / workers * rows
		if whole%workers > 0 {
			done += rows // beside which the last, lower tasks run
		} else {
			done += (across + workers - 1) / workers * left
		}
		if best == 0 || done < soonest {
			best, soonest = rows, done
		}
	}
	return best
}

// edgeTiles returns a scratch tile for each worker.
func (c *CPU) edgeTiles() []edgeTile {
	if c.task.edge == nil {
		c.task.edge = make([]edgeTile, c.pool.Workers())
	}
	return c.task.edge
}

// copyLen is how many values a worker lays out at most.
func (l Level) copyLen() int { return max(l.tall()*(blockK+align), l.outerLen()) }

// copies returns each worker's memory for the rows of a task.
func (c *CPU) copies() [][]float32 {
	if c.task.copied == nil {
		c.task.copied = make([][]float32, c.pool.Workers())
		for i := range c.task.copied {
			c.task.copied[i] = grow(nil, c.level.copyLen())
		}
	}
	return c.task.copied
}

// edgeTile is a whole tile for columns that c does not have all of.
type edgeTile [14 * 32]float32

type multiplyTask struct {
	dst        []float32
	ldc        int
	a          []float32
	lda        int
	packed     []float32
	m, n, k    int
	acc        bool
	level      Level
	tall, wide int // rows and columns of a task
	across     int // tasks side by side
	edge       []edgeTile
	copied     [][]float32 // where the rows of a lie at a distance that is bad for caches: a task copies those that it needs
}

func (t *multiplyTask) Do(worker, lo, hi int) {
	for task := lo; task < hi; task++ {
		i, j := task/t.across*t.tall, task%t.across*t.wide
		t.block(i, min(i+t.tall, t.m), j, min(j+t.wide, t.n), worker)
	}
}

// rowsProduct is a product whose items are rows of its result.
type rowsProduct multiplyTask

func (p *rowsProduct) Do(worker, lo, hi int) {
	t := (*multiplyTask)(p)
	for j := 0; j < t.n; j += t.wide {
		t.block(lo, hi, j, min(j+t.wide, t.n), worker)
	}
}

// block computes the rows [i0, i1) and columns [j0, j1), the panel of b in the inner caches while the tiles go by.
func (t *multiplyTask) block(i0, i1, j0, j1, worker int) {
	w, depth := t.level.panel(), evenly(t.k, blockK)
	if t.copied != nil {
		depth = depth/(2*align)*2*align + align // rows an odd number of cache lines apart
	}
	for p := 0; p < t.k; p += depth {
		k, acc := min(depth, t.k-p), t.acc || p > 0
		a, lda := t.a[i0*t.lda+p:], t.lda
		if t.copied != nil {
			a, lda = t.copied[worker], k
			t.level.packRows(&a[0], 0, &t.a[i0*t.lda+p], 4*t.lda, i1-i0, 1, k)
		}
		for j := j0; j < j1; j += w {
			b, i := &t.packed[j*t.k+p*w], i0
			if tiles := (i1 - i0) / t.level.tallest(); tiles > 0 && j+w <= t.n {
				t.level.column(tiles, &t.dst[i*t.ldc+j], 4*t.ldc, &a[0], 4*lda, b, k, acc, j == j0, &t.dst[i*t.ldc+min(j+w, j1-1)])
				i += tiles * t.level.tallest()
			}
			for i < i1 {
				rows, rowsOfA := t.level.tile(i1-i), &a[(i-i0)*lda]
				if j+w <= t.n {
					t.level.gemm(rows, &t.dst[i*t.ldc+j], 4*t.ldc, rowsOfA, 4*lda, b, k, acc, 0)
				} else {
					t.edgeTile(&t.edge[worker], rows, i, j, rowsOfA, 4*lda, b, k, acc)
				}
				i += rows
			}
		}
	}
}

// edgeTile computes a tile whose last columns c does not have, by way of a scratch tile.
func (t *multiplyTask) edgeTile(edge *edgeTile, rows, i, j int, a *float32, lda int, b *float32, k int, acc bool) {
	w, cols := t.level.panel(), t.n-j
	if acc {
		for r := range rows {
			copy(edge[r*w:r*w+cols], t.dst[(i+r)*t.ldc+j:])
		}
	}
	t.level.gemm(rows, &edge[0], 4*w, a, lda, b, k, acc, 0)
	for r := range rows {
		copy(t.dst[(i+r)*t.ldc+j:][:cols], edge[r*w:r*w+cols])
	}
}

// grow returns a slice of n values, s itself where it is long enough, that begins at a cache line. The pages of a shorter s go back to the system, for
// the next collection may be far.
func grow(s []float32, n int) []float32 {
	if cap(s) >= n {
		return s[:n]
	}
	memory.Release(s[:cap(s)])
	raw := memory.Make[float32](n + n/4 + align)
	skip := int(-uintptr(unsafe.Pointer(&raw[0])) % 64 / 4)
	return raw[skip : skip+n : len(raw)]
}
