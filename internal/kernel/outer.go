package kernel

import "time"

// The gradient of a weight is a sum of outer products of rows. A task adds to a block of it, row after row, so that it stays in the task's second cache
// meanwhile. The rows go by in parts that stay there too: they are read where they lie, or laid out anew where they cannot be, and the next part is
// fetched while the microkernels compute.

// outerBlock is the rows and columns of dst of a task at most, and the steps of the sum at once: rows of the operands, or pairs of them. Block, operands and
// the operands that come next stay in the second cache.
type outerBlock struct{ rows, cols, depth int }

func (l Level) outerBlock() outerBlock {
	if l >= AVX512 {
		return outerBlock{18 * 14, 256, 128}
	}
	return outerBlock{24 * 6, 128, 160}
}

// outerLen is how many words a worker lays out of both operands at most.
func (l Level) outerLen() int {
	b := l.outerBlock()
	return b.depth * (l.outerStride() + b.cols)
}

// outerStride is how far apart the rows of a are laid out: an odd number of cache lines, so that the values of a column do not drive each other out.
func (l Level) outerStride() int { return (l.outerBlock().rows+2*align-1)/(2*align)*2*align + align }

const fetchEvery = 4 // steps for which a microkernel fetches a place of two cache lines

// outerRows is an operand: n rows of cols values, float32 or, as the words of ld say, bfloat16.
type outerRows struct {
	data []float32
	half bool
	ld   int // words of a row
	n    int
	cols int
}

// outerPart is a part of an operand as the microkernels read it: the step p of the sum at p·ld, its column j at j·step.
type outerPart struct {
	data     []float32
	ld, step int
}

// outerProducts adds Σ_p a[p]ᵀ·b[p] to dst[a.cols, b.cols], by itself or together with others. Its call began at start.
func (c *CPU) outerProducts(start time.Time, level Level, dst []float32, a, b outerRows, w Work) {
	t := c.task.outer.next()
	*t = outerTask{level: level, dst: dst, a: a, b: b, steps: a.n, scratch: c.copies(), edge: c.edgeTiles()}
	if a.half {
		t.steps, t.zero = even(a.n)/2, c.zeros(max(a.cols, b.cols))
	}
	t.most = level.outerBlock()
	t.tiles, t.panels = (a.cols+level.tallest()-1)/level.tallest(), (b.cols+level.panel()-1)/level.panel()
	t.down, t.across = shares(t.tiles, t.panels, t.most.rows/level.tallest(), t.most.cols/level.panel(), c.pool.Workers())
	c.runItems(start, t, t.down*t.across, w)
}

// shares is into how many parts of at most so many rows and columns a result of so many is cut, so that the workers are done soonest: also when one of them is
// slower, which a last small part shows less than a large one.
func shares(rows, cols, mostRows, mostCols, workers int) (down, across int) {
	const more = 64 // parts beyond the fewest
	leastDown, leastAcross := (rows+mostRows-1)/mostRows, (cols+mostCols-1)/mostCols
	soonest := 0.0
	for d := leastDown; d <= min(rows, leastDown+min(more, 4*workers)); d++ {
		for a := leastAcross; a <= min(cols, leastAcross+min(more, 4*workers)); a++ {
			high, wide := float64(rows)/float64(d), float64(cols)/float64(a)
			part := high*wide + high/4 + wide/2 // to read takes time too
			done := (float64((d*a+workers-1)/workers) + 0.25) * part
			if down == 0 || done < soonest {
				down, across, soonest = d, a, done
			}
		}
	}
	return down, across
}

// cut is where the i-th of so many parts of n begins. The first ones are the larger ones.
func cut(i, n, parts int) int { return (i*n + parts - 1) / parts }

type outerTask struct {
	level         Level
	dst           []float32
	a, b          outerRows
	steps         int // of the sum
	most          outerBlock
	tiles, panels int
	down, across  int // tasks
	scratch       [][]float32
	edge          []edgeTile
	zero          []float32 // the other row of a last one
}

func (t *outerTask) Do(worker, lo, hi int) {
	high, w := t.level.tallest(), t.level.panel()
	for task := lo; task < hi; task++ {
		i, j := task/t.across, task%t.across
		i0, i1 := cut(i, t.tiles, t.down)*high, min(cut(i+1, t.tiles, t.down)*high, t.a.cols)
		j0, j1 := cut(j, t.panels, t.across)*w, min(cut(j+1, t.panels, t.across)*w, t.b.cols)
		for p := 0; p < t.steps; p += t.most.depth {
			t.part(p, i0, i1, j0, j1, worker)
		}
	}
}

// part adds the steps from p on to the rows [i0, i1) and columns [j0, j1).
func (t *outerTask) part(p, i0, i1, j0, j1, worker int) {
	w, k, ldc := t.level.panel(), min(t.most.depth, t.steps-p), t.b.cols
	a := t.tall(t.scratch[worker], p, k, i0, i1)
	b := t.wide(t.scratch[worker][k*t.level.outerStride():], p, k, j0, j1)
	call := 0
	for j := j0; j < j1; j += w {
		for i := i0; i < i1; {
			rows := t.level.tile(i1 - i)
			if p == 0 && i+rows < i1 {
				t.level.prefetch(&t.dst[(i+rows)*ldc+j], min(t.level.tallest(), i1-i-rows), 4*ldc, 4*min(w, ldc-j))
			}
			next, ldn := t.next(call, p+k, i0, i1, j0, j1)
			call++
			ca, cb := &a.data[i-i0], &b.data[(j-j0)*b.step]
			if j+w <= t.b.cols {
				t.level.outer(rows, &t.dst[i*ldc+j], 4*ldc, ca, 4*a.ld, cb, 4*b.ld, k, next, ldn)
			} else {
				t.edgeTile(&t.edge[worker], rows, i, j, ca, 4*a.ld, cb, 4*b.ld, k)
			}
			i += rows
		}
	}
}

// edgeTile adds to a tile whose last columns dst does not have, by way of a scratch tile.
func (t *outerTask) edgeTile(edge *edgeTile, rows, i, j int, a *float32, lda int, b *float32, ldb, k int) {
	w, ldc := t.level.panel(), t.b.cols
	for r := range rows {
		copy(edge[r*w:r*w+ldc-j], t.dst[(i+r)*ldc+j:])
	}
	t.level.outer(rows, &edge[0], 4*w, a, lda, b, ldb, k, a, 0)
	for r := range rows {
		copy(t.dst[(i+r)*ldc+j:][:ldc-j], edge[r*w:])
	}
}

// tall is the columns [lo, hi) of so many steps of a.
func (t *outerTask) tall(scratch []float32, p, k, lo, hi int) outerPart {
	o := &t.a
	if o.half {
		t.zip(o, scratch, t.level.outerStride(), 32, p, k, lo, hi)
		return outerPart{scratch, t.level.outerStride(), 1}
	}
	if !t.aliases(o, lo, hi) {
		return outerPart{o.data[p*o.ld+lo:], o.ld, 1}
	}
	wide := (hi - lo + align - 1) / align * align
	from := min(lo, o.ld-wide)
	t.level.packRows(&scratch[0], 0, &o.data[p*o.ld+from], 4*o.ld, k, 1, wide)
	return outerPart{scratch[lo-from:], wide, 1}
}

// wide is the columns [lo, hi) of so many steps of b; where they are not whole panels, zeros follow.
func (t *outerTask) wide(scratch []float32, p, k, lo, hi int) outerPart {
	o, w := &t.b, t.level.panel()
	if o.half {
		t.zip(o, scratch, w, k*w, p, k, lo, hi)
		return outerPart{scratch, w, k}
	}
	if !t.aliases(o, lo, hi) && (hi-lo)%w == 0 {
		return outerPart{o.data[p*o.ld+lo:], o.ld, 1}
	}
	pack := packTask{dst: scratch, src: o.data[p*o.ld+lo:], ld: o.ld, w: w, n: hi - lo, k: k, level: t.level}
	pack.rows(0, k)
	return outerPart{scratch, w, k}
}

// aliases tells whether the columns [lo, hi) of successive rows drive each other out of caches. Half as far apart they do so in the first cache only, for which
// wide vectors compute long enough.
func (t *outerTask) aliases(o *outerRows, lo, hi int) bool {
	apart := aliasing
	if t.level < AVX512 {
		apart /= 2
	}
	return o.ld%apart == 0 && hi-lo < o.ld
}

// zip lays out the columns [lo, hi) of pairs of rows in words, the first row in the upper half. Those of a pair lie ldd words apart, blocks of 32 of them step.
func (t *outerTask) zip(o *outerRows, dst []float32, ldd, step, p, k, lo, hi int) {
	rows, ld := halves(o.data), 2*o.ld
	whole := min(k, o.n/2-p)
	if whole > 0 {
		zipPairs(dst, ldd, step, rows[(2*p+1)*ld+lo:], rows[2*p*ld+lo:], 2*ld, whole, hi-lo)
	}
	if whole < k { // the last row has no other
		zipPairs(dst[whole*ldd:], ldd, step, halves(t.zero), rows[2*(p+whole)*ld+lo:], 0, 1, hi-lo)
	}
}

// next is where the part of both operands lies that the steps from p on need, as the microkernel fetches it: the n-th of its stripes of two cache lines.
func (t *outerTask) next(n, p, i0, i1, j0, j1 int) (at *float32, stride int) {
	if p < t.steps {
		k, deep := min(t.most.depth, t.steps-p), t.most.depth/fetchEvery
		at, left := t.a.stripe(n, p, k, i0, i1, deep)
		if at != nil {
			return at, 4 * t.a.ld
		}
		if at, _ = t.b.stripe(left, p, k, j0, j1, deep); at != nil {
			return at, 4 * t.b.ld
		}
	}
	return &t.dst[i0*t.b.cols+j0], 0
}

// stripe is where the n-th of the stripes of so many rows begins that the columns [lo, hi) of k steps from p on consist of; where there are fewer, it is nil, and
// left counts on.
func (o *outerRows) stripe(n, p, k, lo, hi, rows int) (at *float32, left int) {
	const words = 2 * align
	if o.half {
		lo, hi, p, k = lo/2, even(hi)/2, 2*p, 2*k
	}
	across, down := (hi-lo+words-1)/words, (min(k, o.n-p)+rows-1)/rows
	if n >= down*across {
		return nil, n - down*across
	}
	return &o.data[(p+n/across*rows)*o.ld+lo+n%across*words], 0
}
