package model

import (
	"fmt"
	"unsafe"

	"mor/internal/kernel"
	"mor/internal/memory"
	"mor/internal/quant"
)

// NewInference returns a model that can only run forward. Its slab W holds what is no Tensor.Matrix: norms, routers, encodings, low-rank corrections. The
// matrices come by SetMatrix, in any type; then Seal makes the model ready. c must be valid.
func NewInference(c *Config, cpu *kernel.CPU) *Model {
	p := NewPlan(c)
	l := newApartLayout(c, p)
	return &Model{Config: c, Plan: p, Layout: l, W: memory.Make[float32](l.Size), cpu: cpu, rope: newRope(c), matrices: map[int]*kernel.Matrix{}}
}

// SetMatrix gives a tensor its matrix.
func (m *Model) SetMatrix(t *Tensor, w *kernel.Matrix) error {
	if w.Out != t.Shape[0] || w.In != t.Shape[1] {
		return fmt.Errorf("tensor %s: a matrix [%d %d], expected %v", t.Name, w.Out, w.In, t.Shape)
	}
	m.matrices[t.Offset] = w
	return nil
}

// Matrix is a tensor's matrix, nil for a model with a slab.
func (m *Model) Matrix(t *Tensor) *kernel.Matrix { return m.matrices[t.Offset] }

// Seal makes a model of NewInference ready to run. A matrix that is missing is an error.
func (m *Model) Seal() error {
	for i := range m.Layout.Tensors {
		if t := &m.Layout.Tensors[i]; t.Matrix && m.matrices[t.Offset] == nil {
			return fmt.Errorf("tensor %s: its matrix was not set", t.Name)
		}
	}
	m.products = map[span][]*kernel.Matrix{}
	d := m.Config.HiddenSize
	for _, s := range m.Plan.Segments {
		for _, l := range s.Layers {
			w := &m.Layout.layers[l.Unique]
			m.join(span{w.qkv.off, m.qkvDim(&l) * d}, w.o, w.gateUp, w.down)
			for _, e := range w.experts {
				m.join(e.gateUp, e.down)
			}
		}
	}
	m.join(m.Layout.head)
	m.embed = m.matrices[m.Layout.embed.off]
	return nil
}

// join finds the matrices that stand side by side in each span.
func (m *Model) join(products ...span) {
	for _, s := range products {
		var ws []*kernel.Matrix
		for at := s.off; at < s.off+s.n; {
			w := m.matrices[at]
			ws = append(ws, w)
			at += w.In * w.Out
		}
		m.products[s] = ws
	}
}

// WeightBytes is what the weights take in memory.
func (m *Model) WeightBytes() int64 {
	n := 4 * int64(len(m.W))
	for _, w := range m.matrices {
		n += int64(w.Size())
	}
	return n
}

// MatrixBytes is what the matrices take of an arena, each in its type.
func (m *Model) MatrixBytes(of func(t *Tensor) quant.Type) int {
	n := 0
	for i := range m.Layout.Tensors {
		if t := &m.Layout.Tensors[i]; t.Matrix {
			n += m.cpu.MatrixBytes(of(t), t.Shape[1], t.Shape[0])
		}
	}
	return n
}

// lookUp writes the embeddings of tokens to x[n,d].
func (m *Model) lookUp(x []float32, tokens []int32) {
	if m.embed != nil {
		m.cpu.GatherMatrix(x, m.embed, tokens)
		return
	}
	m.cpu.GatherRows(x, m.Layout.embed.of(m.W), tokens, m.Config.HiddenSize)
}

// Held returns a model for inference with the weights of one that has a slab, the matrices in a type.
func (m *Model) Held(q quant.Type) (*Model, error) {
	out := NewInference(m.Config, m.cpu)
	var arena memory.Arena
	arena.Reserve(out.MatrixBytes(func(*Tensor) quant.Type { return q }))
	for i := range out.Layout.Tensors {
		to := &out.Layout.Tensors[i]
		from, _ := m.Layout.Tensor(to.Name)
		values := from.Of(m.W)
		if !to.Matrix {
			copy(to.Of(out.W), values)
			continue
		}
		w, err := m.cpu.NewMatrix(&arena, q, to.Shape[1], to.Shape[0])
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", to.Name, err)
		}
		m.cpu.SetRows(w, quant.F32, 0, unsafe.Slice((*byte)(unsafe.Pointer(&values[0])), 4*len(values)), func(row int) int { return row })
		if err := out.SetMatrix(to, w); err != nil {
			return nil, err
		}
	}
	return out, out.Seal()
}
