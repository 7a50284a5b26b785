package memory

const (
	chunkSize = 2 * hugePage
	cacheLine = 64
)

// Arena makes slices that lie one behind the other in regions. What many of them are swept in order runs over few pages, and what is fetched ahead of one is
// the next one's.
type Arena struct {
	region *Region
	rest   []byte
}

// Reserve makes room in one piece for slices of n bytes together, each counted in whole cache lines.
func (a *Arena) Reserve(n int) {
	a.region = NewRegion(n)
	a.rest = a.region.Bytes()
}

// Bytes returns n zeros that begin at a cache line, and the region that they are of.
func (a *Arena) Bytes(n int) ([]byte, *Region) {
	padded := (n + cacheLine - 1) / cacheLine * cacheLine
	if padded > len(a.rest) {
		if padded >= chunkSize/2 {
			r := NewRegion(n)
			return r.Bytes(), r
		}
		a.Reserve(chunkSize)
	}
	out := a.rest[:n:n]
	a.rest = a.rest[padded:]
	return out, a.region
}
