package kernel

// pageBlock is how many values the conversions of pages take at a time; the definition does rows that are no whole number of them.
const pageBlock = 16

func (l Level) widenRows(dst []float32, src []uint16, rows, stride, e int) {
	_, _ = dst[rows*e-1], src[(rows-1)*stride+e-1]
	switch {
	case l == AVX512 && e%pageBlock == 0:
		pageWidenAVX512(&dst[0], &src[0], rows, 2*stride, e/pageBlock)
	case l == AVX2 && e%pageBlock == 0:
		pageWidenAVX2(&dst[0], &src[0], rows, 2*stride, e/pageBlock)
	default:
		widenRowsGeneric(dst, src, rows, stride, e)
	}
}

func (l Level) expandRows(dst []float32, src []int8, scale []float32, rows, stride, step, e int) {
	_, _, _ = dst[rows*e-1], src[(rows-1)*stride+e-1], scale[(rows-1)*step]
	switch {
	case l == AVX512 && e%pageBlock == 0:
		pageExpandAVX512(&dst[0], &src[0], &scale[0], rows, stride, 4*step, e/pageBlock)
	case l == AVX2 && e%pageBlock == 0:
		pageExpandAVX2(&dst[0], &src[0], &scale[0], rows, stride, 4*step, e/pageBlock)
	default:
		expandRowsGeneric(dst, src, scale, rows, stride, step, e)
	}
}

func (l Level) roundRow(dst []uint16, src []float32) {
	n := len(src)
	_ = dst[n-1]
	switch {
	case l == AVX512 && n%pageBlock == 0:
		pageRoundAVX512(&dst[0], &src[0], n/pageBlock)
	case l == AVX2 && n%pageBlock == 0:
		pageRoundAVX2(&dst[0], &src[0], n/pageBlock)
	default:
		roundRowGeneric(dst, src)
	}
}
