//go:build !amd64

package kernel

func (Level) widenRows(dst []float32, src []uint16, rows, stride, e int) {
	widenRowsGeneric(dst, src, rows, stride, e)
}

func (Level) expandRows(dst []float32, src []int8, scale []float32, rows, stride, step, e int) {
	expandRowsGeneric(dst, src, scale, rows, stride, step, e)
}

func (Level) roundRow(dst []uint16, src []float32) { roundRowGeneric(dst, src) }
