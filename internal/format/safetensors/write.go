package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"mor/internal/half"
)

// Source is a tensor to be written. Data writes its elements, little-endian, exactly as many bytes as type and shape
// need; FromFloat32s, FromInt32s and FromBytes make it from slices.
type Source struct {
	Name  string
	DType DType
	Shape []int
	Data  func(w io.Writer) error
}

// FromFloat32s stores data as F32, or rounded to nearest even as F16 or BF16; a finite value beyond the range of the type
// is an error when it is written.
func FromFloat32s(name string, d DType, shape []int, data []float32) Source {
	return Source{name, d, shape, func(w io.Writer) error {
		switch d {
		case F32:
			return write(w, data, 4, encodeF32)
		case F16:
			return write(w, data, 2, encodeF16)
		case BF16:
			return write(w, data, 2, encodeBF16)
		}
		return fmt.Errorf("dtype is %s, expected F32, F16 or BF16 for float32 data", d)
	}}
}

// FromInt32s stores data as I32.
func FromInt32s(name string, shape []int, data []int32) Source {
	return Source{name, I32, shape, func(w io.Writer) error { return write(w, data, 4, encodeI32) }}
}

// FromBytes stores data, which are little-endian elements of the given type, as they are.
func FromBytes(name string, d DType, shape []int, data []byte) Source {
	return Source{name, d, shape, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}}
}

// Write writes a file with the tensors in the given order. The same arguments give the same bytes. Metadata may be nil.
// What was written before an error is no valid file.
func Write(w io.Writer, tensors []Source, metadata map[string]string) error {
	head, sizes, err := encodeHeader(tensors, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return fmt.Errorf("safetensors header: %w", err)
	}
	for i, s := range tensors {
		c := counter{w: w}
		if err := s.Data(&c); err != nil {
			return fmt.Errorf("tensor %q: %w", s.Name, err)
		}
		if c.n != sizes[i] {
			return fmt.Errorf("tensor %q: %d bytes of data, expected %d for %s %v", s.Name, c.n, sizes[i], s.DType, s.Shape)
		}
	}
	return nil
}

// encodeHeader makes length and JSON, padded with spaces so that the data begin at a multiple of 8, and the tensors' sizes.
func encodeHeader(tensors []Source, metadata map[string]string) ([]byte, []int64, error) {
	for k, v := range metadata {
		if !utf8.ValidString(k + v) {
			return nil, nil, fmt.Errorf("safetensors metadata: key %q: not valid UTF-8", k)
		}
	}
	b := bytes.NewBuffer(make([]byte, 8))
	b.WriteByte('{')
	if len(metadata) > 0 {
		b.WriteString(quote(metadataKey) + ":{")
		for i, k := range slices.Sorted(maps.Keys(metadata)) {
			comma(b, i)
			b.WriteString(quote(k) + ":" + quote(metadata[k]))
		}
		b.WriteString("}")
		comma(b, len(tensors))
	}
	sizes := make([]int64, len(tensors))
	seen := map[string]bool{metadataKey: true}
	at := int64(0)
	for i, s := range tensors {
		size, err := byteSize(s.DType, s.Shape)
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("tensor %q: %w", s.Name, err)
		case !utf8.ValidString(s.Name):
			return nil, nil, fmt.Errorf("tensor %q: the name is not valid UTF-8", s.Name)
		case seen[s.Name]:
			return nil, nil, fmt.Errorf("tensor %q: the name is taken", s.Name)
		case len(s.Shape) > maxRank:
			return nil, nil, fmt.Errorf("tensor %q: %d dimensions, expected at most %d", s.Name, len(s.Shape), maxRank)
		case size > math.MaxInt64-at:
			return nil, nil, fmt.Errorf("tensor %q: the file would be larger than any can be", s.Name)
		}
		seen[s.Name] = true
		comma(b, i)
		fmt.Fprintf(b, `%s:{"dtype":%s,"shape":[`, quote(s.Name), quote(string(s.DType)))
		for j, dim := range s.Shape {
			comma(b, j)
			b.WriteString(strconv.Itoa(dim))
		}
		fmt.Fprintf(b, `],"data_offsets":[%d,%d]}`, at, at+size)
		sizes[i] = size
		at += size
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	head := b.Bytes()
	if len(head)-8 > maxHeader {
		return nil, nil, fmt.Errorf("safetensors header: %d bytes, expected at most %d", len(head)-8, maxHeader)
	}
	binary.LittleEndian.PutUint64(head, uint64(len(head)-8))
	return head, sizes, nil
}

func comma(b *bytes.Buffer, i int) {
	if i > 0 {
		b.WriteByte(',')
	}
}

// quote makes a JSON string; encoding/json never fails on a string.
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s)
	return string(bytes.TrimSpace(b.Bytes()))
}

// write converts and writes elements of size bytes chunk by chunk. The encoder returns the index of the first element
// that does not fit the type, or -1.
func write[E any](w io.Writer, data []E, size int, encode func(dst []byte, src []E) int) error {
	buf := make([]byte, min(chunk, len(data)*size))
	for at := 0; at < len(data); {
		n := min(len(buf)/size, len(data)-at)
		if bad := encode(buf[:n*size], data[at:at+n]); bad >= 0 {
			return fmt.Errorf("element %d is %v, beyond the range of the type", at+bad, data[at+bad])
		}
		if _, err := w.Write(buf[:n*size]); err != nil {
			return err
		}
		at += n
	}
	return nil
}

func encodeF32(dst []byte, src []float32) int {
	for i, x := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(x))
	}
	return -1
}

func encodeF16(dst []byte, src []float32) int {
	for i, x := range src {
		h := half.ToF16(x)
		if h&0x7fff == 0x7c00 && !math.IsInf(float64(x), 0) {
			return i
		}
		binary.LittleEndian.PutUint16(dst[2*i:], h)
	}
	return -1
}

func encodeBF16(dst []byte, src []float32) int {
	for i, x := range src {
		h := half.ToBF16(x)
		if h&0x7fff == 0x7f80 && !math.IsInf(float64(x), 0) {
			return i
		}
		binary.LittleEndian.PutUint16(dst[2*i:], h)
	}
	return -1
}

func encodeI32(dst []byte, src []int32) int {
	for i, x := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], uint32(x))
	}
	return -1
}

// counter counts what reaches w.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
