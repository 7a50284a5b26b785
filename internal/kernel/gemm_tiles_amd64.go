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

// gemm runs the microkernel of a height.
func (l Level) gemm(rows int, cols bool, c *float32, ldc int, a *float32, lda int, b *float32, k int, accumulate bool) {
	acc := 0
	if accumulate {
		acc = 1
	}
	switch l {
	case AVX512BF16:
		gemmBF16(rows, cols, c, ldc, a, lda, b, k, acc)
	case AVX512:
		gemm512(rows, cols, c, ldc, a, lda, b, k, acc)
	default:
		gemm256(rows, cols, c, ldc, a, lda, b, k, acc)
	}
}

func gemm512(rows int, cols bool, c *float32, ldc int, a *float32, lda int, b *float32, k, acc int) {
	switch {
	case rows == 14 && !cols:
		gemmRows14AVX512(c, ldc, a, lda, b, k, acc)
	case rows == 14:
		gemmCols14AVX512(c, ldc, a, lda, b, k, acc)
	case rows == 8 && !cols:
		gemmRows8AVX512(c, ldc, a, lda, b, k, acc)
	case rows == 8:
		gemmCols8AVX512(c, ldc, a, lda, b, k, acc)
	case rows == 4 && !cols:
		gemmRows4AVX512(c, ldc, a, lda, b, k, acc)
	case rows == 4:
		gemmCols4AVX512(c, ldc, a, lda, b, k, acc)
	case rows == 2 && !cols:
		gemmRows2AVX512(c, ldc, a, lda, b, k, acc)
	case rows == 2:
		gemmCols2AVX512(c, ldc, a, lda, b, k, acc)
	case !cols:
		gemmRows1AVX512(c, ldc, a, lda, b, k, acc)
	default:
		gemmCols1AVX512(c, ldc, a, lda, b, k, acc)
	}
}

func gemm256(rows int, cols bool, c *float32, ldc int, a *float32, lda int, b *float32, k, acc int) {
	switch {
	case rows == 6 && !cols:
		gemmRows6AVX2(c, ldc, a, lda, b, k, acc)
	case rows == 6:
		gemmCols6AVX2(c, ldc, a, lda, b, k, acc)
	case rows == 4 && !cols:
		gemmRows4AVX2(c, ldc, a, lda, b, k, acc)
	case rows == 4:
		gemmCols4AVX2(c, ldc, a, lda, b, k, acc)
	case rows == 2 && !cols:
		gemmRows2AVX2(c, ldc, a, lda, b, k, acc)
	case rows == 2:
		gemmCols2AVX2(c, ldc, a, lda, b, k, acc)
	case !cols:
		gemmRows1AVX2(c, ldc, a, lda, b, k, acc)
	default:
		gemmCols1AVX2(c, ldc, a, lda, b, k, acc)
	}
}

func gemmBF16(rows int, cols bool, c *float32, ldc int, a *float32, lda int, b *float32, k, acc int) {
	switch {
	case rows == 14 && !cols:
		gemmRows14AVX512BF16(c, ldc, a, lda, b, k, acc)
	case rows == 14:
		gemmCols14AVX512BF16(c, ldc, a, lda, b, k, acc)
	case rows == 8 && !cols:
		gemmRows8AVX512BF16(c, ldc, a, lda, b, k, acc)
	case rows == 8:
		gemmCols8AVX512BF16(c, ldc, a, lda, b, k, acc)
	case rows == 4 && !cols:
		gemmRows4AVX512BF16(c, ldc, a, lda, b, k, acc)
	case rows == 4:
		gemmCols4AVX512BF16(c, ldc, a, lda, b, k, acc)
	case rows == 2 && !cols:
		gemmRows2AVX512BF16(c, ldc, a, lda, b, k, acc)
	case rows == 2:
		gemmCols2AVX512BF16(c, ldc, a, lda, b, k, acc)
	case !cols:
		gemmRows1AVX512BF16(c, ldc, a, lda, b, k, acc)
	default:
		gemmCols1AVX512BF16(c, ldc, a, lda, b, k, acc)
	}
}

// zipBlocks writes blocks of w columns of two rows as words of two, stride words apart.
func zipBlocks(w int, dst []float32, stride int, low, high []BF16, blocks int) {
	a, b := (*uint16)(&low[0]), (*uint16)(&high[0])
	if w == AVX512BF16.panel() {
		bf16Zip32(&dst[0], 4*stride, a, b, blocks)
		return
	}
	bf16Zip14(&dst[0], 4*stride, a, b, blocks)
}
