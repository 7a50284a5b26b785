package kernel

import "math"

// AdamW holds the factors of a step of AdamW. They are float32 from double precision: 1−β would lose digits otherwise.
type AdamW struct {
	GradScale float32 // multiplies the gradient: clipping
	Keep      float32 // 1 − lr·decay
	Beta2     float32
	Rate1     float32 // 1 − β₁
	Rate2     float32 // 1 − β₂
	RootScale float32 // 1/√(1 − β₂ᵗ)
	Eps       float32
	Step      float32 // lr/(1 − β₁ᵗ)
}

// Update updates parameters p and moments m and v of equal length by their gradients g, as torch.optim.AdamW does:
// g′ = g·GradScale, m += Rate1·(g′ − m), v = Beta2·v + Rate2·g′², p = p·Keep − Step·m/(√v·RootScale + Eps).
// Every level gives the same bits.
func (c *AdamW) Update(l Level, p, m, v, g []float32) {
	m, v, g = m[:len(p)], v[:len(p)], g[:len(p)]
	l.vector().adamw(p, m, v, g, c)
}

// SumSquares returns Σ x² in double precision, in which every square is exact and finite: the sum is finite exactly if all of x is.
func SumSquares(l Level, x []float32) float64 { return l.vector().sumSquares(x) }

// adamwGeneric converts products so that no build fuses them into sums.
func adamwGeneric(p, m, v, g []float32, c *AdamW) {
	for i, x := range p {
		gi := g[i] * c.GradScale
		mi := m[i] + float32(c.Rate1*(gi-m[i]))
		vi := float32(c.Beta2*v[i]) + float32(c.Rate2*float32(gi*gi))
		m[i], v[i] = mi, vi
		root := float32(math.Sqrt(float64(vi)))
		p[i] = float32(x*c.Keep) - float32(c.Step*mi)/(float32(root*c.RootScale)+c.Eps)
	}
}

func sumSquaresGeneric(x []float32) float64 {
	var s float64
	for _, a := range x {
		s += float64(a) * float64(a)
	}
	return s
}
