//go:build unix

package kernel

import (
	"math"
	"syscall"
	"testing"
	"unsafe"
)

// guarded returns n floats that end where memory ends, or start where it starts: a read or write beyond them is a crash.
func guarded(t *testing.T, n int, start bool) []float32 {
	t.Helper()
	page := syscall.Getpagesize()
	size := (4*n + page - 1) / page * page
	m, err := syscall.Mmap(-1, 0, size+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Skip("no memory to guard: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(m); err != nil {
			t.Error(err)
		}
	})
	for _, guard := range [][]byte{m[:page], m[page+size:]} {
		if err := syscall.Mprotect(guard, syscall.PROT_NONE); err != nil {
			t.Skip("no guard pages here: ", err)
		}
	}
	at := page
	if !start {
		at += size - 4*n
	}
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&m[at])), n)
}

func TestVectorOperationsStayInsideTheirOperands(t *testing.T) {
	for _, n := range []int{1, 3, 8, 9, 15, 16, 17, 31, 33, 64, 79, 576} {
		for _, start := range []bool{true, false} {
			v := make([][]float32, 6)
			for i := range v {
				v[i] = guarded(t, n, start)
			}
			for _, l := range vectorLevels() {
				for _, op := range vectorOps {
					for i := range v {
						for j := range v[i] {
							v[i][j] = float32(math.Sin(float64(i + j)))
						}
					}
					op.run(l, v)
				}
			}
		}
	}
}
