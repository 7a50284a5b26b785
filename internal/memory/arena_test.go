package memory

import (
	"runtime"
	"testing"
	"time"
	"unsafe"
)

func TestArena(t *testing.T) {
	var a Arena
	address := func(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
	var before []byte
	var regions []*Region
	neighbours := 0
	for _, n := range []int{1, 64, 65, 0, 1 << 20, 3 << 20, chunkSize / 2, 100, chunkSize, 5} {
		b, r := a.Bytes(n)
		if len(b) != n || cap(b) != n {
			t.Fatalf("%d bytes: length %d, capacity %d", n, len(b), cap(b))
		}
		regions = append(regions, r) // what is written to is not given back
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
	runtime.KeepAlive(regions)
}

// TestRegion: zeros to the end whatever the size, at a huge page where there is a whole one; what a region takes is not the heap's, and goes back when
// nobody holds it.
func TestRegion(t *testing.T) {
	const large = 64 << 20
	for _, n := range []int{0, 1, cacheLine, hugePage - 1, hugePage, 3*hugePage + 5} {
		r := NewRegion(n)
		b := r.Bytes()
		if len(b) != n || cap(b) != n {
			t.Fatalf("%d bytes: length %d, capacity %d", n, len(b), cap(b))
		}
		if at := uintptr(unsafe.Pointer(unsafe.SliceData(b))); n >= hugePage && at%hugePage != 0 || n > 0 && at%cacheLine != 0 {
			t.Errorf("%d bytes at %#x", n, at)
		}
		for i := range b {
			if b[i] != 0 {
				t.Fatalf("%d bytes: byte %d is in use", n, i)
			}
			b[i] = 0xff
		}
		runtime.KeepAlive(r)
	}
	if outside(1) == nil {
		t.Skip("this system has no memory outside the heap")
	}
	var before, during runtime.MemStats
	runtime.ReadMemStats(&before)
	r := NewRegion(large)
	v := Values[float32](r.Bytes())
	for i := range v {
		v[i] = 1
	}
	runtime.ReadMemStats(&during)
	if during.HeapAlloc > before.HeapAlloc+large/2 {
		t.Errorf("the heap grew from %d to %d bytes", before.HeapAlloc, during.HeapAlloc)
	}
	full := Resident()
	if full == 0 {
		t.Skip("this system does not tell resident memory")
	}
	runtime.KeepAlive(r)
	for range 100 { // a cleanup runs some time after its collection
		runtime.GC()
		if time.Sleep(10 * time.Millisecond); Resident() < full-large/2 {
			return
		}
	}
	t.Errorf("%d bytes are resident, as many as the %d before the region was dropped", Resident(), full)
}
