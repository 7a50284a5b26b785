//go:build !amd64

package kernel

func (Level) shares(y, x []float32, top, scale float32) float64 {
	return sharesGeneric(y, x, top, scale)
}

func (Level) topOf(x []float32) (top float32, bits uint32) { return topOfGeneric(x) }
