//go:build !amd64

package kernel

func (Level) shares(y, x []float32, top, scale float32) float64 {
	return sharesGeneric(y, x, top, scale)
}
