package kernel

import "math"

func normGeneric(y, rstd, x, w []float32, lo, hi, d int, eps float32) {
	for i := lo; i < hi; i++ {
		row := x[i*d : (i+1)*d]
		var s float32
		for _, a := range row {
			s += a * a
		}
		r := float32(1 / math.Sqrt(float64(s/float32(d)+eps)))
		rstd[i] = r
		for p, a := range row {
			y[i*d+p] = a * r * w[p]
		}
	}
}

// dnormGeneric: with g = dy·w, dx += rstd·(g − x·rstd²·mean(g·x)).
func dnormGeneric(dx, dy, x, w, rstd []float32, lo, hi, d int) {
	for i := lo; i < hi; i++ {
		row, grad := x[i*d:(i+1)*d], dy[i*d:(i+1)*d]
		var s float32
		for p, a := range row {
			s += grad[p] * w[p] * a
		}
		r := rstd[i]
		s *= r * r / float32(d)
		for p, a := range row {
			dx[i*d+p] += r * (grad[p]*w[p] - a*s)
		}
	}
}

func ropeGeneric(x, table []float32, pos []int32, lo, hi, h, e, stride int, inverse bool) {
	half := e / 2
	for i := lo; i < hi; i++ {
		at := int(pos[i]) * e
		cos, sin := table[at:at+half], table[at+half:at+e]
		for j := range h {
			a := x[i*stride+j*e : i*stride+j*e+half]
			b := x[i*stride+j*e+half : i*stride+(j+1)*e]
			for p := range a {
				s := sin[p]
				if inverse {
					s = -s
				}
				a[p], b[p] = a[p]*cos[p]-b[p]*s, b[p]*cos[p]+a[p]*s
			}
		}
	}
}

func sigmoid(x float32) float32 { return float32(1 / (1 + math.Exp(-float64(x)))) }

func swigluGeneric(y, gu []float32, lo, hi, f int) {
	for i := lo; i < hi; i++ {
		gate, up := gu[2*i*f:(2*i+1)*f], gu[(2*i+1)*f:(2*i+2)*f]
		for p, g := range gate {
			y[i*f+p] = g * sigmoid(g) * up[p]
		}
	}
}

func dswigluGeneric(dgu, dy, gu []float32, lo, hi, f int) {
	for i := lo; i < hi; i++ {
		gate, up := 2*i*f, (2*i+1)*f
		for p := range f {
			g, u, dyp := gu[gate+p], gu[up+p], dy[i*f+p]
			s := sigmoid(g)
			dgu[gate+p] = dyp * u * s * (1 + g*(1-s))
			dgu[up+p] = dyp * g * s
		}
	}
}

func crossEntropyGeneric(loss, logits []float32, targets []int32, lo, hi, v int, scale float32) {
	for i := lo; i < hi; i++ {
		row := logits[i*v : (i+1)*v]
		if targets[i] < 0 {
			loss[i] = 0
			if scale != 0 {
				clear(row)
			}
			continue
		}
		top := row[0]
		for _, a := range row {
			top = max(top, a)
		}
		var s float64
		for _, a := range row {
			s += math.Exp(float64(a - top))
		}
		loss[i] = float32(math.Log(s)) + top - row[targets[i]]
		if scale == 0 {
			continue
		}
		for p, a := range row {
			row[p] = float32(math.Exp(float64(a-top))/s) * scale
		}
		row[targets[i]] -= scale
	}
}
