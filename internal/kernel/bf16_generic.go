package kernel

import "math"

// bf16Task is the definition of the products of bfloat16: dst[i,j] (+)= Σ a(i,p)·b(j,p), both in rows of k values.
type bf16Task struct {
	dst   []float32
	a, b  []BF16
	n, k  int
	acc   bool
	first bool // of a pair goes first
}

func (t *bf16Task) Do(_, lo, hi int) {
	second := 1
	if t.first {
		second = 0
	}
	for i := lo; i < hi; i++ {
		a := t.a[i*t.k : (i+1)*t.k]
		for j := range t.n {
			b := t.b[j*t.k : (j+1)*t.k]
			var s float32
			if t.acc {
				s = t.dst[i*t.n+j]
			}
			for p := 0; p < t.k; p += 2 {
				s = multiplyAdd(s, a[p+second], b[p+second])
				s = multiplyAdd(s, a[p+1-second], b[p+1-second])
			}
			t.dst[i*t.n+j] = s
		}
	}
}

// multiplyAdd is s + a·b, rounded once, with subnormals taken as zero. The product of two bfloat16 values is exact in double precision, and so close to
// a float32 that rounding the sum to double precision first loses nothing unless s is far smaller or larger than it, where FMA decides.
func multiplyAdd(s float32, a, b BF16) float32 {
	x, y := flush(a.Float()), flush(b.Float())
	return flush(fma32(x, y, flush(s)))
}

// flush takes a subnormal as zero.
func flush(f float32) float32 {
	if math.Float32bits(f)&0x7f800000 == 0 {
		return math.Float32frombits(math.Float32bits(f) & 0x80000000)
	}
	return f
}

// fma32 is x·y + s rounded once: the sum in double precision is rounded to odd, so that its rounding to single precision is that of the exact sum.
func fma32(x, y, s float32) float32 {
	p, a := float64(x)*float64(y), float64(s)
	sum := p + a
	back := sum - p
	err := (p - (sum - back)) + (a - back)
	if err != 0 && math.Float64bits(sum)&1 == 0 && !math.IsInf(sum, 0) && sum == sum {
		if (err > 0) == (sum > 0) {
			sum = math.Float64frombits(math.Float64bits(sum) + 1)
		} else {
			sum = math.Float64frombits(math.Float64bits(sum) - 1)
		}
	}
	return float32(sum)
}

// roundColumns rounds the columns of x[k,n] to rows of even(k) values.
func (c *CPU) roundColumns(dst, x []float32, k, n int) {
	h, stride := halves(dst), even(k)
	clear(h[:n*stride])
	for p := range k {
		for j, v := range row(x, p, n) {
			h[j*stride+p] = Round(v)
		}
	}
}

// transposedGeneric is the definition of LinearBackwardWeightBF16Rows.
func (c *CPU) transposedGeneric(dw, dy, x []float32, n, in, out int) {
	a, b := grow(c.task.packedA, words(out, n)), grow(c.task.packed, words(in, n))
	c.task.packedA, c.task.packed = a, b
	transposeHalves(halves(a), halves(dy), n, out)
	transposeHalves(halves(b), halves(x), n, in)
	t := c.task.bf16.next()
	*t = bf16Task{dst: dw, a: halves(a), b: halves(b), k: even(n), n: in, acc: true, first: true}
	c.pool.Run(out, 16, t)
	c.task.bf16.release()
}

// transposeHalves writes the columns of x[k, even(n)] as rows of even(k) values.
func transposeHalves(dst, x []BF16, k, n int) {
	clear(dst[:n*even(k)])
	for p := range k {
		for j, v := range x[p*even(n):][:n] {
			dst[j*even(k)+p] = v
		}
	}
}
