package kernel

func (l Level) topOf(x []float32) (top float32, bits uint32) {
	switch l {
	case AVX512:
		return topOfAVX512(x)
	case AVX2:
		return topOfAVX2(x)
	}
	return topOfGeneric(x)
}

func (l Level) shares(y, x []float32, top, scale float32) float64 {
	switch l {
	case AVX512:
		return sharesAVX512(y, x, top, scale)
	case AVX2:
		return sharesAVX2(y, x, top, scale)
	}
	return sharesGeneric(y, x, top, scale)
}
