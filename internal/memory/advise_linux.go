package memory

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// advise asks for huge pages under the whole ones of n bytes at p. A system that refuses gives small ones, which are as good but slower.
func advise(p unsafe.Pointer, n uintptr) {
	skip := -uintptr(p) % hugePage
	if n < skip+hugePage {
		return
	}
	whole := (n - skip) / hugePage * hugePage
	_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Add(p, skip)), whole), unix.MADV_HUGEPAGE)
}
