// Package memory makes large slices that live on huge pages where the system has them, so that sweeps and strided reads miss few page tables.
package memory

import "unsafe"

// hugePage is the size from which a slice is worth a huge page, and the alignment of one.
const hugePage = 2 << 20

// Make returns a slice of n zeros, like make, and asks the system to back it by huge pages where it is large enough to have any. T holds no pointers.
func Make[T any](n int) []T {
	s := make([]T, n)
	if n > 0 {
		advise(unsafe.Pointer(&s[0]), uintptr(n)*unsafe.Sizeof(s[0]))
	}
	return s
}
