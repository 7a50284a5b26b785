package kernel

// A level's operations on vectors. The generated code takes the length from the first operand and trusts the others to have it.

func (l Level) add(y, x []float32) {
	switch l {
	case AVX512:
		addAVX512(y, x)
	case AVX2:
		addAVX2(y, x)
	default:
		addGeneric(y, x)
	}
}

func (l Level) scale(y, x []float32, s float32) {
	switch l {
	case AVX512:
		scaleAVX512(y, x, s)
	case AVX2:
		scaleAVX2(y, x, s)
	default:
		scaleGeneric(y, x, s)
	}
}

func (l Level) addScaled(y, x []float32, s float32) {
	switch l {
	case AVX512:
		addScaledAVX512(y, x, s)
	case AVX2:
		addScaledAVX2(y, x, s)
	default:
		addScaledGeneric(y, x, s)
	}
}

func (l Level) mul(y, x, w []float32) {
	switch l {
	case AVX512:
		mulAVX512(y, x, w)
	case AVX2:
		mulAVX2(y, x, w)
	default:
		mulGeneric(y, x, w)
	}
}

func (l Level) addMul(y, a, b []float32, s float32) {
	switch l {
	case AVX512:
		addMulAVX512(y, a, b, s)
	case AVX2:
		addMulAVX2(y, a, b, s)
	default:
		addMulGeneric(y, a, b, s)
	}
}

func (l Level) dot(a, b []float32) float32 {
	switch l {
	case AVX512:
		return dotAVX512(a, b)
	case AVX2:
		return dotAVX2(a, b)
	}
	return dotGeneric(a, b)
}

func (l Level) rstd(rstd, x []float32, d int, eps float32) {
	switch l {
	case AVX512:
		rstdAVX512(rstd, x, d, eps)
	case AVX2:
		rstdAVX2(rstd, x, d, eps)
	default:
		rstdGeneric(rstd, x, d, eps)
	}
}

func (l Level) norm(y, rstd, x, w []float32) {
	switch l {
	case AVX512:
		normAVX512(y, rstd, x, w)
	case AVX2:
		normAVX2(y, rstd, x, w)
	default:
		normGeneric(y, rstd, x, w)
	}
}

func (l Level) dnorm(dx, dy, x, w, rstd []float32) {
	switch l {
	case AVX512:
		dnormAVX512(dx, dy, x, w, rstd)
	case AVX2:
		dnormAVX2(dx, dy, x, w, rstd)
	default:
		dnormGeneric(dx, dy, x, w, rstd)
	}
}

func (l Level) dnormWeight(dw, dy, x, rstd []float32) {
	switch l {
	case AVX512:
		dnormWeightAVX512(dw, dy, x, rstd)
	case AVX2:
		dnormWeightAVX2(dw, dy, x, rstd)
	default:
		dnormWeightGeneric(dw, dy, x, rstd)
	}
}

func (l Level) rope(x, cos, sin []float32, sign float32) {
	switch l {
	case AVX512:
		ropeAVX512(x, cos, sin, sign)
	case AVX2:
		ropeAVX2(x, cos, sin, sign)
	default:
		ropeGeneric(x, cos, sin, sign)
	}
}

func (l Level) swiglu(y, gate, up []float32) {
	switch l {
	case AVX512:
		swigluAVX512(y, gate, up)
	case AVX2:
		swigluAVX2(y, gate, up)
	default:
		swigluGeneric(y, gate, up)
	}
}

func (l Level) dswiglu(dgate, dup, y, dy, gate, up []float32) {
	switch l {
	case AVX512:
		dswigluAVX512(dgate, dup, y, dy, gate, up)
	case AVX2:
		dswigluAVX2(dgate, dup, y, dy, gate, up)
	default:
		dswigluGeneric(dgate, dup, y, dy, gate, up)
	}
}

func (l Level) maxOf(x []float32) float32 {
	switch l {
	case AVX512:
		return maxOfAVX512(x)
	case AVX2:
		return maxOfAVX2(x)
	}
	return maxOfGeneric(x)
}

func (l Level) sumExp(x []float32, top float32) float64 {
	switch l {
	case AVX512:
		return sumExpAVX512(x, top)
	case AVX2:
		return sumExpAVX2(x, top)
	}
	return sumExpGeneric(x, top)
}

func (l Level) exp(x []float32, top float32) float64 {
	switch l {
	case AVX512:
		return expAVX512(x, top)
	case AVX2:
		return expAVX2(x, top)
	}
	return expGeneric(x, top)
}

func (l Level) sumSquares(x []float32) float64 {
	switch l {
	case AVX512:
		return sumSquaresAVX512(x)
	case AVX2:
		return sumSquaresAVX2(x)
	}
	return sumSquaresGeneric(x)
}

func (l Level) adamw(p, m, v, g []float32, c *AdamW) {
	switch l {
	case AVX512:
		adamwAVX512(p, m, v, g, c.GradScale, c.Keep, c.Beta2, c.Rate1, c.Rate2, c.RootScale, c.Eps, c.Step)
	case AVX2:
		adamwAVX2(p, m, v, g, c.GradScale, c.Keep, c.Beta2, c.Rate1, c.Rate2, c.RootScale, c.Eps, c.Step)
	default:
		adamwGeneric(p, m, v, g, c)
	}
}
