// Package memory makes large slices that live on huge pages where the system has them, so that sweeps and strided reads miss few page tables.
package memory

import "unsafe"

// hugePage is the size from which a slice is worth a huge page, and the alignment of one.
const hugePage = 2 << 20

// Make returns a slice of n zeros, like make, and asks the system to back it by huge pages where it is large enough to have any. Whole ones take no memory
// until they are written to, also where the slice lies on memory that was used before, which make has cleared. T holds no pointers.
func Make[T any](n int) []T {
	s := make([]T, n)
	Release(s)
	if n > 0 {
		advise(unsafe.Pointer(&s[0]), uintptr(n)*unsafe.Sizeof(s[0]))
	}
	return s
}

// Zero makes s all zeros. Whole huge pages of it go back to the system, where it takes them, and are no longer resident until they are written to.
func Zero[T any](s []T) {
	if len(s) == 0 {
		return
	}
	size := uintptr(len(s)) * unsafe.Sizeof(s[0])
	at, whole := inside(unsafe.Pointer(&s[0]), size)
	if whole == 0 || !discard(unsafe.Add(unsafe.Pointer(&s[0]), at), whole) {
		clear(s)
		return
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), size)
	clear(b[:at])
	clear(b[at+whole:])
}

// Release gives the whole huge pages of s back to the system, where it takes them. The values of s are lost.
func Release[T any](s []T) {
	if len(s) == 0 {
		return
	}
	if at, whole := inside(unsafe.Pointer(&s[0]), uintptr(len(s))*unsafe.Sizeof(s[0])); whole > 0 {
		discard(unsafe.Add(unsafe.Pointer(&s[0]), at), whole)
	}
}

// PageLen is how many values of T a huge page holds.
func PageLen[T any]() int {
	var v T
	return hugePage / int(unsafe.Sizeof(v))
}

// Whole is the part of s that consists of whole huge pages.
func Whole[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	size := unsafe.Sizeof(s[0])
	at, whole := inside(unsafe.Pointer(&s[0]), uintptr(len(s))*size)
	if at%size != 0 {
		return nil
	}
	return s[at/size : (at+whole)/size]
}

// Move puts a huge page, values and all, in the place of another: memory changes its owner without a way through the system, which would clear it and may
// have to fetch it from a host. The values of dst are lost; those of src are zeros, and it takes no memory until it is written to. It is false where the
// system cannot, and nothing has changed then. Both are Whole and of PageLen values.
func Move[T any](dst, src []T) bool {
	if len(dst) != PageLen[T]() || len(src) != len(dst) {
		return false
	}
	return move(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]))
}

// inside locates the whole huge pages in n bytes at p.
func inside(p unsafe.Pointer, n uintptr) (at, whole uintptr) {
	at = -uintptr(p) % hugePage
	if n < at+hugePage {
		return 0, 0
	}
	return at, (n - at) / hugePage * hugePage
}

// Fits is false where n more bytes are known to be more than the process may take.
func Fits(n int64) bool {
	free, known := Available()
	return !known || n <= free
}
