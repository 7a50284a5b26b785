package kernel

import "math"

// normGeneric computes y = (x·r)∘w.
func normGeneric(y, x, w []float32, r float32) {
	w = w[:len(y)]
	for i, a := range x[:len(y)] {
		y[i] = a * r * w[i]
	}
}

// dnormGeneric computes dx += r·(dy∘w − x·s).
func dnormGeneric(dx, dy, x, w []float32, r, s float32) {
	x, w = x[:len(dx)], w[:len(dx)]
	for i, g := range dy[:len(dx)] {
		dx[i] += r * (g*w[i] - x[i]*s)
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
