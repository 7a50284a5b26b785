package folder

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"mor/internal/format/hf"
	"mor/internal/format/safetensors"
	"mor/internal/model"
	"mor/internal/token"
)

// SaveOptions say how a model is written; the zero value writes float32 in one file.
type SaveOptions struct {
	HuggingFace  bool              // config.json of a LlamaForCausalLM or MixtralForCausalLM, which a recursive model has none of
	DType        safetensors.DType // F32 ("" too), F16 or BF16
	MaxShardSize int64             // bytes of a file of weights; 0: one file
	Tokenizer    *token.Tokenizer  // may be nil
	Files        Assets            // may be nil
}

// Save writes a model to a new folder: aside, synced, then renamed.
func Save(dir string, m *model.Model, o SaveOptions) error {
	files, err := o.files(m)
	if err != nil {
		return fmt.Errorf("save %s: %w", dir, err)
	}
	return saveFolder(dir, files, sources(m.Layout, m.W, "", o.DType), o.MaxShardSize, map[string]string{formatKey: "pt"})
}

// saveFolder writes files and tensors to a new folder.
func saveFolder(dir string, files Assets, tensors []safetensors.Source, limit int64, metadata map[string]string) error {
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("%s: exists already: name another folder, or remove it", dir)
	}
	tmp := dir + ".tmp"
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(tmp, 0o777)); err != nil {
		return err
	}
	var err error
	for name, data := range files {
		err = errors.Join(err, create(filepath.Join(tmp, name), data))
	}
	if err == nil {
		err = safetensors.WriteShards(tmp, tensors, limit, metadata)
	}
	if err == nil {
		err = os.Rename(tmp, dir)
	}
	if err != nil {
		os.RemoveAll(tmp)
		return fmt.Errorf("save %s: %w", dir, err)
	}
	return nil
}

// files is everything but the weights.
func (o *SaveOptions) files(m *model.Model) (Assets, error) {
	if o.DType == "" {
		o.DType = safetensors.F32
	}
	files := Assets{ConfigFile: m.Config.JSON()}
	for name, data := range o.Files {
		files[name] = data
	}
	if o.HuggingFace {
		stops, err := o.Files.StopTokens()
		if err != nil {
			return nil, err
		}
		if files[ConfigFile], err = hf.Config(m.Config, o.DType, stops); err != nil {
			return nil, err
		}
	}
	if o.Tokenizer != nil {
		data, err := o.Tokenizer.MarshalJSON()
		if err != nil {
			return nil, err
		}
		files[TokenizerFile] = data
	}
	return files, nil
}

// Sources names the tensors of a slab for safetensors.Write, each with a prefix.
func Sources(l *model.Layout, slab []float32, prefix string) []safetensors.Source {
	return sources(l, slab, prefix, safetensors.F32)
}

func sources(l *model.Layout, slab []float32, prefix string, d safetensors.DType) []safetensors.Source {
	out := make([]safetensors.Source, len(l.Tensors))
	for i := range l.Tensors {
		t := &l.Tensors[i]
		out[i] = safetensors.FromFloat32s(prefix+t.Name, d, t.Shape, t.Of(slab))
	}
	return out
}

// WriteWeights writes model.safetensors.
func WriteWeights(w io.Writer, m *model.Model) error {
	return safetensors.Write(w, Sources(m.Layout, m.W, ""), map[string]string{"format": "pt"})
}

// create writes one file and syncs it.
func create(path string, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}
