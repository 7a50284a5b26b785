package kernel

import "math"

// Shares computes y[n] = e^((x−top)·scale) of x[n], none of which is above top, and returns the sum. It is the caller's alone that computes: workers may call it.
func (c *CPU) Shares(y, x []float32, top, scale float32) float64 {
	return c.level.shares(y[:len(x)], x, top, scale)
}

// sharesGeneric is the definition.
func sharesGeneric(y, x []float32, top, scale float32) float64 {
	sum := 0.0
	for i, v := range x {
		e := float32(math.Exp(float64((v - top) * scale)))
		y[i] = e
		sum += float64(e)
	}
	return sum
}
