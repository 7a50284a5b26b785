package arrow

import (
	"encoding/binary"
	"errors"
	"math"
)

// errMetadata: an offset or a length of the metadata, a FlatBuffer, leads out of it.
var errMetadata = errors.New("the metadata points outside itself")

// flatBuffer is a FlatBuffer whose offsets nobody has checked. After the first error every read gives zero.
type flatBuffer struct {
	b   []byte
	err error
}

// table is a table of a FlatBuffer; the zero one has no fields.
type table struct {
	f     *flatBuffer
	at    int
	slots []byte // where each field lies behind at, two bytes a field, 0: absent
}

// vector is a vector of a FlatBuffer.
type vector struct {
	f     *flatBuffer
	at    int // of the first element
	count int
}

// in reports whether n bytes lie at at.
func (f *flatBuffer) in(at, n int) bool {
	if f.err == nil && (at < 0 || n < 0 || at > len(f.b) || n > len(f.b)-at) {
		f.err = errMetadata
	}
	return f.err == nil
}

func (f *flatBuffer) u32(at int) uint32 {
	if !f.in(at, 4) {
		return 0
	}
	return binary.LittleEndian.Uint32(f.b[at:])
}

func (f *flatBuffer) i64(at int) int64 {
	if !f.in(at, 8) {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(f.b[at:]))
}

// follow returns where the offset at at leads: always forward.
func (f *flatBuffer) follow(at int) int {
	offset := f.u32(at)
	if offset == 0 || offset > math.MaxInt32 {
		f.in(-1, 0)
		return 0
	}
	return at + int(offset)
}

// root returns the table that the buffer begins with.
func (f *flatBuffer) root() table { return f.table(f.follow(0)) }

func (f *flatBuffer) table(at int) table {
	back := int32(f.u32(at))
	slots := at - int(back)
	if !f.in(slots, 4) {
		return table{f: f}
	}
	size := int(binary.LittleEndian.Uint16(f.b[slots:]))
	if size < 4 || !f.in(slots, size) {
		f.in(-1, 0)
		return table{f: f}
	}
	return table{f, at, f.b[slots+4 : slots+size]}
}

// field returns where a field lies, 0 where it is absent.
func (t table) field(id int) int {
	if 2*id+2 > len(t.slots) {
		return 0
	}
	offset := int(binary.LittleEndian.Uint16(t.slots[2*id:]))
	if offset == 0 {
		return 0
	}
	return t.at + offset
}

// byte, like the readers below, returns what a field holds, or what stands for it where it is absent.
func (t table) byte(id int) byte {
	at := t.field(id)
	if at == 0 || !t.f.in(at, 1) {
		return 0
	}
	return t.f.b[at]
}

func (t table) i16(id int) int {
	at := t.field(id)
	if at == 0 || !t.f.in(at, 2) {
		return 0
	}
	return int(int16(binary.LittleEndian.Uint16(t.f.b[at:])))
}

func (t table) i32(id int) int {
	at := t.field(id)
	if at == 0 {
		return 0
	}
	return int(int32(t.f.u32(at)))
}

func (t table) i64(id int) int64 {
	at := t.field(id)
	if at == 0 {
		return 0
	}
	return t.f.i64(at)
}

// table returns the table that a field points to and whether it is there.
func (t table) table(id int) (table, bool) {
	at := t.field(id)
	if at == 0 {
		return table{f: t.f}, false
	}
	sub := t.f.table(t.f.follow(at))
	return sub, t.f.err == nil
}

// vector returns a vector whose elements have size bytes each.
func (t table) vector(id, size int) vector {
	at := t.field(id)
	if at == 0 {
		return vector{f: t.f}
	}
	at = t.f.follow(at)
	count := int64(t.f.u32(at))
	if t.f.err != nil || count > int64(len(t.f.b)) || !t.f.in(at+4, int(count)*size) {
		t.f.in(-1, 0)
		return vector{f: t.f}
	}
	return vector{t.f, at + 4, int(count)}
}

func (t table) string(id int) string {
	v := t.vector(id, 1)
	return string(v.f.b[v.at : v.at+v.count])
}

// table returns element i of a vector of offsets to tables.
func (v vector) table(i int) table { return v.f.table(v.f.follow(v.at + 4*i)) }
