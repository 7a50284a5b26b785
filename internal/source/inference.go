package source

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"mor/internal/format/folder"
	"mor/internal/format/gguf"
	"mor/internal/format/safetensors"
	"mor/internal/kernel"
	"mor/internal/memory"
	"mor/internal/model"
	"mor/internal/quant"
	"mor/internal/strict"
)

// Precision is the type that matrices are held in for inference. The zero value is the type that the file has, matrix by matrix.
type Precision struct {
	given bool
	t     quant.Type
}

// precisions are what a model can be held in, by the names of flags.
var precisions = []struct {
	name string
	t    quant.Type
}{{"f32", quant.F32}, {"bf16", quant.BF16}, {"f16", quant.F16}, {"int8", quant.Q8_0}, {"q4_1", quant.Q4_1}, {"q4_0", quant.Q4_0}}

// Precisions names them, auto first.
func Precisions() []string {
	names := []string{"auto"}
	for _, p := range precisions {
		names = append(names, p.name)
	}
	return names
}

// ParsePrecision reads one of Precisions.
func ParsePrecision(name string) (Precision, error) {
	if name == "auto" {
		return Precision{}, nil
	}
	for _, p := range precisions {
		if p.name == name {
			return Precision{true, p.t}, nil
		}
	}
	return Precision{}, fmt.Errorf("%q: expected %s%s", name, strings.Join(Precisions(), ", "), strict.Suggest(name, Precisions()))
}

// Packable tells whether it is a type that a folder of packed weights can have.
func (p Precision) Packable() bool { return p.given && p.t != quant.F32 }

// Type is the type, F32 for auto.
func (p Precision) Type() quant.Type { return p.t }

// of is the type of a matrix that is stored in one.
func (p Precision) of(stored quant.Type) quant.Type {
	if p.given {
		return p.t
	}
	return stored
}

// OpenInference reads a model that only runs: no matrix is ever expanded to float32 that is not wanted so. A folder of packed weights is mapped.
func OpenInference(path string, cpu *kernel.CPU, p Precision) (*Model, error) {
	defer debug.FreeOSMemory() // what opening took
	if IsFile(path) {
		return openGGUF(path, func(f *gguf.File) (*model.Model, error) { return inferGGUF(f, path, cpu, p) })
	}
	return openFolder(path, func() (*model.Model, error) { return inferFolder(path, cpu, p) })
}

func inferFolder(dir string, cpu *kernel.CPU, p Precision) (*model.Model, error) {
	w, err := safetensors.OpenShards(dir)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	if q, packed, err := folder.PackedType(w); err != nil || packed {
		if err == nil && p.of(q) != q {
			err = fmt.Errorf("its weights are packed as %s: give the model that it was made from for another type", q)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		return folder.OpenPacked(dir, cpu)
	}
	c, err := folder.Config(dir)
	if err != nil {
		return nil, err
	}
	if err := folder.Match(w, c); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if err := folder.CheckTied(w, c); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	m := model.NewInference(c, cpu)
	l := newLoader(m, p, func(t *model.Tensor) quant.Type {
		info, _ := w.Info(t.Name)
		return dtypes[info.DType]
	})
	for i := range m.Layout.Tensors {
		t := &m.Layout.Tensors[i]
		if !t.Matrix {
			err = w.Float32s(t.Of(m.W), t.Name)
		} else {
			err = l.shardMatrix(w, t)
		}
		if err != nil {
			return nil, err
		}
	}
	return m, m.Seal()
}

// dtypes are the types of safetensors whose bytes are those of a type of weights.
var dtypes = map[safetensors.DType]quant.Type{safetensors.F32: quant.F32, safetensors.F16: quant.F16, safetensors.BF16: quant.BF16}

// shardMatrix reads a matrix of a folder.
func (l *loader) shardMatrix(w *safetensors.Shards, t *model.Tensor) error {
	info, _ := w.Info(t.Name)
	stored, ok := dtypes[info.DType]
	if !ok {
		return fmt.Errorf("tensor %s: dtype is %s, expected F32, F16 or BF16", t.Name, info.DType)
	}
	size := t.Shape[1] * info.DType.Size()
	return l.matrix(t, stored, func(buf []byte, first, n int) ([]byte, error) {
		buf = slices.Grow(buf[:0], n*size)[:n*size]
		return buf, w.File(t.Name).RawAt(buf, t.Name, int64(first*size))
	}, func(row int) int { return row })
}

func inferGGUF(f *gguf.File, path string, cpu *kernel.CPU, p Precision) (*model.Model, error) {
	c, err := f.Config()
	if err != nil {
		return nil, err
	}
	if err := f.Match(c); err != nil {
		return nil, err
	}
	m := model.NewInference(c, cpu)
	l := newLoader(m, p, func(t *model.Tensor) quant.Type {
		stored, _ := f.Of(t.Name)
		return stored.Type
	})
	for i := range m.Layout.Tensors {
		t := &m.Layout.Tensors[i]
		stored, _ := f.Of(t.Name)
		if !t.Matrix {
			err = f.Float32s(t.Of(m.W), stored)
		} else {
			err = l.matrix(t, stored.Type, func(buf []byte, first, n int) ([]byte, error) {
				return f.Rows(buf, t.Name, first, n)
			}, gguf.Placement(c, t.Name))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return m, m.Seal()
}

// readBytes is about how much of a matrix is read at once.
const readBytes = 1 << 20

// loader fills a model's matrices by way of one buffer.
type loader struct {
	m     *model.Model
	p     Precision
	buf   []byte
	arena memory.Arena
}

// newLoader has room for all matrices, each of which is stored in a type.
func newLoader(m *model.Model, p Precision, stored func(t *model.Tensor) quant.Type) *loader {
	l := &loader{m: m, p: p}
	l.arena.Reserve(m.MatrixBytes(func(t *model.Tensor) quant.Type { return p.of(stored(t)) }))
	return l
}

// matrix reads a matrix in parts of rows, and lays it out.
func (l *loader) matrix(t *model.Tensor, stored quant.Type, rows func(buf []byte, first, n int) ([]byte, error), place func(row int) int) error {
	out, in := t.Shape[0], t.Shape[1]
	w, err := l.m.CPU().NewMatrix(&l.arena, l.p.of(stored), in, out)
	if err != nil {
		return fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	step := max(1, readBytes/max(1, in/stored.Values()*stored.Bytes()))
	for first := 0; first < out; first += step {
		if l.buf, err = rows(l.buf, first, min(step, out-first)); err != nil {
			return err
		}
		l.m.CPU().SetRows(w, stored, first, l.buf, place)
	}
	return l.m.SetMatrix(t, w)
}
