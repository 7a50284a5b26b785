package memory

import "unsafe"

const (
	chunkSize = 2 * hugePage
	cacheLine = 64
)

// Arena makes slices that lie one behind the other on huge pages. What many of them are swept in order runs over few pages, and what is fetched ahead of
// one is the next one's. Its memory is free when none of its slices is in use.
type Arena struct{ rest []byte }

// Reserve makes room in one piece for slices of n bytes together, each counted in whole cache lines.
func (a *Arena) Reserve(n int) { a.rest = aligned(n) }

// Bytes returns n zeros that begin at a cache line.
func (a *Arena) Bytes(n int) []byte {
	padded := (n + cacheLine - 1) / cacheLine * cacheLine
	if padded > len(a.rest) {
		if padded >= chunkSize/2 {
			return aligned(n)
		}
		a.rest = aligned(chunkSize)
	}
	out := a.rest[:n:n]
	a.rest = a.rest[padded:]
	return out
}

// aligned returns n zeros of their own that begin at a huge page if they have one, otherwise at a cache line.
func aligned(n int) []byte {
	at := cacheLine
	if n >= hugePage {
		at = hugePage
	}
	raw := Make[byte](n + at)
	skip := int(-uintptr(unsafe.Pointer(&raw[0])) % uintptr(at))
	return raw[skip : skip+n : skip+n]
}
