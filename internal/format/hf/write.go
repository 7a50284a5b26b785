package hf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"mor/internal/format/safetensors"
	"mor/internal/model"
)

// WriteOptions say how a model is written.
type WriteOptions struct {
	DType        safetensors.DType // F32, F16 or BF16
	MaxShardSize int64             // bytes of a file; 0: one file
	StopTokens   []int32
	Files        map[string][]byte // written beside the model: tokenizer, chat template, …
}

// torchNames are PyTorch's names of the element types.
var torchNames = map[safetensors.DType]string{safetensors.F32: "float32", safetensors.F16: "float16", safetensors.BF16: "bfloat16"}

// Save writes a vanilla model as LlamaForCausalLM, a mixture of experts as MixtralForCausalLM, to a new folder: aside, then renamed.
func Save(dir string, m *model.Model, o WriteOptions) error {
	if m.Config.Recursion != nil {
		return fmt.Errorf("a recursive model is no Llama: unroll it first")
	}
	name, ok := torchNames[o.DType]
	if !ok {
		return fmt.Errorf("dtype %s: expected F32, F16 or BF16", o.DType)
	}
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("%s: exists already: name another folder, or remove it", dir)
	}
	config, err := exported(m.Config, name, o.StopTokens)
	if err != nil {
		return err
	}
	tmp := dir + ".tmp"
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(tmp, 0o777)); err != nil {
		return err
	}
	err = saveFile(filepath.Join(tmp, configFile), bytesOf(config))
	for file, data := range o.Files {
		err = errors.Join(err, saveFile(filepath.Join(tmp, file), bytesOf(data)))
	}
	if err = errors.Join(err, saveWeights(tmp, m, o)); err == nil {
		err = os.Rename(tmp, dir)
	}
	if err != nil {
		os.RemoveAll(tmp)
		return fmt.Errorf("save %s: %w", dir, err)
	}
	return nil
}

// saveWeights writes model.safetensors, or shards with their index.
func saveWeights(dir string, m *model.Model, o WriteOptions) error {
	shards := split(m.Layout, int64(o.DType.Size()), o.MaxShardSize)
	index := map[string]string{}
	for i, shard := range shards {
		name := weightsFile
		if len(shards) > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		}
		var sources []safetensors.Source
		for _, t := range shard {
			sources = append(sources, safetensors.FromFloat32s(t.Name, o.DType, t.Shape, t.Of(m.W)))
			index[t.Name] = name
		}
		err := saveFile(filepath.Join(dir, name), func(w io.Writer) error {
			return safetensors.Write(w, sources, map[string]string{"format": "pt"})
		})
		if err != nil {
			return err
		}
	}
	if len(shards) == 1 {
		return nil
	}
	data, err := json.MarshalIndent(map[string]any{
		"metadata":   map[string]int64{"total_size": int64(m.Layout.Size) * int64(o.DType.Size())},
		"weight_map": index,
	}, "", " ")
	if err != nil {
		return err
	}
	return saveFile(filepath.Join(dir, indexFile), bytesOf(data))
}

// split cuts the tensors, in their order, into files of at most limit bytes; a larger tensor has a file of its own.
func split(l *model.Layout, size, limit int64) [][]*model.Tensor {
	shards, used := [][]*model.Tensor{nil}, int64(0)
	for i := range l.Tensors {
		t := &l.Tensors[i]
		if n := int64(t.Len) * size; limit > 0 && used > 0 && used+n > limit {
			shards, used = append(shards, nil), 0
		}
		shards[len(shards)-1] = append(shards[len(shards)-1], t)
		used += int64(t.Len) * size
	}
	return shards
}

func bytesOf(data []byte) func(io.Writer) error {
	return func(w io.Writer) error { _, err := w.Write(data); return err }
}

// saveFile writes one file and syncs it.
func saveFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := write(f); err != nil {
		return err
	}
	return f.Sync()
}
