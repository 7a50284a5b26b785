package gguf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"mor/internal/model"
	"mor/internal/quant"
	"mor/internal/token"
)

// WriteOptions say how a model is written.
type WriteOptions struct {
	Type         quant.Type // of the matrices: F32, F16, BF16, Q8_0 or Q4_0; what it does not fit has another, see TypeOf
	Name         string
	Tokenizer    *token.Tokenizer
	Stops        []int32
	ChatTemplate string // "" for none
}

// Types lists the types that are written.
func Types() []quant.Type {
	return []quant.Type{quant.F32, quant.F16, quant.BF16, quant.Q8_0, quant.Q4_0}
}

// TypeOf is what a tensor is stored as when matrices are asked for as t: norms as F32; embedding and head as Q8_0 instead of Q4_0; and rows that are not whole
// blocks as F16.
func TypeOf(t quant.Type, name string, shape []int) quant.Type {
	if len(shape) < 2 {
		return quant.F32
	}
	if t == quant.Q4_0 && (name == "model.embed_tokens.weight" || name == "lm_head.weight") {
		t = quant.Q8_0
	}
	if shape[len(shape)-1]%t.Values() != 0 {
		return quant.F16
	}
	return t
}

// Write writes a vanilla model to a new file: aside, synced, then renamed.
func Write(path string, m *model.Model, o WriteOptions) error {
	head, err := header(m, &o)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("%s: exists already: name another file, or remove it", path)
	}
	tmp := path + ".tmp"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	_, err = w.Write(head)
	for i := range m.Layout.Tensors {
		if err == nil {
			err = writeTensor(w, m, &m.Layout.Tensors[i], o.Type)
		}
	}
	if err == nil && m.Config.RopeScaling != nil && m.Config.RopeScaling.RopeType == model.RopeLlama3 {
		err = binary.Write(w, binary.LittleEndian, ropeFactors(m.Config))
	}
	if err == nil {
		err = errors.Join(w.Flush(), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeTensor writes the values of a tensor, and zeros up to the alignment.
func writeTensor(w io.Writer, m *model.Model, t *model.Tensor, matrices quant.Type) error {
	values := t.Of(m.W)
	if turned(t.Name) {
		d, place := m.Config.HiddenSize, Placement(m.Config, t.Name)
		values = make([]float32, t.Len)
		for row := range t.Shape[0] {
			copy(values[row*d:][:d], t.Of(m.W)[place(row)*d:])
		}
	}
	kind := TypeOf(matrices, t.Name, t.Shape)
	for i, x := range values {
		if top := math.Abs(float64(x)); math.IsNaN(top) || kind != quant.F32 && kind != quant.BF16 && top >= 65520 {
			return fmt.Errorf("tensor %s: value %d is %v, beyond the range of %s", t.Name, i, x, kind)
		}
	}
	raw := make([]byte, aligned(int64(t.Len)/int64(kind.Values())*int64(kind.Bytes())))
	kind.Shrink(raw, values)
	_, err := w.Write(raw)
	return err
}

func aligned(n int64) int64 { return (n + defaultAlignment - 1) / defaultAlignment * defaultAlignment }

// ropeFactors are what llama.cpp divides the frequencies of RoPE by.
func ropeFactors(c *model.Config) []float32 {
	plain := *c
	plain.RopeScaling = nil
	scaled, out := c.RopeFrequencies(), make([]float32, c.HeadDim/2)
	for i, f := range plain.RopeFrequencies() {
		out[i] = float32(f / scaled[i])
	}
	return out
}

// header is everything before the weights.
func header(m *model.Model, o *WriteOptions) ([]byte, error) {
	c := m.Config
	switch {
	case c.Recursion != nil:
		return nil, fmt.Errorf("a llama file has neither recursion nor router: unroll the model first")
	case c.MoE != nil:
		return nil, fmt.Errorf("a mixture of experts is not written as GGUF: write a Hugging Face folder")
	case o.Tokenizer == nil:
		return nil, fmt.Errorf("the model has no tokenizer, which a GGUF file carries: put its tokenizer.json beside the weights")
	}
	e := &encoder{}
	e.metadata(c, o)
	if err := e.tokenizer(o, c.VocabSize); err != nil {
		return nil, err
	}
	values, n := e.bytes, len(m.Layout.Tensors)
	e.bytes = nil
	at := int64(0)
	entry := func(name string, shape []int, t quant.Type) {
		e.str(name)
		e.u32(uint32(len(shape)))
		size := int64(1)
		for i := len(shape) - 1; i >= 0; i-- {
			e.u64(uint64(shape[i]))
			size *= int64(shape[i])
		}
		e.u32(uint32(t))
		e.u64(uint64(at))
		at += aligned(size / int64(t.Values()) * int64(t.Bytes()))
	}
	for i := range m.Layout.Tensors {
		t := &m.Layout.Tensors[i]
		entry(nameOf(t.Name), t.Shape, TypeOf(o.Type, t.Name, t.Shape))
	}
	if c.RopeScaling != nil && c.RopeScaling.RopeType == model.RopeLlama3 {
		entry(ropeFreqs, []int{c.HeadDim / 2}, quant.F32)
		n++
	}
	entries := e.bytes
	e.bytes = nil
	e.u32(magic)
	e.u32(3)
	e.u64(uint64(n))
	e.u64(uint64(e.count))
	out := append(append(e.bytes, values...), entries...)
	return append(out, make([]byte, aligned(int64(len(out)))-int64(len(out)))...), nil
}

// fileTypes are llama.cpp's numbers of general.file_type.
var fileTypes = map[quant.Type]uint32{quant.F32: 0, quant.F16: 1, quant.Q4_0: 2, quant.Q8_0: 7, quant.BF16: 32}

func (e *encoder) metadata(c *model.Config, o *WriteOptions) {
	e.putString("general.architecture", architecture)
	e.putString("general.name", o.Name)
	e.putUint("general.file_type", fileTypes[o.Type])
	e.putUint("general.quantization_version", 2)
	for _, f := range []struct {
		key   string
		value int
	}{
		{"vocab_size", c.VocabSize}, {"context_length", c.MaxPositionEmbeddings}, {"embedding_length", c.HiddenSize}, {"block_count", c.NumHiddenLayers},
		{"feed_forward_length", c.IntermediateSize}, {"attention.head_count", c.NumAttentionHeads}, {"attention.head_count_kv", c.NumKeyValueHeads},
		{"attention.key_length", c.HeadDim}, {"attention.value_length", c.HeadDim}, {"rope.dimension_count", c.HeadDim},
	} {
		e.putUint(architecture+"."+f.key, uint32(f.value))
	}
	e.putFloat("llama.attention.layer_norm_rms_epsilon", float32(c.RMSNormEps))
	e.putFloat("llama.rope.freq_base", float32(c.RopeTheta))
	if s := c.RopeScaling; s != nil && s.RopeType == model.RopeLinear {
		e.putString("llama.rope.scaling.type", model.RopeLinear)
		e.putFloat("llama.rope.scaling.factor", float32(s.Factor))
	}
}

// encoder collects little-endian values.
type encoder struct {
	bytes []byte
	count int // metadata values
}

func (e *encoder) u32(v uint32) { e.bytes = binary.LittleEndian.AppendUint32(e.bytes, v) }
func (e *encoder) u64(v uint64) { e.bytes = binary.LittleEndian.AppendUint64(e.bytes, v) }

func (e *encoder) str(s string) {
	e.u64(uint64(len(s)))
	e.bytes = append(e.bytes, s...)
}

// key begins a metadata value.
func (e *encoder) key(name string, kind uint32) {
	e.str(name)
	e.u32(kind)
	e.count++
}

func (e *encoder) putString(name, v string) { e.key(name, kindString); e.str(v) }

func (e *encoder) putUint(name string, v uint32) { e.key(name, kindUint32); e.u32(v) }

func (e *encoder) putFloat(name string, v float32) {
	e.key(name, kindFloat32)
	e.u32(math.Float32bits(v))
}

func (e *encoder) putBool(name string, v bool) {
	e.key(name, kindBool)
	b := byte(0)
	if v {
		b = 1
	}
	e.bytes = append(e.bytes, b)
}

// putList begins a list of n items, which the caller appends.
func (e *encoder) putList(name string, kind uint32, n int) {
	e.key(name, kindArray)
	e.u32(kind)
	e.u64(uint64(n))
}
