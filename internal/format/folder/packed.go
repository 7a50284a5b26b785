package folder

import (
	"fmt"
	"path/filepath"

	"mor/internal/format/safetensors"
	"mor/internal/kernel"
	"mor/internal/memory"
	"mor/internal/model"
	"mor/internal/quant"
)

// A folder of packed weights has in model.safetensors the matrices as the kernels read them, so that they are mapped, not read: U8 tensors [panels, bytes of a
// panel] under the names of the matrices (see kernel.Matrix for a panel), and everything else in F32. The metadata say so, and name the type.
const (
	packedFormat = "mor-packed-1" // metadata "format"
	formatKey    = "format"
	typeKey      = "weights"
)

// PackedType is the type of a folder's packed weights; false where they are not packed.
func PackedType(w *safetensors.Shards) (quant.Type, bool, error) {
	meta := w.Metadata()
	if meta[formatKey] != packedFormat {
		return 0, false, nil
	}
	t, err := quant.ParseType(meta[typeKey])
	if err != nil {
		return 0, false, fmt.Errorf("metadata %q: %w", typeKey, err)
	}
	return t, true, nil
}

// OpenPacked opens a folder of packed weights for inference.
func OpenPacked(dir string, cpu *kernel.CPU) (*model.Model, error) {
	m, err := openPacked(dir, cpu)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return m, nil
}

func openPacked(dir string, cpu *kernel.CPU) (*model.Model, error) {
	c, err := Config(dir)
	if err != nil {
		return nil, err
	}
	w, err := safetensors.OpenShards(dir)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	q, packed, err := PackedType(w)
	if err != nil || !packed {
		return nil, fmt.Errorf("%s: not packed: %w", WeightsFile, err)
	}
	m := model.NewInference(c, cpu)
	if err := matchPacked(w, m, q); err != nil {
		return nil, err
	}
	data, err := memory.Map(filepath.Join(dir, WeightsFile))
	if err != nil {
		return nil, err
	}
	for i := range m.Layout.Tensors {
		t := &m.Layout.Tensors[i]
		if !t.Matrix {
			if err := w.Float32s(t.Of(m.W), t.Name); err != nil {
				return nil, err
			}
			continue
		}
		begin, end := w.File(t.Name).Extent(t.Name)
		if end > int64(len(data)) {
			return nil, fmt.Errorf("%s: %d bytes, expected %d: it was cut off", WeightsFile, len(data), end)
		}
		matrix, err := cpu.MapMatrix(q, t.Shape[1], t.Shape[0], data[begin:end])
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", t.Name, err)
		}
		if err := m.SetMatrix(t, matrix); err != nil {
			return nil, err
		}
	}
	return m, m.Seal()
}

// matchPacked compares stored tensors with the layout.
func matchPacked(w *safetensors.Shards, m *model.Model, q quant.Type) error {
	return m.Layout.Match(w.Names(), func(name string) ([]int, bool) {
		info, ok := w.Info(name)
		if !ok {
			return nil, false
		}
		t, known := m.Layout.Tensor(name)
		if known && t.Matrix && info.DType == safetensors.U8 && len(info.Shape) == 2 && info.Shape[0] == kernel.Panels(t.Shape[0]) {
			return t.Shape, true
		}
		return info.Shape, true
	})
}

// SavePacked writes a model for inference, all of whose matrices have the type q, to a new folder: aside, synced, then renamed.
func SavePacked(dir string, m *model.Model, q quant.Type, o SaveOptions) error {
	files, err := o.files(m)
	if err != nil {
		return fmt.Errorf("save %s: %w", dir, err)
	}
	var small, large []safetensors.Source
	for i := range m.Layout.Tensors {
		t := &m.Layout.Tensors[i]
		matrix := m.Matrix(t)
		if matrix == nil {
			small = append(small, safetensors.FromFloat32s(t.Name, safetensors.F32, t.Shape, t.Of(m.W)))
			continue
		}
		if matrix.Type != q {
			return fmt.Errorf("save %s: tensor %s is %s, expected %s", dir, t.Name, matrix.Type, q)
		}
		panels := kernel.Panels(matrix.Out)
		large = append(large, safetensors.FromBytes(t.Name, safetensors.U8, []int{panels, matrix.Size() / panels}, matrix.Data()))
	}
	return saveFolder(dir, files, append(large, small...), 0, map[string]string{formatKey: packedFormat, typeKey: q.String()})
}
