//go:build !amd64

package kernel

// Only Generic runs here, and it does not use tiles.

func (l Level) panel() int   { return 1 }
func (l Level) tallest() int { return 1 }
func (l Level) tall() int    { return 1 }
func (l Level) tile(int) int { return 1 }

func (l Level) gemm(int, *float32, int, *float32, int, *float32, int, bool, int) {}

func (l Level) column(int, *float32, int, *float32, int, *float32, int, bool, bool, *float32) {}

func (l Level) outer(int, *float32, int, *float32, int, *float32, int, int, *float32, int) {}

func zipPairs([]float32, int, int, []BF16, []BF16, int, int, int) {}

func bf16Round(*uint16, *float32, int) {}

func bf16Norm(*uint16, *float32, *float32, *float32, int, int) {}

func bf16SwiGLU(_, _, _ *uint16, _, _ *float32, _ int) {}

func bf16SwiGLUBackward(_, _, _ *uint16, _ *float32, _, _ *uint16, _ int) {}

func (l Level) prefetch(*float32, int, int, int) {}

func (l Level) packRows(*float32, int, *float32, int, int, int, int) {}

func transpose8AVX2(*float32, int, *float32, int, int) {}

func transpose16AVX512(*float32, int, *float32, int, int) {}
