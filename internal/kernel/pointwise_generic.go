package kernel

import "math"

func rstdGeneric(rstd, x []float32, d int, eps float32) {
	for i := range rstd {
		x := row(x, i, d)
		rstd[i] = float32(1 / math.Sqrt(float64(dotGeneric(x, x)/float32(d)+eps)))
	}
}

func normGeneric(y, rstd, x, w []float32) {
	for i, r := range rstd {
		y := row(y, i, len(w))
		for j, a := range row(x, i, len(w)) {
			y[j] = a * r * w[j]
		}
	}
}

// normBF16Generic writes rows of even(d) values.
func normBF16Generic(y []BF16, rstd, x, w []float32) {
	for i, r := range rstd {
		y := y[i*even(len(w)):]
		for j, a := range row(x, i, len(w)) {
			y[j] = Round(a * r * w[j])
		}
	}
}

func dnormGeneric(dx, dy, x, w, rstd []float32) {
	d := len(w)
	for i, r := range rstd {
		dx, dy, x := row(dx, i, d), row(dy, i, d), row(x, i, d)
		var sum float32
		for j, g := range dy {
			sum += g * w[j] * x[j]
		}
		s := sum * (r * r / float32(d))
		for j, g := range dy {
			dx[j] += r * (g*w[j] - x[j]*s)
		}
	}
}

func dnormWeightGeneric(dw, dy, x, rstd []float32) {
	for i, r := range rstd {
		addMulGeneric(dw, row(dy, i, len(dw)), row(x, i, len(dw)), r)
	}
}

// ropeGeneric rotates heads in x, pairs (x[p], x[p+half]), by the angles with the given cosines and sines·sign.
func ropeGeneric(x, cos, sin []float32, sign float32) {
	half := len(cos)
	for ; len(x) > 0; x = x[2*half:] {
		low, high := x[:half], x[half:2*half]
		for p, c := range cos {
			a, b, s := low[p], high[p], sin[p]*sign
			low[p], high[p] = a*c-b*s, b*c+a*s
		}
	}
}

func sigmoid(x float32) float32 { return float32(1 / (1 + math.Exp(-float64(x)))) }

// swigluGeneric computes y = silu(gate)∘up.
func swigluGeneric(y, gate, up []float32) {
	for i, g := range gate {
		y[i] = g * sigmoid(g) * up[i]
	}
}

// dswigluGeneric computes dgate = dy∘up∘silu′(gate), dup = dy∘silu(gate) and y = silu(gate)∘up.
func dswigluGeneric(dgate, dup, y, dy, gate, up []float32) {
	for i, g := range gate {
		u, d, s := up[i], dy[i], sigmoid(g)
		dgate[i] = d * u * s * (1 + g*(1-s))
		dup[i] = d * g * s
		y[i] = g * s * u
	}
}

// maxOfGeneric returns the largest of x, which has one; a NaN may be left out.
func maxOfGeneric(x []float32) float32 {
	top := x[0]
	for _, a := range x {
		top = max(top, a)
	}
	return top
}

// sumExpGeneric returns Σ e^(x−top).
func sumExpGeneric(x []float32, top float32) float64 {
	var s float64
	for _, a := range x {
		s += math.Exp(float64(a - top))
	}
	return s
}

// expGeneric computes x = e^(x−top) and returns the sum.
func expGeneric(x []float32, top float32) float64 {
	var s float64
	for i, a := range x {
		e := math.Exp(float64(a - top))
		s += e
		x[i] = float32(e)
	}
	return s
}
