package memory

import (
	"testing"
	"unsafe"
)

func TestArena(t *testing.T) {
	var a Arena
	address := func(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
	var before []byte
	neighbours := 0
	for _, n := range []int{1, 64, 65, 0, 1 << 20, 3 << 20, chunkSize / 2, 100, chunkSize, 5} {
		b := a.Bytes(n)
		if len(b) != n || cap(b) != n {
			t.Fatalf("%d bytes: length %d, capacity %d", n, len(b), cap(b))
		}
		if n > 0 && address(b)%cacheLine != 0 {
			t.Errorf("%d bytes at %#x: not at a cache line", n, address(b))
		}
		for i := range b {
			if b[i] != 0 {
				t.Fatalf("%d bytes: byte %d is in use", n, i)
			}
			b[i] = 0xff
		}
		if len(before) > 0 && address(b)-address(before) == uintptr(len(before)+cacheLine-1)/cacheLine*cacheLine {
			neighbours++
		}
		before = b
	}
	if neighbours < 4 {
		t.Errorf("%d slices lie behind the one before, expected the small ones to", neighbours)
	}
}
