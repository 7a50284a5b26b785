package kernel

import (
	"github.com/klauspost/cpuid/v2"

	"mor/internal/quant"
)

// hasVNNI tells whether a level multiplies bytes by VPDPBUSD.
func hasVNNI(l Level) bool { return l == AVX512 && cpuid.CPU.Supports(cpuid.AVX512VNNI) }

// quantise runs the level's version of quantiseGeneric.
func (l Level) quantise(vnni bool, q []byte, aux, x []float32, blocks, offset, keep int, sign float32) {
	switch {
	case l == Generic:
		quantiseGeneric(q, aux, x, blocks, offset, keep, sign)
	case vnni:
		quantizeVNNI(&q[0], &aux[0], &x[0], blocks, offset, keep, sign)
	default:
		quantizeAVX2(&q[0], &aux[0], &x[0], blocks, offset, keep, sign)
	}
}

func panelVNNI(t quant.Type, y *float32, x *byte, ldx int, aux *float32, ldaux int, w *byte, blocks, rows int) {
	switch t {
	case quant.Q8_0:
		dotQ8_0VNNI(y, x, ldx, aux, ldaux, w, blocks, rows)
	case quant.Q4_0:
		dotQ4_0VNNI(y, x, ldx, aux, ldaux, w, blocks, rows)
	case quant.Q4_1:
		dotQ4_1VNNI(y, x, ldx, aux, ldaux, w, blocks, rows)
	case quant.Q5_0:
		dotQ5_0VNNI(y, x, ldx, aux, ldaux, w, blocks, rows)
	case quant.Q5_1:
		dotQ5_1VNNI(y, x, ldx, aux, ldaux, w, blocks, rows)
	case quant.Q4_K:
		dotQ4KVNNI(y, x, ldx, aux, ldaux, w, blocks, rows)
	case quant.Q5_K:
		dotQ5KVNNI(y, x, ldx, aux, ldaux, w, blocks, rows)
	case quant.Q6_K:
		dotQ6KVNNI(y, x, ldx, aux, ldaux, w, blocks, rows)
	}
}

func panelAVX2(t quant.Type, y *float32, x *byte, ldx int, aux *float32, ldaux int, w *byte, blocks, rows int, scratch *byte) {
	switch t {
	case quant.Q8_0:
		dotQ8_0AVX2(y, x, ldx, aux, ldaux, w, blocks, rows, scratch)
	case quant.Q4_0:
		dotQ4_0AVX2(y, x, ldx, aux, ldaux, w, blocks, rows, scratch)
	case quant.Q4_1:
		dotQ4_1AVX2(y, x, ldx, aux, ldaux, w, blocks, rows, scratch)
	case quant.Q5_0:
		dotQ5_0AVX2(y, x, ldx, aux, ldaux, w, blocks, rows, scratch)
	case quant.Q5_1:
		dotQ5_1AVX2(y, x, ldx, aux, ldaux, w, blocks, rows, scratch)
	case quant.Q4_K:
		dotQ4KAVX2(y, x, ldx, aux, ldaux, w, blocks, rows, scratch)
	case quant.Q5_K:
		dotQ5KAVX2(y, x, ldx, aux, ldaux, w, blocks, rows, scratch)
	case quant.Q6_K:
		dotQ6KAVX2(y, x, ldx, aux, ldaux, w, blocks, rows, scratch)
	}
}
