//go:build !linux

package memory

import "unsafe"

func advise(unsafe.Pointer, uintptr) {}

// discard is left out on systems where pages that are given back need not read as zeros.
func discard(unsafe.Pointer, uintptr) bool { return false }

// move is left out on systems that cannot leave an empty page behind.
func move(dst, src unsafe.Pointer) bool { return false }
