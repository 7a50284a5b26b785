package kernel

import "math"

// The operations on vectors that the kernels of rows consist of. Operands have the length of the first one.

func addGeneric(y, x []float32) {
	for i, a := range x[:len(y)] {
		y[i] += a
	}
}

func scaleGeneric(y, x []float32, s float32) {
	for i, a := range x[:len(y)] {
		y[i] = a * s
	}
}

func addScaledGeneric(y, x []float32, s float32) {
	for i, a := range x[:len(y)] {
		y[i] += a * s
	}
}

func mulGeneric(y, x, w []float32) {
	w = w[:len(y)]
	for i, a := range x[:len(y)] {
		y[i] = a * w[i]
	}
}

// addMulGeneric computes y += (a·s)∘b.
func addMulGeneric(y, a, b []float32, s float32) {
	b = b[:len(y)]
	for i, a := range a[:len(y)] {
		y[i] += a * s * b[i]
	}
}

func dotGeneric(a, b []float32) float32 {
	var s float32
	for i, b := range b[:len(a)] {
		s += a[i] * b
	}
	return s
}

func geluGeneric(y, x []float32) {
	for i, a := range x {
		a := float64(a)
		y[i] = float32(a * normalCDF(a))
	}
}

func dgeluGeneric(dx, dy, x []float32) {
	for i, a := range x {
		a := float64(a)
		dx[i] = dy[i] * float32(normalCDF(a)+a*math.Exp(-a*a/2)/math.Sqrt(2*math.Pi))
	}
}

// normalCDF is Φ.
func normalCDF(x float64) float64 { return 0.5 * math.Erfc(-x/math.Sqrt2) }
