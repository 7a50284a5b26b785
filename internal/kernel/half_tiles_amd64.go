package kernel

import "mor/internal/quant"

// gemmHalf runs the microkernel of a height on the columns from at on of a panel in 16 bits. With several rows, it fetches half as many bytes as it reads of them, from next bytes
// behind them on.
func (l Level) gemmHalf(t quant.Type, rows int, c *float32, ldc int, a *float32, lda int, panel []byte, at, k int, accumulate bool, next int) {
	acc := flag(accumulate)
	if t == quant.F16 {
		b := &panel[2*at]
		if l == AVX512 {
			gemmF16AVX512(rows, c, ldc, a, lda, b, k, acc, next)
		} else {
			gemmF16AVX2(rows, c, ldc, a, lda, b, k, acc, next)
		}
		return
	}
	b := &panel[4*at]
	if l == AVX512 {
		gemmBF16AVX512(rows, c, ldc, a, lda, b, k/2, acc, next)
	} else {
		gemmBF16AVX2(rows, c, ldc, a, lda, b, k/2, acc, next)
	}
}

func gemmF16AVX512(rows int, c *float32, ldc int, a *float32, lda int, b *byte, k, acc, next int) {
	switch rows {
	case 14:
		gemmF1614AVX512(c, ldc, a, lda, b, k, acc, next)
	case 8:
		gemmF168AVX512(c, ldc, a, lda, b, k, acc, next)
	case 4:
		gemmF164AVX512(c, ldc, a, lda, b, k, acc, next)
	case 2:
		gemmF162AVX512(c, ldc, a, lda, b, k, acc, next)
	default:
		gemmF161AVX512(c, ldc, a, lda, b, k, acc, next)
	}
}

func gemmF16AVX2(rows int, c *float32, ldc int, a *float32, lda int, b *byte, k, acc, next int) {
	switch rows {
	case 6:
		gemmF166AVX2(c, ldc, a, lda, b, k, acc, next)
	case 4:
		gemmF164AVX2(c, ldc, a, lda, b, k, acc, next)
	case 2:
		gemmF162AVX2(c, ldc, a, lda, b, k, acc, next)
	default:
		gemmF161AVX2(c, ldc, a, lda, b, k, acc, next)
	}
}

func gemmBF16AVX512(rows int, c *float32, ldc int, a *float32, lda int, b *byte, k, acc, next int) {
	switch rows {
	case 14:
		gemmBF1614AVX512(c, ldc, a, lda, b, k, acc, next)
	case 8:
		gemmBF168AVX512(c, ldc, a, lda, b, k, acc, next)
	case 4:
		gemmBF164AVX512(c, ldc, a, lda, b, k, acc, next)
	case 2:
		gemmBF162AVX512(c, ldc, a, lda, b, k, acc, next)
	default:
		gemmBF161AVX512(c, ldc, a, lda, b, k, acc, next)
	}
}

func gemmBF16AVX2(rows int, c *float32, ldc int, a *float32, lda int, b *byte, k, acc, next int) {
	switch rows {
	case 6:
		gemmBF166AVX2(c, ldc, a, lda, b, k, acc, next)
	case 4:
		gemmBF164AVX2(c, ldc, a, lda, b, k, acc, next)
	case 2:
		gemmBF162AVX2(c, ldc, a, lda, b, k, acc, next)
	default:
		gemmBF161AVX2(c, ldc, a, lda, b, k, acc, next)
	}
}
