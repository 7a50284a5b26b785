package kernel

import "mor/internal/half"

// widenRowsGeneric writes rows of e values of bfloat16, which lie stride apart, to dst[rows, e].
func widenRowsGeneric(dst []float32, src []uint16, rows, stride, e int) {
	for r := range rows {
		for j, v := range src[r*stride : r*stride+e] {
			dst[r*e+j] = half.BF16(v)
		}
	}
}

// expandRowsGeneric writes rows of e integers, which lie stride apart, times the scale of their row, which lie step apart, to dst[rows, e].
func expandRowsGeneric(dst []float32, src []int8, scale []float32, rows, stride, step, e int) {
	for r := range rows {
		s := scale[r*step]
		for j, v := range src[r*stride : r*stride+e] {
			dst[r*e+j] = s * float32(v)
		}
	}
}

// roundRowGeneric rounds src to bfloat16.
func roundRowGeneric(dst []uint16, src []float32) {
	for j, v := range src {
		dst[j] = half.ToBF16(v)
	}
}
