package train

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"mor/internal/format/folder"
	"mor/internal/format/safetensors"
	"mor/internal/model"
)

// moments lists the optimizer's state for its file, in the type that it has in memory.
func (t *Trainer) moments() []safetensors.Source {
	l := t.Model.Layout
	if t.opt.M16 == nil {
		return append(folder.Sources(l, t.opt.M, "m."), folder.Sources(l, t.opt.V, "v.")...)
	}
	return append(halfSources(l, t.opt.M16, "m."), halfSources(l, t.opt.V16, "v.")...)
}

// halfSources names the tensors of a slab of bfloat16, each with a prefix.
func halfSources(l *model.Layout, slab []uint16, prefix string) []safetensors.Source {
	var out []safetensors.Source
	for _, tensor := range l.Tensors {
		data := slab[tensor.Offset : tensor.Offset+tensor.Len]
		out = append(out, safetensors.Source{Name: prefix + tensor.Name, DType: safetensors.BF16, Shape: tensor.Shape, Data: func(w io.Writer) error {
			for part := range slices.Chunk(data, 1<<16) {
				if err := binary.Write(w, binary.LittleEndian, part); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	return out
}

func (t *Trainer) readMoments(path string) error {
	f, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range t.Model.Layout.Tensors {
		tensor := &t.Model.Layout.Tensors[i]
		if t.opt.M16 == nil {
			err = errors.Join(f.Float32s(tensor.Of(t.opt.M), "m."+tensor.Name), f.Float32s(tensor.Of(t.opt.V), "v."+tensor.Name))
		} else {
			err = errors.Join(readHalf(f, t.opt.M16, "m.", tensor), readHalf(f, t.opt.V16, "v.", tensor))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readHalf reads a tensor of bfloat16 as it was written.
func readHalf(f *safetensors.File, slab []uint16, prefix string, tensor *model.Tensor) error {
	name := prefix + tensor.Name
	if info, ok := f.Info(name); ok && info.DType != safetensors.BF16 {
		return fmt.Errorf("%s: dtype is %s, expected BF16", name, info.DType)
	}
	data, err := f.Raw(name)
	if err != nil {
		return err
	}
	if len(data) != 2*tensor.Len {
		return fmt.Errorf("%s: %d bytes, expected %d", name, len(data), 2*tensor.Len)
	}
	for i := range tensor.Len {
		slab[tensor.Offset+i] = binary.LittleEndian.Uint16(data[2*i:])
	}
	return nil
}
