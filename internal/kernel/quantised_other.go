//go:build !amd64

package kernel

import "mor/internal/quant"

func hasVNNI(Level) bool { return false }

func (Level) quantise(_ bool, q []byte, aux, x []float32, blocks, offset, keep int, sign float32) {
	quantiseGeneric(q, aux, x, blocks, offset, keep, sign)
}

// Only Generic runs here.

func panelVNNI(quant.Type, *float32, *byte, int, *float32, int, *byte, int, int) {}

func panelAVX2(quant.Type, *float32, *byte, int, *float32, int, *byte, int, int, *byte) {}
