package kernel

import "math"

// Shares computes y[n] = e^((x−top)·scale) of x[n], none of which is above top, and returns the sum. It is the caller's alone that computes: workers may call it.
func (c *CPU) Shares(y, x []float32, top, scale float32) float64 {
	return c.level.shares(y[:len(x)], x, top, scale)
}

// Top returns the largest of x[n], n above 0, and whether all are numbers; where one is not, the largest is any. It is the caller's alone that computes.
func (c *CPU) Top(x []float32) (top float32, numbers bool) {
	top, bits := c.level.topOf(x)
	return top, bits <= math.Float32bits(float32(math.Inf(1)))
}

// topOfGeneric returns the largest of x and the largest of its bits without the sign, those of a NaN among them.
func topOfGeneric(x []float32) (top float32, bits uint32) {
	top = float32(math.Inf(-1))
	for _, v := range x {
		top = max(top, v)
		bits = max(bits, math.Float32bits(v)&^(1<<31))
	}
	return top, bits
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
