package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"mor/internal/half"
)

// chunk is how many bytes are read and converted at a time; a multiple of every element size.
const chunk = 1 << 18

// File gives access to the tensors of one file. It reads with ReadAt rather than through a memory map: the file may be
// cut off by someone else while it is open, which here is an error and there a fatal signal. Its methods may be called
// concurrently.
type File struct {
	name   string
	r      io.ReaderAt
	close  func() error
	start  int64 // where the data begin
	header *header
	index  map[string]int // into header.tensors
}

// Open reads and checks the header of the file at path. Close ends it.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	s, err := New(path, f, info.Size())
	if err != nil {
		f.Close()
		return nil, err
	}
	s.close = f.Close
	return s, nil
}

// New reads and checks the header of size bytes in r; name stands for them in errors.
func New(name string, r io.ReaderAt, size int64) (*File, error) {
	f := &File{name: name, r: r, close: func() error { return nil }}
	if size < 8 {
		return nil, fmt.Errorf("%s: %d bytes, expected a safetensors file of at least 8", name, size)
	}
	var length [8]byte
	if err := f.readAt(length[:], 0); err != nil {
		return nil, fmt.Errorf("%s: header length: %w", name, err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if limit := min(uint64(size)-8, maxHeader); n > limit {
		return nil, fmt.Errorf("%s: header length is %d, expected at most %d; not a safetensors file, or a truncated one", name, n, limit)
	}
	text := make([]byte, n)
	if err := f.readAt(text, 8); err != nil {
		return nil, fmt.Errorf("%s: header: %w", name, err)
	}
	f.start = 8 + int64(n)
	var err error
	if f.header, err = parseHeader(text, size-f.start); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f.index = make(map[string]int, len(f.header.tensors))
	for i, t := range f.header.tensors {
		f.index[t.Name] = i
	}
	return f, nil
}

// Close closes the file that Open opened.
func (f *File) Close() error { return f.close() }

// Names lists the tensors in the order of their bytes.
func (f *File) Names() []string {
	names := make([]string, len(f.header.tensors))
	for i, t := range f.header.tensors {
		names[i] = t.Name
	}
	return names
}

// Info describes the tensor of that name.
func (f *File) Info(name string) (Tensor, bool) {
	i, ok := f.index[name]
	if !ok {
		return Tensor{}, false
	}
	return f.header.tensors[i], true
}

// Metadata is the file's free-form table, nil where it has none. Treat it as read-only.
func (f *File) Metadata() map[string]string { return f.header.metadata }

// Raw returns the bytes of a tensor, little-endian as stored.
func (f *File) Raw(name string) ([]byte, error) {
	t, ok := f.Info(name)
	if !ok {
		return nil, f.errorf(name, "not in the file")
	}
	data := make([]byte, t.end-t.begin)
	if err := f.readAt(data, f.start+t.begin); err != nil {
		return nil, f.errorf(name, "%w", err)
	}
	return data, nil
}

// RawAt fills p with bytes of a tensor, from its byte off on.
func (f *File) RawAt(p []byte, name string, off int64) error {
	t, ok := f.Info(name)
	if !ok {
		return f.errorf(name, "not in the file")
	}
	if off < 0 || off+int64(len(p)) > t.end-t.begin {
		return f.errorf(name, "%s has %d bytes, %d at byte %d were asked for", t, t.end-t.begin, len(p), off)
	}
	if err := f.readAt(p, f.start+t.begin+off); err != nil {
		return f.errorf(name, "%w", err)
	}
	return nil
}

// Extent is where the bytes of a tensor lie in the file; both are 0 where there is none of that name.
func (f *File) Extent(name string) (begin, end int64) {
	t, ok := f.Info(name)
	if !ok {
		return 0, 0
	}
	return f.start + t.begin, f.start + t.end
}

// Float32s reads a tensor of type F32, F16, BF16 or F64 into dst, which must have exactly its number of elements. A finite
// F64 value beyond the range of float32 is an error.
func (f *File) Float32s(dst []float32, name string) error {
	return read(f, dst, name, "F32, F16, BF16 or F64", floatDecoder)
}

// Int32s reads a tensor of an integer type or BOOL into dst, which must have exactly its number of elements. A value
// beyond the range of int32 is an error.
func (f *File) Int32s(dst []int32, name string) error {
	return read(f, dst, name, "an integer type", intDecoder)
}

// decoder converts len(dst) stored elements and returns the index of the first that does not fit, or -1.
type decoder[E any] func(dst []E, src []byte) int

// read converts a tensor chunk by chunk.
func read[E any](f *File, dst []E, name, types string, decoderFor func(DType) decoder[E]) error {
	t, ok := f.Info(name)
	if !ok {
		return f.errorf(name, "not in the file")
	}
	decode := decoderFor(t.DType)
	if decode == nil {
		return f.errorf(name, "dtype is %s, expected %s", t.DType, types)
	}
	if t.Len() != len(dst) {
		return f.errorf(name, "%s has %d elements, expected %d", t, t.Len(), len(dst))
	}
	size := t.DType.Size()
	buf := make([]byte, min(chunk, t.end-t.begin))
	for at := 0; at < len(dst); {
		n := min(len(buf)/size, len(dst)-at)
		if err := f.readAt(buf[:n*size], f.start+t.begin+int64(at*size)); err != nil {
			return f.errorf(name, "%w", err)
		}
		if bad := decode(dst[at:at+n], buf[:n*size]); bad >= 0 {
			return f.errorf(name, "%s element %d does not fit a %T", t.DType, at+bad, dst[0])
		}
		at += n
	}
	return nil
}

func floatDecoder(d DType) decoder[float32] {
	switch d {
	case F32:
		return func(dst []float32, src []byte) int {
			for i := range dst {
				dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
			}
			return -1
		}
	case BF16:
		return func(dst []float32, src []byte) int {
			for i := range dst {
				dst[i] = half.BF16(binary.LittleEndian.Uint16(src[2*i:]))
			}
			return -1
		}
	case F16:
		return func(dst []float32, src []byte) int {
			for i := range dst {
				dst[i] = half.F16(binary.LittleEndian.Uint16(src[2*i:]))
			}
			return -1
		}
	case F64:
		return func(dst []float32, src []byte) int {
			for i := range dst {
				x := math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:]))
				dst[i] = float32(x)
				if math.IsInf(float64(dst[i]), 0) && !math.IsInf(x, 0) {
					return i
				}
			}
			return -1
		}
	}
	return nil
}

func intDecoder(d DType) decoder[int32] {
	var at func(src []byte, i int) int64
	switch d {
	case Bool, U8:
		at = func(src []byte, i int) int64 { return int64(src[i]) }
	case I8:
		at = func(src []byte, i int) int64 { return int64(int8(src[i])) }
	case U16:
		at = func(src []byte, i int) int64 { return int64(binary.LittleEndian.Uint16(src[2*i:])) }
	case I16:
		at = func(src []byte, i int) int64 { return int64(int16(binary.LittleEndian.Uint16(src[2*i:]))) }
	case U32:
		at = func(src []byte, i int) int64 { return int64(binary.LittleEndian.Uint32(src[4*i:])) }
	case I32:
		at = func(src []byte, i int) int64 { return int64(int32(binary.LittleEndian.Uint32(src[4*i:]))) }
	case U64: // clamped where int64 would turn negative; far beyond int32 either way
		at = func(src []byte, i int) int64 { return int64(min(binary.LittleEndian.Uint64(src[8*i:]), math.MaxInt64)) }
	case I64:
		at = func(src []byte, i int) int64 { return int64(binary.LittleEndian.Uint64(src[8*i:])) }
	default:
		return nil
	}
	return func(dst []int32, src []byte) int {
		for i := range dst {
			x := at(src, i)
			if int64(int32(x)) != x {
				return i
			}
			dst[i] = int32(x)
		}
		return -1
	}
}

// readAt fills p from byte off of the file.
func (f *File) readAt(p []byte, off int64) error {
	n, err := f.r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("file ends at byte %d, expected at least %d; it was cut off while open", off+int64(n), off+int64(len(p)))
	}
	return err
}

func (f *File) errorf(tensor, format string, args ...any) error {
	return fmt.Errorf("%s: tensor %q: %w", f.name, tensor, fmt.Errorf(format, args...))
}
