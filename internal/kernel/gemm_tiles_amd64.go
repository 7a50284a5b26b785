package kernel

// panel is the width of a tile, and of a panel of b.
func (l Level) panel() int {
	if l >= AVX512 {
		return 32
	}
	return 16
}

// tallest is the height of the tile that fills the registers.
func (l Level) tallest() int {
	if l >= AVX512 {
		return 14
	}
	return 6
}

// tall is the rows of a task: tiles one above the other, whose part of a stays in the second cache.
func (l Level) tall() int {
	if l >= AVX512 {
		return 8 * 14
	}
	return 16 * 6
}

// prefetch fetches rows of so many bytes that lie stride bytes apart into the second cache.
func (l Level) prefetch(p *float32, rows, stride, bytes int) { attnPrefetch(p, rows, stride, bytes) }

// packRows copies rows, which lie lds bytes apart, into panels of w values a row, which lie ldd bytes apart.
func (l Level) packRows(dst *float32, ldd int, src *float32, lds, rows, panels, w int) {
	if l >= AVX512 {
		packRowsAVX512(dst, ldd, src, lds, rows, panels, w/16)
		return
	}
	packRowsAVX2(dst, ldd, src, lds, rows, panels, w/16)
}

// tile is the height of the next tile when so many rows are left.
func (l Level) tile(rows int) int {
	switch {
	case l >= AVX512 && rows >= 14:
		return 14
	case l >= AVX512 && rows >= 8:
		return 8
	case l == AVX2 && rows >= 6:
		return 6
	case rows >= 4:
		return 4
	case rows >= 2:
		return 2
	}
	return 1
}

// flag is a truth value as microkernels take it.
func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// gemm runs the microkernel of a height. With several rows, it fetches half as many bytes as it reads of b, from next bytes behind b on.
func (l Level) gemm(rows int, c *float32, ldc int, a *float32, lda int, b *float32, k int, accumulate bool, next int) {
	acc := flag(accumulate)
	switch l {
	case AVX512BF16:
		gemmBF16(rows, c, ldc, a, lda, b, k, acc, next)
	case AVX512:
		gemm512(rows, c, ldc, a, lda, b, k, acc, next)
	default:
		gemm256(rows, c, ldc, a, lda, b, k, acc, next)
	}
}

// column runs the microkernel of the tallest tiles on so many, one above the other, and fetches each one's part of c while it computes the one before; then is that
// of the column behind. Where the rows of a are new to the caches, it fetches them too.
func (l Level) column(tiles int, c *float32, ldc int, a *float32, lda int, b *float32, k int, accumulate, fetch bool, then *float32) {
	f := gemmColumnAVX2
	switch l {
	case AVX512BF16:
		f = gemmColumnAVX512BF16
	case AVX512:
		f = gemmColumnAVX512
	}
	group := 8 * l.panel() // bytes
	groups, skip := (4*k+group-1)/group, 0
	if fetch {
		skip = lda - groups*group
	} else {
		group = 0 // the same place again and again
	}
	f(tiles, c, ldc, a, lda, b, k, flag(accumulate), group, groups, skip, then)
}

func gemm512(rows int, c *float32, ldc int, a *float32, lda int, b *float32, k, acc, next int) {
	switch rows {
	case 14:
		gemm14AVX512(c, ldc, a, lda, b, k, acc, next)
	case 8:
		gemm8AVX512(c, ldc, a, lda, b, k, acc, next)
	case 4:
		gemm4AVX512(c, ldc, a, lda, b, k, acc, next)
	case 2:
		gemm2AVX512(c, ldc, a, lda, b, k, acc, next)
	default:
		gemm1AVX512(c, ldc, a, lda, b, k, acc, next)
	}
}

func gemm256(rows int, c *float32, ldc int, a *float32, lda int, b *float32, k, acc, next int) {
	switch rows {
	case 6:
		gemm6AVX2(c, ldc, a, lda, b, k, acc, next)
	case 4:
		gemm4AVX2(c, ldc, a, lda, b, k, acc, next)
	case 2:
		gemm2AVX2(c, ldc, a, lda, b, k, acc, next)
	default:
		gemm1AVX2(c, ldc, a, lda, b, k, acc, next)
	}
}

func gemmBF16(rows int, c *float32, ldc int, a *float32, lda int, b *float32, k, acc, next int) {
	switch rows {
	case 14:
		gemm14AVX512BF16(c, ldc, a, lda, b, k, acc, next)
	case 8:
		gemm8AVX512BF16(c, ldc, a, lda, b, k, acc, next)
	case 4:
		gemm4AVX512BF16(c, ldc, a, lda, b, k, acc, next)
	case 2:
		gemm2AVX512BF16(c, ldc, a, lda, b, k, acc, next)
	default:
		gemm1AVX512BF16(c, ldc, a, lda, b, k, acc, next)
	}
}

// outer runs the microkernel of outer products of a height.
func (l Level) outer(rows int, c *float32, ldc int, a *float32, lda int, b *float32, ldb, k int, next *float32, ldn int) {
	switch l {
	case AVX512BF16:
		outerBF16(rows, c, ldc, a, lda, b, ldb, k, next, ldn)
	case AVX512:
		outer512(rows, c, ldc, a, lda, b, ldb, k, next, ldn)
	default:
		outer256(rows, c, ldc, a, lda, b, ldb, k, next, ldn)
	}
}

func outer512(rows int, c *float32, ldc int, a *float32, lda int, b *float32, ldb, k int, next *float32, ldn int) {
	switch rows {
	case 14:
		gemmOuter14AVX512(c, ldc, a, lda, b, ldb, k, next, ldn)
	case 8:
		gemmOuter8AVX512(c, ldc, a, lda, b, ldb, k, next, ldn)
	case 4:
		gemmOuter4AVX512(c, ldc, a, lda, b, ldb, k, next, ldn)
	case 2:
		gemmOuter2AVX512(c, ldc, a, lda, b, ldb, k, next, ldn)
	default:
		gemmOuter1AVX512(c, ldc, a, lda, b, ldb, k, next, ldn)
	}
}

func outer256(rows int, c *float32, ldc int, a *float32, lda int, b *float32, ldb, k int, next *float32, ldn int) {
	switch rows {
	case 6:
		gemmOuter6AVX2(c, ldc, a, lda, b, ldb, k, next, ldn)
	case 4:
		gemmOuter4AVX2(c, ldc, a, lda, b, ldb, k, next, ldn)
	case 2:
		gemmOuter2AVX2(c, ldc, a, lda, b, ldb, k, next, ldn)
	default:
		gemmOuter1AVX2(c, ldc, a, lda, b, ldb, k, next, ldn)
	}
}

func outerBF16(rows int, c *float32, ldc int, a *float32, lda int, b *float32, ldb, k int, next *float32, ldn int) {
	switch rows {
	case 14:
		gemmOuter14AVX512BF16(c, ldc, a, lda, b, ldb, k, next, ldn)
	case 8:
		gemmOuter8AVX512BF16(c, ldc, a, lda, b, ldb, k, next, ldn)
	case 4:
		gemmOuter4AVX512BF16(c, ldc, a, lda, b, ldb, k, next, ldn)
	case 2:
		gemmOuter2AVX512BF16(c, ldc, a, lda, b, ldb, k, next, ldn)
	default:
		gemmOuter1AVX512BF16(c, ldc, a, lda, b, ldb, k, next, ldn)
	}
}

// zipPairs writes columns of pairs of rows, the rows of which lie ld values apart, as words of two, ldd words apart, in blocks of 32, step words apart.
func zipPairs(dst []float32, ldd, step int, low, high []BF16, ld, pairs, cols int) {
	bf16Zip(&dst[0], 4*ldd, 4*step, (*uint16)(&low[0]), (*uint16)(&high[0]), 2*ld, pairs, cols)
}
