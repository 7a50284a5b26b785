package memory

import (
	"runtime"
	"unsafe"
)

// Region is memory outside Go's heap. The collector, which lets garbage grow with the heap, does not count it, so that beside weights and cached keys of any
// size garbage stays as small as what else is in use; and a page of it takes no memory until it is written to, whatever stood there before. It goes back to
// the system when the Region is unreachable: who holds a part of its bytes must hold it too.
type Region struct{ bytes []byte }

// NewRegion returns a region of n zeros. They begin at a huge page where they have a whole one, and the system is asked to back them by such.
func NewRegion(n int) *Region {
	r := &Region{}
	if n == 0 {
		return r
	}
	at := cacheLine
	if n >= hugePage {
		at = hugePage
	}
	raw := outside(n + at)
	if raw == nil {
		raw = make([]byte, n+at)
	} else {
		runtime.AddCleanup(r, giveBack, raw)
	}
	skip := int(-uintptr(unsafe.Pointer(&raw[0])) % uintptr(at))
	r.bytes = raw[skip : skip+n : skip+n]
	advise(unsafe.Pointer(&r.bytes[0]), uintptr(n))
	return r
}

// Bytes is all of the region.
func (r *Region) Bytes() []byte { return r.bytes }

// Values is bytes as values of T, which has no pointers. They must be aligned for it, as the beginning of a Region and what comes from an Arena are.
func Values[T any](bytes []byte) []T {
	var v T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(bytes))), len(bytes)/int(unsafe.Sizeof(v)))
}
