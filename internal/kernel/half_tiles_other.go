//go:build !amd64

package kernel

import "mor/internal/quant"

func (Level) gemmHalf(quant.Type, int, *float32, int, *float32, int, []byte, int, int, bool, int) {}
