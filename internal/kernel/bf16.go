package kernel

import (
	"math"
	"time"
	"unsafe"
)

// BF16 is a bfloat16: the upper half of a float32.
type BF16 uint16

// Products of bfloat16 operands sum up in float32 as VDPBF16PS does: terms go by pairs, of each pair the second first, each multiply-add rounded
// once to nearest, ties to even, with subnormal operands and sums taken as zero. A word of the packed operands holds a pair, its first value in the
// lower half, and what the products of float32 do with words they do here.

// HasBF16 tells whether this CPU's level has units for products of bfloat16. The level generic computes them too, by their definition, which takes
// longer than products of float32; the others do not.
func (c *CPU) HasBF16() bool { return c.bf16 }

// Round returns the bfloat16 nearest to f, ties to even; what is subnormal becomes zero, as in the CPU's own conversion.
func Round(f float32) BF16 {
	bits := math.Float32bits(f)
	switch {
	case bits&0x7f800000 == 0:
		return BF16(bits >> 16 & 0x8000)
	case f != f:
		return BF16(bits>>16 | 0x40)
	}
	return BF16((bits + 0x7fff + bits>>16&1) >> 16)
}

// Float is the value of h.
func (h BF16) Float() float32 { return math.Float32frombits(uint32(h) << 16) }

// even is how many values a row of n takes in words.
func even(n int) int { return (n + 1) &^ 1 }

// Words is how many float32 words n rows of d bfloat16 values take.
func words(n, d int) int { return n * (even(d) / 2) }

// halves is the bfloat16 values in words.
func halves(words []float32) []BF16 {
	return unsafe.Slice((*BF16)(unsafe.Pointer(unsafe.SliceData(words))), 2*len(words))
}

// Rows of bfloat16 lie in words, each row filled up to a whole one with a zero.

// Words is how many float32 words a row of d bfloat16 values takes.
func Words(d int) int { return words(1, d) }

// RoundRows writes x[n,d] to y[n, Words(d)], rounded to bfloat16.
func (c *CPU) RoundRows(y, x []float32, n, d int) {
	byRows(c, &c.task.roundRows, roundPairsTask{halves(y), x, d, c.bf16}, n, rowGrain(d), Work{Kernel: "round", Bytes: 6 * float64(n) * float64(d)})
}

// LinearBF16 is Linear with x rounded to bfloat16 and a weight packed by PackBF16.
func (c *CPU) LinearBF16(y, x []float32, w *Packed, n int, acc bool) {
	c.productBF16(y, c.rounded(&c.task.packedA, x, n, w.in), w, n, w.in, w.out, acc, productWork("linear bf16", n, w.in, w.out))
}

// LinearBF16Rows is LinearBF16 with rows of bfloat16, x[n, Words(in)].
func (c *CPU) LinearBF16Rows(y, x []float32, w *Packed, n int, acc bool) {
	c.productBF16(y, x, w, n, w.in, w.out, acc, productWork("linear bf16", n, w.in, w.out))
}

// LinearBackwardInputBF16 is LinearBackwardInput with dy rounded to bfloat16 and a weight packed by PackTransposedBF16.
func (c *CPU) LinearBackwardInputBF16(dx, dy []float32, w *Packed, n int, acc bool) {
	c.productBF16(dx, c.rounded(&c.task.packedA, dy, n, w.out), w, n, w.out, w.in, acc, productWork("dx bf16", n, w.in, w.out))
}

// LinearBackwardInputBF16Rows is LinearBackwardInputBF16 with rows of bfloat16, dy[n, Words(out)].
func (c *CPU) LinearBackwardInputBF16Rows(dx, dy []float32, w *Packed, n int, acc bool) {
	c.productBF16(dx, dy, w, n, w.out, w.in, acc, productWork("dx bf16", n, w.in, w.out))
}

// rounded is x[n,d] as rows of bfloat16 in a buffer.
func (c *CPU) rounded(buffer *[]float32, x []float32, n, d int) []float32 {
	*buffer = grow(*buffer, words(n, d))
	c.roundPairs(*buffer, x, n, d)
	return *buffer
}

// productBF16 computes dst[n,out] (+)= x[n,in]·w, with rows of bfloat16.
func (c *CPU) productBF16(dst, x []float32, w *Packed, n, in, out int, acc bool, work Work) {
	if n == 0 || in == 0 || out == 0 {
		return
	}
	if c.level == Generic {
		byRows(c, &c.task.bf16, bf16Task{dst: dst, a: halves(x), b: halves(w.panels), k: even(in), n: out, acc: acc}, n, 16, work)
		return
	}
	c.packedProduct(AVX512BF16, dst, x, even(in)/2, w.panels, n, out, even(in)/2, acc, work)
}

// LinearBackwardWeightBF16 is LinearBackwardWeight with dy and x rounded to bfloat16. Here the first of each pair of rows goes first, so each element
// is one chain over the rows, ascending.
func (c *CPU) LinearBackwardWeightBF16(dw, dy, x []float32, n, in, out int) {
	start := c.Start()
	c.weightProduct(start, dw, c.rounded(&c.task.rowsA, dy, n, out), c.rounded(&c.task.rowsB, x, n, in), n, in, out)
}

// LinearBackwardWeightBF16Rows is LinearBackwardWeightBF16 with rows of bfloat16, dy[n, Words(out)] and x[n, Words(in)].
func (c *CPU) LinearBackwardWeightBF16Rows(dw, dy, x []float32, n, in, out int) {
	c.weightProduct(c.Start(), dw, dy, x, n, in, out)
}

// weightProduct adds dyᵀ·x to dw. Its call began at start.
func (c *CPU) weightProduct(start time.Time, dw, dy, x []float32, n, in, out int) {
	if n == 0 || in == 0 || out == 0 {
		return
	}
	work := productWork("dw bf16", n, in, out)
	if c.level == Generic {
		defer c.Done(start, work)
		c.transposedGeneric(dw, dy, x, n, in, out)
		return
	}
	c.outerProducts(start, AVX512BF16, dw, outerRows{dy, true, Words(out), n, out}, outerRows{x, true, Words(in), n, in}, work)
}

// packPart is rows of a weight that are rounded ahead of the panels they fill.
const packPart = 64 * 32

// PackBF16 lays out w[out,in], rounded to bfloat16, for LinearBF16. Where p is not nil its memory is used again.
func (c *CPU) PackBF16(p *Packed, w []float32, in, out int) *Packed {
	defer c.Done(c.Start(), packWork(in, out))
	p = reuse(p, in, out, AVX512BF16)
	if c.level == Generic {
		p.panels = grow(p.panels, words(out, in))
		c.roundPairs(p.panels, w, out, in)
		return p
	}
	pairs := even(in) / 2
	p.panels = grow(p.panels, AVX512BF16.packedLen(out, pairs))
	c.task.packedA = grow(c.task.packedA, words(min(out, packPart), in))
	for j := 0; j < out; j += packPart {
		n := min(packPart, out-j)
		c.roundPairs(c.task.packedA, w[j*in:], n, in)
		c.pack(p.panels[j*pairs:], operandB{c.task.packedA, pairs, true}, n, pairs)
	}
	return p
}

// PackTransposedBF16 lays out w[out,in], rounded to bfloat16, for LinearBackwardInputBF16.
func (c *CPU) PackTransposedBF16(p *Packed, w []float32, in, out int) *Packed {
	defer c.Done(c.Start(), packWork(in, out))
	p = reuse(p, in, out, AVX512BF16)
	if c.level == Generic {
		p.panels = grow(p.panels, words(in, out))
		c.roundColumns(p.panels, w, out, in)
		return p
	}
	p.panels = grow(p.panels, AVX512BF16.packedLen(in, even(out)/2))
	t := &c.task.roundPanel
	*t = roundPanelTask{p.panels, w, c.zeros(in), in, out}
	c.pool.Run(even(out)/2, pairGrain(in), t)
	*t = roundPanelTask{}
	return p
}

// packWork reads float32 and writes bfloat16.
func packWork(in, out int) Work {
	return Work{Kernel: "pack bf16", Bytes: 6 * float64(in) * float64(out)}
}

// roundPairs rounds x[n,d] to words[n, even(d)/2].
func (c *CPU) roundPairs(dst, x []float32, n, d int) {
	defer c.profile.packed(c.Start())
	t := &c.task.roundPair
	*t = roundPairsTask{halves(dst), x, d, c.bf16}
	c.pool.Run(n, rowGrain(d), t)
	*t = roundPairsTask{}
}

// roundPairsTask rounds rows of x[n,d]. Tasks that write x have it follow them, while the rows are in a cache; where dst is nil it does nothing.
type roundPairsTask struct {
	dst []BF16
	x   []float32
	d   int
	cpu bool // has the instruction
}

func (t *roundPairsTask) Do(_, lo, hi int) {
	if t.dst == nil {
		return
	}
	stride := even(t.d)
	for i := lo; i < hi; i++ {
		dst, x := t.dst[i*stride:(i+1)*stride], row(t.x, i, t.d)
		if t.cpu {
			bf16Round((*uint16)(&dst[0]), &x[0], t.d)
			continue
		}
		dst[stride-1] = 0
		for j, v := range x {
			dst[j] = Round(v)
		}
	}
}

// pairGrain is how many pairs of rows of n values a worker takes: neighbours share cache lines.
func pairGrain(n int) int { return max(32, 16384/n) }

// zeros returns n zeros to read.
func (c *CPU) zeros(n int) []float32 {
	if len(c.task.zero) < n {
		c.task.zero = make([]float32, n)
	}
	return c.task.zero[:n]
}

// roundPanelTask writes w[out,in] in panels of words that hold two rows each, the first one in the lower half.
type roundPanelTask struct {
	dst, w, zero []float32
	in, out      int
}

func (t *roundPanelTask) Do(_, lo, hi int) {
	step := even(t.out) / 2 * AVX512BF16.panel()
	for p := lo; p < hi; p++ {
		low, high := row(t.w, 2*p, t.in), t.zero
		if 2*p+1 < t.out {
			high = row(t.w, 2*p+1, t.in)
		}
		pairRow(t.dst[p*AVX512BF16.panel():], step, low, high, t.in)
	}
}
