package kernel

import (
	"math"
	"unsafe"

	"mor/internal/memory"
)

// PageFormat is how the values of keys and values are kept in pages.
type PageFormat string

// The formats of pages. A row is converted when it is put, and computed with in fp32.
const (
	PageFP32 PageFormat = "fp32"
	PageBF16 PageFormat = "bf16"
	PageInt8 PageFormat = "int8" // each head's values of an entry have one scale
)

// PageFormats lists them.
func PageFormats() []PageFormat { return []PageFormat{PageFP32, PageBF16, PageInt8} }

// Pages is memory for keys and values: pages of Size entries of k heads of e values.
type Pages struct {
	Size   int
	Format PageFormat

	level Level
	heads Heads
	f     [2][]float32 // keys, values: [pages, size, k·e] in one of the formats
	h     [2][]uint16
	i     [2][]int8
	scale [2][]float32 // int8: [pages, size, k]

	regions []*memory.Region // that they are of
}

// NewPages returns n pages. Memory that was never written to costs nothing.
func (c *CPU) NewPages(n, size int, f PageFormat, a Heads) *Pages {
	p := &Pages{Size: size, Format: f, level: c.level, heads: a}
	values := n * size * a.K * a.E
	for x := range 2 {
		switch f {
		case PageFP32:
			p.f[x] = pageValuesOf[float32](p, values)
		case PageBF16:
			p.h[x] = pageValuesOf[uint16](p, values)
		case PageInt8:
			p.i[x], p.scale[x] = pageValuesOf[int8](p, values), pageValuesOf[float32](p, values/a.E)
		}
	}
	return p
}

// pageValuesOf returns n values in a region of p's.
func pageValuesOf[T any](p *Pages, n int) []T {
	var v T
	r := memory.NewRegion(n * int(unsafe.Sizeof(v)))
	p.regions = append(p.regions, r)
	return memory.Values[T](r.Bytes())
}

// PageBytes is the size of a page.
func PageBytes(size int, f PageFormat, a Heads) int64 {
	entry := map[PageFormat]int{PageFP32: 4 * a.E, PageBF16: 2 * a.E, PageInt8: a.E + 4}[f]
	return int64(2 * size * a.K * entry)
}

// Put writes the key k[k·e] and the value v[k·e] of an entry of a page.
func (p *Pages) Put(page int32, entry int, k, v []float32) {
	width := p.heads.K * p.heads.E
	at := (int(page)*p.Size + entry) * width
	for x, src := range [2][]float32{k[:width], v[:width]} {
		switch p.Format {
		case PageFP32:
			copy(p.f[x][at:at+width], src)
		case PageBF16:
			p.level.roundRow(p.h[x][at:at+width], src)
		case PageInt8:
			for g := range p.heads.K {
				p.scale[x][at/p.heads.E+g] = quantizeHead(p.i[x][at+g*p.heads.E:], src[g*p.heads.E:(g+1)*p.heads.E])
			}
		}
	}
}

// quantizeHead writes src/scale, rounded to the nearest, and returns the scale.
func quantizeHead(dst []int8, src []float32) float32 {
	top := float32(0)
	for _, v := range src {
		top = max(top, float32(math.Abs(float64(v))))
	}
	if top == 0 {
		clear(dst[:len(src)])
		return 0
	}
	inverse := 127 / top
	for j, v := range src {
		dst[j] = int8(math.RoundToEven(float64(v * inverse)))
	}
	return top / 127
}

// Copy copies the first n entries of a page to another.
func (p *Pages) Copy(to, from int32, n int) { p.CopyEntries(to, 0, from, 0, n) }

// CopyEntries copies n entries of a page, from the given one on, to another page.
func (p *Pages) CopyEntries(to int32, toEntry int, from int32, fromEntry, n int) {
	width := p.heads.K * p.heads.E
	a, b, m := (int(to)*p.Size+toEntry)*width, (int(from)*p.Size+fromEntry)*width, n*width
	for x := range 2 {
		switch p.Format {
		case PageFP32:
			copy(p.f[x][a:a+m], p.f[x][b:b+m])
		case PageBF16:
			copy(p.h[x][a:a+m], p.h[x][b:b+m])
		case PageInt8:
			copy(p.i[x][a:a+m], p.i[x][b:b+m])
			copy(p.scale[x][a/p.heads.E:(a+m)/p.heads.E], p.scale[x][b/p.heads.E:(b+m)/p.heads.E])
		}
	}
}

// fetch has the memory bring the kv heads [g, gEnd) of n entries of a page.
func (p *Pages) fetch(page int32, entry, n, g, gEnd int, prefetch func(p *float32, rows, stride, bytes int)) {
	e, width := p.heads.E, p.heads.K*p.heads.E
	at, values := (int(page)*p.Size+entry)*width+g*e, (gEnd-g)*e
	for x := range 2 {
		switch p.Format {
		case PageFP32:
			prefetch(&p.f[x][at], n, 4*width, 4*values)
		case PageBF16:
			prefetch((*float32)(unsafe.Pointer(&p.h[x][at])), n, 2*width, 2*values)
		case PageInt8:
			prefetch((*float32)(unsafe.Pointer(&p.i[x][at])), n, width, values)
		}
	}
}

// keys and values are the x of tile.
const (
	pageKeys   = 0
	pageValues = 1
)

// tile returns n entries of a page of the kv head g as rows that lie stride apart: the page itself, or converted to scratch.
func (p *Pages) tile(scratch []float32, x int, page int32, entry, n, g int) (rows []float32, stride int) {
	e, width := p.heads.E, p.heads.K*p.heads.E
	at := (int(page)*p.Size+entry)*width + g*e
	switch p.Format {
	case PageFP32:
		return p.f[x][at:], width
	case PageBF16:
		p.level.widenRows(scratch, p.h[x][at:], n, width, e)
	default:
		p.level.expandRows(scratch, p.i[x][at:], p.scale[x][at/e:], n, width, p.heads.K, e)
	}
	return scratch, e
}
