package model

import (
	"unsafe"

	"mor/internal/memory"
)

// arena hands out slices that live until the next reset or release. It grows while shapes are new and then allocates nothing.
type arena[T any] struct {
	chunks [][]T
	chunk  int   // the one in use
	used   int   // values of it
	most   []int // by chunk: values that have been in use at once

	least   int              // values of a chunk, 0: arenaChunk
	outside bool             // chunks lie in regions, which take no memory where they are not touched; slices then live as long as the arena
	regions []*memory.Region // of the chunks
}

// arenaChunk is in values. Chunks of most arenas are whole multiples of it, so that a batch that is a little larger than the last one still fits; memory
// that was never touched costs nothing.
const arenaChunk = 1 << 24

// mark is a place to release back to.
type mark struct{ chunk, used int }

func (a *arena[T]) mark() mark     { return mark{a.chunk, a.used} }
func (a *arena[T]) release(m mark) { a.chunk, a.used = m.chunk, m.used }

// pages is the whole huge pages between two marks in one chunk.
func (a *arena[T]) pages(from, to mark) []T {
	if from.chunk != to.chunk {
		return nil
	}
	return memory.Whole(a.chunks[from.chunk][from.used:to.used])
}

// reset makes all memory free again.
func (a *arena[T]) reset() { a.chunk, a.used = 0, 0 }

// get returns n values with whatever content they have.
func (a *arena[T]) get(n int) []T {
	padded := (n + 15) &^ 15 // whole cache lines
	for a.chunk < len(a.chunks) && a.used+padded > len(a.chunks[a.chunk]) {
		a.chunk, a.used = a.chunk+1, 0
	}
	if a.chunk == len(a.chunks) {
		a.grow(padded)
	}
	s := a.chunks[a.chunk][a.used : a.used+n : a.used+n]
	a.used += padded
	a.most[a.chunk] = max(a.most[a.chunk], a.used)
	return s
}

// grow adds a chunk for n values. One for all that will be asked for loses nothing at the ends of chunks.
func (a *arena[T]) grow(n int) {
	least := arenaChunk
	if a.least > 0 {
		least = a.least
	}
	n = (n + least - 1) / least * least
	a.most = append(a.most, 0)
	if !a.outside {
		a.chunks = append(a.chunks, memory.Make[T](n))
		return
	}
	var v T
	r := memory.NewRegion(n * int(unsafe.Sizeof(v)))
	a.regions = append(a.regions, r)
	a.chunks = append(a.chunks, memory.Values[T](r.Bytes()))
}

// touched is how many values were ever handed out, each once.
func (a *arena[T]) touched() int {
	n := 0
	for _, m := range a.most {
		n += m
	}
	return n
}
