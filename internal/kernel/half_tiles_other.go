//go:build !amd64

package kernel

import "mor/internal/quant"

func (Level) gemmHalf(quant.Type, int, *float32, int, *float32, int, []byte, int, int, bool) {}

func roundBlocks([]byte, []float32, int) {}

func gemmPairs(int, *float32, int, *byte, int, []byte, int, int, bool) {}
