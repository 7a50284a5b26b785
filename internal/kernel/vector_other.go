//go:build !amd64

package kernel

func (Level) add(y, x []float32)                         { addGeneric(y, x) }
func (Level) scale(y, x []float32, s float32)            { scaleGeneric(y, x, s) }
func (Level) addScaled(y, x []float32, s float32)        { addScaledGeneric(y, x, s) }
func (Level) mul(y, x, w []float32)                      { mulGeneric(y, x, w) }
func (Level) addMul(y, a, b []float32, s float32)        { addMulGeneric(y, a, b, s) }
func (Level) dot(a, b []float32) float32                 { return dotGeneric(a, b) }
func (Level) rstd(rstd, x []float32, d int, eps float32) { rstdGeneric(rstd, x, d, eps) }
func (Level) norm(y, rstd, x, w []float32)               { normGeneric(y, rstd, x, w) }
func (Level) dnorm(dx, dy, x, w, rstd []float32)         { dnormGeneric(dx, dy, x, w, rstd) }
func (Level) dnormWeight(dw, dy, x, rstd []float32)      { dnormWeightGeneric(dw, dy, x, rstd) }
func (Level) rope(x, cos, sin []float32, sign float32)   { ropeGeneric(x, cos, sin, sign) }
func (Level) swiglu(y, gate, up []float32)               { swigluGeneric(y, gate, up) }
func (Level) dswiglu(dgate, dup, y, dy, gate, up []float32) {
	dswigluGeneric(dgate, dup, y, dy, gate, up)
}
func (Level) maxOf(x []float32) float32               { return maxOfGeneric(x) }
func (Level) sumExp(x []float32, top float32) float64 { return sumExpGeneric(x, top) }
func (Level) exp(x []float32, top float32) float64    { return expGeneric(x, top) }
func (Level) sumSquares(x []float32) float64          { return sumSquaresGeneric(x) }
func (Level) adamw(p, m, v, g []float32, c *AdamW)    { adamwGeneric(p, m, v, g, c) }
