// Package gguf reads and writes models in llama.cpp's single-file format: weights, plain or quantised, with their configuration and tokenizer.
package gguf

import (
	"fmt"
	"io"
	"math/bits"
	"os"
	"slices"

	"mor/internal/quant"
)

const (
	magic            = 0x46554747 // "GGUF"
	defaultAlignment = 32
	maxDims          = 4
	// maxNesting bounds arrays of arrays, which no known file has.
	maxNesting = 2
)

// Tensor is a tensor's place in a file.
type Tensor struct {
	Name   string
	Shape  []int // the slowest dimension first, as everywhere in mor: a matrix is [out, in]
	Type   quant.Type
	offset int64 // in the file
	size   int64 // bytes
}

// Len is how many values the tensor has.
func (t *Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Bytes is how many bytes of the file the tensor takes.
func (t *Tensor) Bytes() int64 { return t.size }

// File is an open GGUF file.
type File struct {
	Version int
	Meta    Meta
	Tensors []Tensor // in the order of the file

	path  string
	f     *os.File
	size  int64
	index map[string]int
}

// Open reads everything but the weights. Whatever the file claims is checked against its size first.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	g := &File{path: path, f: f, index: map[string]int{}}
	if err := g.read(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return g, nil
}

// Close closes the file.
func (g *File) Close() error { return g.f.Close() }

func (g *File) read() error {
	info, err := g.f.Stat()
	if err != nil {
		return err
	}
	if g.size = info.Size(); info.IsDir() {
		return fmt.Errorf("a folder: expected a GGUF file")
	}
	r := newReader(g.f, g.size)
	if m := r.u32(); m != magic {
		if r.err != nil {
			return fmt.Errorf("%d bytes: too short for a GGUF file", g.size)
		}
		return fmt.Errorf("begins with %q: expected \"GGUF\"", []byte{byte(m), byte(m >> 8), byte(m >> 16), byte(m >> 24)})
	}
	g.Version = int(r.u32())
	if r.err == nil && g.Version != 2 && g.Version != 3 {
		return fmt.Errorf("GGUF version %d: expected 2 or 3, little-endian", g.Version)
	}
	tensors, values := r.count(24), r.count(13) // an entry takes at least so many bytes
	g.Meta = Meta{values: map[string]any{}}
	for range values {
		key := r.str()
		value := r.value(r.u32(), 0)
		if r.err != nil {
			return fmt.Errorf("metadata %q: %w", key, r.err)
		}
		if _, twice := g.Meta.values[key]; twice {
			return fmt.Errorf("metadata %q occurs twice", key)
		}
		g.Meta.values[key] = value
		g.Meta.keys = append(g.Meta.keys, key)
	}
	for range tensors {
		if err := g.entry(r); err != nil {
			return err
		}
	}
	if r.err != nil {
		return r.err
	}
	return g.place(r.at)
}

// entry reads a tensor's description.
func (g *File) entry(r *reader) error {
	t := Tensor{Name: r.str()}
	n := r.u32()
	if n > maxDims {
		return fmt.Errorf("tensor %q: %d dimensions: expected at most %d", t.Name, n, maxDims)
	}
	values := uint64(1)
	for range n {
		d := r.u64()
		hi, lo := bits.Mul64(values, d)
		if values = lo; hi != 0 || lo > uint64(g.size)*8 || d == 0 {
			return fmt.Errorf("tensor %q: dimension %d: the file of %d bytes cannot hold it", t.Name, d, g.size)
		}
		t.Shape = append(t.Shape, int(d))
	}
	t.Type, t.offset = quant.Type(r.u32()), int64(r.u64())
	if r.err != nil {
		return fmt.Errorf("tensor %q: %w", t.Name, r.err)
	}
	if !t.Type.Known() {
		return fmt.Errorf("tensor %q: %s is not supported: expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K", t.Name, t.Type)
	}
	if n > 0 && t.Shape[0]%t.Type.Values() != 0 {
		return fmt.Errorf("tensor %q: rows of %d values: expected a multiple of %s's %d", t.Name, t.Shape[0], t.Type, t.Type.Values())
	}
	t.size = int64(values) / int64(t.Type.Values()) * int64(t.Type.Bytes())
	slices.Reverse(t.Shape)
	if _, twice := g.index[t.Name]; twice {
		return fmt.Errorf("tensor %q occurs twice", t.Name)
	}
	g.index[t.Name] = len(g.Tensors)
	g.Tensors = append(g.Tensors, t)
	return nil
}

// place turns offsets into places in the file, and checks that no tensor reaches beyond its end or into another.
func (g *File) place(header int64) error {
	alignment, err := g.Meta.Int("general.alignment", defaultAlignment)
	if err != nil {
		return err
	}
	if alignment < 1 || alignment > 1<<20 || alignment&(alignment-1) != 0 {
		return fmt.Errorf("general.alignment: %d: expected a power of two up to 1 MiB", alignment)
	}
	base := (header + int64(alignment) - 1) / int64(alignment) * int64(alignment)
	order := make([]*Tensor, len(g.Tensors))
	for i := range g.Tensors {
		t := &g.Tensors[i]
		if t.offset < 0 || t.offset%int64(alignment) != 0 || t.offset > g.size || t.size > g.size-base-t.offset {
			return fmt.Errorf("tensor %q: %d bytes at offset %d: expected a multiple of %d inside the file of %d bytes; the file is truncated or damaged",
				t.Name, t.size, t.offset, alignment, g.size)
		}
		t.offset += base
		order[i] = t
	}
	slices.SortFunc(order, func(a, b *Tensor) int { return int(min(1, max(-1, a.offset-b.offset))) })
	for i := 1; i < len(order); i++ {
		if a, b := order[i-1], order[i]; a.offset+a.size > b.offset {
			return fmt.Errorf("tensors %q and %q overlap", a.Name, b.Name)
		}
	}
	return nil
}

// Tensor finds a tensor.
func (g *File) Tensor(name string) (*Tensor, bool) {
	i, ok := g.index[name]
	if !ok {
		return nil, false
	}
	return &g.Tensors[i], true
}

// Raw returns the bytes of a tensor as they are stored.
func (g *File) Raw(t *Tensor) ([]byte, error) {
	raw := make([]byte, t.size)
	if _, err := g.f.ReadAt(raw, t.offset); err != nil && err != io.EOF {
		return nil, fmt.Errorf("%s: tensor %q: %w", g.path, t.Name, err)
	}
	return raw, nil
}

// Float32s fills dst with the values of a tensor.
func (g *File) Float32s(dst []float32, t *Tensor) error {
	if len(dst) != t.Len() {
		return fmt.Errorf("%s: tensor %q has %d values, expected %d", g.path, t.Name, t.Len(), len(dst))
	}
	raw, err := g.Raw(t)
	if err != nil {
		return err
	}
	t.Type.Expand(dst, raw)
	return nil
}
