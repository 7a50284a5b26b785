package kernel

import (
	"unsafe"

	"mor/internal/quant"
)

// roundBlocks writes blocks of 32 floats as bfloat16.
func roundBlocks(dst []byte, src []float32, blocks int) {
	if blocks > 0 {
		roundBF16AVX512(&dst[0], &src[0], blocks)
	}
}

// gemmPairs runs the microkernel of a height on rows of bfloat16 and the columns from at on of a panel.
func gemmPairs(rows int, c *float32, ldc int, a *byte, lda int, panel []byte, at, k int, accumulate bool) {
	acc, x, b := 0, (*float32)(unsafe.Pointer(a)), &panel[4*at]
	if accumulate {
		acc = 1
	}
	switch rows {
	case 14:
		gemmBF16Dot14AVX512(c, ldc, x, lda, b, k/2, acc)
	case 8:
		gemmBF16Dot8AVX512(c, ldc, x, lda, b, k/2, acc)
	case 4:
		gemmBF16Dot4AVX512(c, ldc, x, lda, b, k/2, acc)
	case 2:
		gemmBF16Dot2AVX512(c, ldc, x, lda, b, k/2, acc)
	default:
		gemmBF16Dot1AVX512(c, ldc, x, lda, b, k/2, acc)
	}
}

// gemmHalf runs the microkernel of a height on the columns from at on of a panel in 16 bits.
func (l Level) gemmHalf(t quant.Type, rows int, c *float32, ldc int, a *float32, lda int, panel []byte, at, k int, accumulate bool) {
	acc := 0
	if accumulate {
		acc = 1
	}
	if t == quant.F16 {
		b := &panel[2*at]
		if l == AVX512 {
			gemmF16AVX512(rows, c, ldc, a, lda, b, k, acc)
		} else {
			gemmF16AVX2(rows, c, ldc, a, lda, b, k, acc)
		}
		return
	}
	b := &panel[4*at]
	if l == AVX512 {
		gemmBF16AVX512(rows, c, ldc, a, lda, b, k/2, acc)
	} else {
		gemmBF16AVX2(rows, c, ldc, a, lda, b, k/2, acc)
	}
}

func gemmF16AVX512(rows int, c *float32, ldc int, a *float32, lda int, b *byte, k, acc int) {
	switch rows {
	case 14:
		gemmF1614AVX512(c, ldc, a, lda, b, k, acc)
	case 8:
		gemmF168AVX512(c, ldc, a, lda, b, k, acc)
	case 4:
		gemmF164AVX512(c, ldc, a, lda, b, k, acc)
	case 2:
		gemmF162AVX512(c, ldc, a, lda, b, k, acc)
	default:
		gemmF161AVX512(c, ldc, a, lda, b, k, acc)
	}
}

func gemmF16AVX2(rows int, c *float32, ldc int, a *float32, lda int, b *byte, k, acc int) {
	switch rows {
	case 6:
		gemmF166AVX2(c, ldc, a, lda, b, k, acc)
	case 4:
		gemmF164AVX2(c, ldc, a, lda, b, k, acc)
	case 2:
		gemmF162AVX2(c, ldc, a, lda, b, k, acc)
	default:
		gemmF161AVX2(c, ldc, a, lda, b, k, acc)
	}
}

func gemmBF16AVX512(rows int, c *float32, ldc int, a *float32, lda int, b *byte, k, acc int) {
	switch rows {
	case 14:
		gemmBF1614AVX512(c, ldc, a, lda, b, k, acc)
	case 8:
		gemmBF168AVX512(c, ldc, a, lda, b, k, acc)
	case 4:
		gemmBF164AVX512(c, ldc, a, lda, b, k, acc)
	case 2:
		gemmBF162AVX512(c, ldc, a, lda, b, k, acc)
	default:
		gemmBF161AVX512(c, ldc, a, lda, b, k, acc)
	}
}

func gemmBF16AVX2(rows int, c *float32, ldc int, a *float32, lda int, b *byte, k, acc int) {
	switch rows {
	case 6:
		gemmBF166AVX2(c, ldc, a, lda, b, k, acc)
	case 4:
		gemmBF164AVX2(c, ldc, a, lda, b, k, acc)
	case 2:
		gemmBF162AVX2(c, ldc, a, lda, b, k, acc)
	default:
		gemmBF161AVX2(c, ldc, a, lda, b, k, acc)
	}
}
