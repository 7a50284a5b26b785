package kernel

// linearGeneric is the definition of Linear for the rows [lo, hi).
func linearGeneric(y, x, w []float32, lo, hi, in, out int, acc bool) {
	for i := lo; i < hi; i++ {
		row := x[i*in : (i+1)*in]
		for j := range out {
			col := w[j*in : (j+1)*in]
			var s float32
			if acc {
				s = y[i*out+j]
			}
			for p, a := range row {
				s += a * col[p]
			}
			y[i*out+j] = s
		}
	}
}

// dinputGeneric is the definition of LinearBackwardInput for the rows [lo, hi).
func dinputGeneric(dx, dy, w []float32, lo, hi, in, out int, acc bool) {
	for i := lo; i < hi; i++ {
		row := dx[i*in : (i+1)*in]
		if !acc {
			clear(row)
		}
		for j, g := range dy[i*out : (i+1)*out] {
			for p, b := range w[j*in : (j+1)*in] {
				row[p] += g * b
			}
		}
	}
}

// dweightGeneric is the definition of LinearBackwardWeight for the rows [lo, hi) of dw.
func dweightGeneric(dw, dy, x []float32, n, lo, hi, in, out int) {
	for i := range n {
		row := x[i*in : (i+1)*in]
		for j := lo; j < hi; j++ {
			g := dy[i*out+j]
			w := dw[j*in : (j+1)*in]
			for p, a := range row {
				w[p] += g * a
			}
		}
	}
}
