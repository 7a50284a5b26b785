//go:build !amd64

package kernel

func (Level) add(y, x []float32)                  { addGeneric(y, x) }
func (Level) scale(y, x []float32, s float32)     { scaleGeneric(y, x, s) }
func (Level) addScaled(y, x []float32, s float32) { addScaledGeneric(y, x, s) }
func (Level) mul(y, x, w []float32)               { mulGeneric(y, x, w) }
func (Level) addMul(y, a, b []float32, s float32) { addMulGeneric(y, a, b, s) }
func (Level) dot(a, b []float32) float32          { return dotGeneric(a, b) }
