//go:build !amd64

package kernel

// Only Generic runs here, and it does not use tiles.

func (l Level) panel() int   { return 1 }
func (l Level) tallest() int { return 1 }
func (l Level) tall() int    { return 1 }
func (l Level) tile(int) int { return 1 }

func (l Level) gemm(int, bool, *float32, int, *float32, int, *float32, int, bool) {}

func pairBlocks(int, []float32, int, []float32, []float32, int) {}

func bf16Round(*uint16, *float32, int) {}

func (l Level) prefetch(*float32, int, int, int) {}

func (l Level) packRows(*float32, int, *float32, int, int, int, int) {}

func transpose8AVX2(*float32, int, *float32, int, int) {}
