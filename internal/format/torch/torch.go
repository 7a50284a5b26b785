// Package torch reads the tensors of a pytorch_model.bin, without running what the file asks for.
//
// Such a file is a zip archive of a Python pickle and the values beside it. A pickle is a program; the unpickler here knows only what builds a dictionary of
// floating-point tensors, and refuses everything else by name. The file is treated as hostile: nothing is allocated that its own size does
// not bear out.
package torch

import (
	"archive/zip"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"mor/internal/format/safetensors"
)

// File is an open pytorch_model.bin.
type File struct {
	name    string
	r       io.ReaderAt
	close   func() error
	names   []string
	tensors map[string]*tensor
	data    map[string]int64 // where the values of each storage begin
}

// Open opens a file.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		var out *File
		if out, err = New(path, f, info.Size()); err == nil {
			out.close = f.Close
			return out, nil
		}
	}
	f.Close()
	return nil, err
}

// New reads the table of tensors from r, which holds size bytes. The name is for errors.
func New(name string, r io.ReaderAt, size int64) (*File, error) {
	f := &File{name: name, r: r, close: func() error { return nil }, tensors: map[string]*tensor{}, data: map[string]int64{}}
	if err := f.read(size); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

func (f *File) read(size int64) error {
	z, err := zip.NewReader(f.r, size)
	if err != nil {
		return fmt.Errorf("not a checkpoint of torch 1.6 or newer, which is a zip archive: %w", err)
	}
	entries := map[string]*zip.File{}
	root := ""
	for _, e := range z.File {
		if _, twice := entries[e.Name]; twice {
			return fmt.Errorf("%q stands twice in the archive", e.Name)
		}
		entries[e.Name] = e
		if dir, ok := strings.CutSuffix(e.Name, "data.pkl"); ok && strings.Count(e.Name, "/") == 1 {
			root = dir
		}
	}
	if root == "" {
		return fmt.Errorf("no data.pkl in the archive: not a checkpoint of torch")
	}
	if e := entries[root+"byteorder"]; e != nil {
		order, err := f.stored(e, size)
		if err != nil {
			return err
		}
		if string(order) != "little" {
			return fmt.Errorf("byte order %.10q, expected little", order)
		}
	}
	program, err := f.stored(entries[root+"data.pkl"], size)
	if err != nil {
		return err
	}
	d, err := unpickle(program)
	if err != nil {
		return fmt.Errorf("data.pkl: %w", err)
	}
	for _, key := range d.keys {
		t, ok := d.value[key].(*tensor)
		if !ok {
			return fmt.Errorf("%q is %s, expected a tensor", key, kind(d.value[key]))
		}
		f.names, f.tensors[key] = append(f.names, key), t
		if err := f.locate(t.storage, entries[root+"data/"+t.storage.key], size); err != nil {
			return fmt.Errorf("tensor %s: %w", key, err)
		}
	}
	slices.Sort(f.names)
	return nil
}

// place checks that an entry is stored as it is and lies in the file, and returns where it begins.
func place(e *zip.File, size int64) (int64, error) {
	if e.Method != zip.Store || e.CompressedSize64 != e.UncompressedSize64 {
		return 0, fmt.Errorf("%s is compressed, which torch does not do", e.Name)
	}
	at, err := e.DataOffset()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", e.Name, err)
	}
	if at > size || e.UncompressedSize64 > uint64(size-at) {
		return 0, fmt.Errorf("%s has %d bytes from %d on, but the file has %d: is it complete?", e.Name, e.UncompressedSize64, at, size)
	}
	return at, nil
}

// stored reads an entry.
func (f *File) stored(e *zip.File, size int64) ([]byte, error) {
	at, err := place(e, size)
	if err != nil {
		return nil, err
	}
	out := make([]byte, e.UncompressedSize64)
	_, err = f.r.ReadAt(out, at)
	return out, err
}

// locate finds the values of a storage.
func (f *File) locate(s *storage, e *zip.File, size int64) error {
	if e == nil {
		return fmt.Errorf("its values, data/%s, are missing in the archive", s.key)
	}
	at, err := place(e, size)
	if err != nil {
		return err
	}
	if have, want := e.UncompressedSize64, uint64(s.n)*uint64(s.dtype.Size()); have != want {
		return fmt.Errorf("data/%s has %d bytes, expected %d for %d values of %s", s.key, have, want, s.n, s.dtype)
	}
	f.data[s.key] = at
	return nil
}

// Close closes the file.
func (f *File) Close() error { return f.close() }

// Names lists the tensors in ascending order.
func (f *File) Names() []string { return slices.Clone(f.names) }

// Info describes a tensor.
func (f *File) Info(name string) (safetensors.Tensor, bool) {
	t, ok := f.tensors[name]
	if !ok {
		return safetensors.Tensor{}, false
	}
	return safetensors.Tensor{Name: name, DType: t.storage.dtype, Shape: t.shape}, true
}

// Float32s reads a tensor's values into dst, which has as many.
func (f *File) Float32s(dst []float32, name string) error {
	t, ok := f.tensors[name]
	if !ok {
		return fmt.Errorf("%s: no tensor %s", f.name, name)
	}
	n := 1
	for _, s := range t.shape {
		n *= s
	}
	if len(dst) != n {
		return fmt.Errorf("%s: tensor %s has %d values, expected %d", f.name, name, n, len(dst))
	}
	width := t.storage.dtype.Size()
	at := f.data[t.storage.key] + t.offset*int64(width)
	buf := make([]byte, min(n, 1<<16)*width)
	for done := 0; done < n; {
		part := buf[:min(n-done, 1<<16)*width]
		if _, err := f.r.ReadAt(part, at+int64(done*width)); err != nil {
			return fmt.Errorf("%s: tensor %s: %w", f.name, name, err)
		}
		decode(dst[done:], part, t.storage.dtype)
		done += len(part) / width
	}
	return nil
}

// decode converts values of one type.
func decode(dst []float32, src []byte, dtype safetensors.DType) {
	for i := range len(src) / dtype.Size() {
		switch dtype {
		case safetensors.F32:
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		case safetensors.BF16:
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
		case safetensors.F16:
			dst[i] = half(binary.LittleEndian.Uint16(src[2*i:]))
		default:
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
		}
	}
}

// half is the value of an IEEE half.
func half(h uint16) float32 {
	exponent, fraction := int(h>>10&31), float64(h&1023)
	v := math.Ldexp(1024+fraction, exponent-25)
	switch {
	case exponent == 0:
		v = math.Ldexp(fraction, -24)
	case exponent == 31 && fraction == 0:
		v = math.Inf(1)
	case exponent == 31:
		v = math.NaN()
	}
	if h>>15 != 0 {
		v = -v
	}
	return float32(v)
}
