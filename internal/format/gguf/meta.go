package gguf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// The types of metadata values, by GGUF's numbers.
const (
	kindUint8 = iota
	kindInt8
	kindUint16
	kindInt16
	kindUint32
	kindInt32
	kindFloat32
	kindBool
	kindString
	kindArray
	kindUint64
	kindInt64
	kindFloat64
)

// Meta is a file's metadata.
type Meta struct {
	values map[string]any // int64, uint64, float64, bool, string; []string, []float64, []int64, []any
	keys   []string
}

// Keys lists the keys in the order of the file.
func (m *Meta) Keys() []string { return m.keys }

// Has tells whether a key is there.
func (m *Meta) Has(key string) bool { _, ok := m.values[key]; return ok }

// Value is the value of a key as it was read, nil where there is none.
func (m *Meta) Value(key string) any { return m.values[key] }

// String returns a text, or fallback where the key is absent.
func (m *Meta) String(key, fallback string) (string, error) {
	return get(m, key, fallback, "a text")
}

// Bool returns a truth value, or fallback where the key is absent.
func (m *Meta) Bool(key string, fallback bool) (bool, error) {
	return get(m, key, fallback, "a truth value")
}

// Strings returns a list of texts, nil where the key is absent.
func (m *Meta) Strings(key string) ([]string, error) {
	return get[[]string](m, key, nil, "a list of texts")
}

// Ints returns a list of integers, nil where the key is absent.
func (m *Meta) Ints(key string) ([]int64, error) {
	return get[[]int64](m, key, nil, "a list of integers")
}

// Floats returns a list of numbers, nil where the key is absent.
func (m *Meta) Floats(key string) ([]float64, error) {
	return get[[]float64](m, key, nil, "a list of numbers")
}

// Float returns a number, or fallback where the key is absent.
func (m *Meta) Float(key string, fallback float64) (float64, error) {
	return get(m, key, fallback, "a number")
}

// Int returns an integer that fits 31 bits, or fallback where the key is absent.
func (m *Meta) Int(key string, fallback int) (int, error) {
	v, err := get(m, key, int64(fallback), "an integer")
	if err != nil {
		return 0, err
	}
	if v != int64(fallback) && (v < math.MinInt32 || v > math.MaxInt32) {
		return 0, fmt.Errorf("metadata %s: %d: expected a number of at most 31 bits", key, v)
	}
	return int(v), nil
}

func get[T any](m *Meta, key string, fallback T, want string) (T, error) {
	v, ok := m.values[key]
	if !ok {
		return fallback, nil
	}
	t, ok := v.(T)
	if !ok {
		return fallback, fmt.Errorf("metadata %s: found %.40v: expected %s", key, v, want)
	}
	return t, nil
}

// reader reads little-endian values, and refuses counts that what is left of the file cannot hold. The first error stays.
type reader struct {
	r    *bufio.Reader
	at   int64
	size int64
	err  error
	buf  [8]byte
}

func newReader(f io.ReaderAt, size int64) *reader {
	return &reader{r: bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 1<<16), size: size}
}

func (r *reader) bytes(b []byte) {
	if r.err != nil {
		clear(b)
		return
	}
	n, err := io.ReadFull(r.r, b)
	if r.at += int64(n); err != nil {
		clear(b)
		r.err = fmt.Errorf("the file ends at byte %d", r.at)
	}
}

func (r *reader) u32() uint32 { r.bytes(r.buf[:4]); return binary.LittleEndian.Uint32(r.buf[:]) }
func (r *reader) u64() uint64 { r.bytes(r.buf[:8]); return binary.LittleEndian.Uint64(r.buf[:]) }

// count reads how many items follow, each of at least least bytes.
func (r *reader) count(least int64) int {
	n := r.u64()
	if r.err == nil && n > uint64((r.size-r.at)/least) {
		r.err = fmt.Errorf("a count of %d at byte %d: only %d bytes follow", n, r.at-8, r.size-r.at)
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

func (r *reader) str() string {
	b := make([]byte, r.count(1))
	r.bytes(b)
	return string(b)
}

// value reads a value: integers as int64, numbers as float64.
func (r *reader) value(kind uint32, depth int) any {
	switch kind {
	case kindString:
		return r.str()
	case kindBool:
		r.bytes(r.buf[:1])
		return r.buf[0] != 0
	case kindFloat32:
		return float64(math.Float32frombits(r.u32()))
	case kindFloat64:
		return math.Float64frombits(r.u64())
	case kindArray:
		return r.array(depth)
	}
	return r.integer(kind)
}

func (r *reader) integer(kind uint32) int64 {
	switch kind {
	case kindUint8, kindInt8:
		if r.bytes(r.buf[:1]); kind == kindInt8 {
			return int64(int8(r.buf[0]))
		}
		return int64(r.buf[0])
	case kindUint16, kindInt16:
		r.bytes(r.buf[:2])
		if v := binary.LittleEndian.Uint16(r.buf[:]); kind == kindUint16 {
			return int64(v)
		} else {
			return int64(int16(v))
		}
	case kindUint32:
		return int64(r.u32())
	case kindInt32:
		return int64(int32(r.u32()))
	case kindInt64, kindUint64:
		v := r.u64()
		if kind == kindUint64 && v > math.MaxInt64 && r.err == nil {
			r.err = fmt.Errorf("the value %d is larger than 63 bits", v)
		}
		return int64(v)
	}
	if r.err == nil {
		r.err = fmt.Errorf("a value of kind %d: expected 0 to 12", kind)
	}
	return 0
}

// array reads a list: of texts as []string, of integers as []int64, of numbers as []float64, otherwise as []any.
func (r *reader) array(depth int) any {
	kind := r.u32()
	if depth == maxNesting && r.err == nil {
		r.err = errors.New("lists inside lists inside lists")
	}
	least := map[uint32]int64{kindUint16: 2, kindInt16: 2, kindUint32: 4, kindInt32: 4, kindFloat32: 4, kindString: 8, kindArray: 12,
		kindUint64: 8, kindInt64: 8, kindFloat64: 8}[kind]
	n := r.count(max(1, least))
	if n > maxItems && r.err == nil {
		r.err = fmt.Errorf("a list of %d items: expected at most %d", n, maxItems)
	}
	switch kind {
	case kindString:
		return list(n, func() string { return r.str() }, r)
	case kindFloat32, kindFloat64:
		return list(n, func() float64 { return r.value(kind, depth).(float64) }, r)
	case kindBool, kindArray:
		return list(n, func() any { return r.value(kind, depth+1) }, r)
	}
	return list(n, func() int64 { return r.integer(kind) }, r)
}

// maxItems is far beyond every vocabulary; items take more room than in the file.
const maxItems = 1 << 24

// list reads n items, and stops where the file does.
func list[T any](n int, item func() T, r *reader) []T {
	out := make([]T, 0, min(n, 1<<16))
	for range n {
		if r.err != nil {
			break
		}
		out = append(out, item())
	}
	return out
}
