package memory

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// advise asks for huge pages under the whole ones of n bytes at p. A system that refuses gives small ones, which are as good but slower.
func advise(p unsafe.Pointer, n uintptr) {
	if at, whole := inside(p, n); whole > 0 {
		_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Add(p, at)), whole), unix.MADV_HUGEPAGE)
	}
}

// discard gives n bytes of whole pages at p back, which read as zeros then.
func discard(p unsafe.Pointer, n uintptr) bool {
	return unix.Madvise(unsafe.Slice((*byte)(p), n), unix.MADV_DONTNEED) == nil
}

// move puts the huge page at src in the place of the one at dst, and leaves an empty one at src.
func move(dst, src unsafe.Pointer) bool {
	const flags = unix.MREMAP_MAYMOVE | unix.MREMAP_FIXED | unix.MREMAP_DONTUNMAP
	at, _, failed := unix.Syscall6(unix.SYS_MREMAP, uintptr(src), hugePage, hugePage, flags, uintptr(dst), 0)
	return failed == 0 && at == uintptr(dst)
}
