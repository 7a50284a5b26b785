// Package folder reads and writes a model as a folder: config.json, model.safetensors and tokenizer.json.
package folder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"mor/internal/format/safetensors"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/strict"
	"mor/internal/token"
)

// The files of a folder.
const (
	ConfigFile    = "config.json"
	WeightsFile   = "model.safetensors"
	TokenizerFile = "tokenizer.json"
)

// Open reads the model in a folder. A tensor that is missing, superfluous or of another shape than the configuration says is an error.
func Open(dir string, cpu *kernel.CPU) (*model.Model, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("%s: no such model folder: expected one with %s and %s", dir, ConfigFile, WeightsFile)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s: a file: expected a model folder with %s and %s", dir, ConfigFile, WeightsFile)
	}
	c, err := model.ReadConfig(filepath.Join(dir, ConfigFile))
	if err != nil {
		return nil, err
	}
	f, err := safetensors.Open(filepath.Join(dir, WeightsFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := check(f, model.NewLayout(c, model.NewPlan(c)), filepath.Join(dir, WeightsFile)); err != nil {
		return nil, err
	}
	m := model.New(c, cpu)
	return m, ReadSlab(f, m.Layout, m.W)
}

// Tokenizer reads the tokenizer of a folder. A folder without one gives nil.
func Tokenizer(dir string) (*token.Tokenizer, error) {
	path := filepath.Join(dir, TokenizerFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return token.Load(path)
}

// check compares a file's tensors with a layout before any weight is allocated.
func check(f *safetensors.File, l *model.Layout, path string) error {
	for i := range l.Tensors {
		t := &l.Tensors[i]
		info, ok := f.Info(t.Name)
		if !ok {
			return fmt.Errorf("%s: tensor %s is missing: the file does not belong to the config.json beside it", path, t.Name)
		}
		if !slices.Equal(info.Shape, t.Shape) {
			return fmt.Errorf("%s: tensor %s has shape %v, expected %v from the config.json beside it", path, t.Name, info.Shape, t.Shape)
		}
	}
	for _, name := range f.Names() {
		if _, ok := l.Tensor(name); !ok {
			names := make([]string, len(l.Tensors))
			for i := range l.Tensors {
				names[i] = l.Tensors[i].Name
			}
			return fmt.Errorf("%s: tensor %s is not in the model of config.json%s", path, name, strict.Suggest(name, names))
		}
	}
	return nil
}

// ReadSlab fills a slab (weights, or moments under the same names) from a file.
func ReadSlab(f *safetensors.File, l *model.Layout, slab []float32) error {
	for i := range l.Tensors {
		t := &l.Tensors[i]
		if err := f.Float32s(t.Of(slab), t.Name); err != nil {
			return err
		}
	}
	return nil
}

// Sources names the tensors of a slab for safetensors.Write, each with a prefix.
func Sources(l *model.Layout, slab []float32, prefix string) []safetensors.Source {
	out := make([]safetensors.Source, len(l.Tensors))
	for i := range l.Tensors {
		t := &l.Tensors[i]
		out[i] = safetensors.FromFloat32s(prefix+t.Name, safetensors.F32, t.Shape, t.Of(slab))
	}
	return out
}

// WriteWeights writes model.safetensors.
func WriteWeights(w io.Writer, m *model.Model) error {
	return safetensors.Write(w, Sources(m.Layout, m.W, ""), map[string]string{"format": "pt"})
}

// Save writes a model to a new folder: aside, synced, then renamed. tok and files may be nil.
func Save(dir string, m *model.Model, tok *token.Tokenizer, files Assets) error {
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("%s: exists already: name another folder, or remove it", dir)
	}
	tmp := dir + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.MkdirAll(tmp, 0o777); err != nil {
		return err
	}
	err := errors.Join(
		create(filepath.Join(tmp, ConfigFile), func(w io.Writer) error { _, err := w.Write(m.Config.JSON()); return err }),
		create(filepath.Join(tmp, WeightsFile), func(w io.Writer) error { return WriteWeights(w, m) }))
	if err == nil && tok != nil {
		var data []byte
		if data, err = tok.MarshalJSON(); err == nil {
			err = create(filepath.Join(tmp, TokenizerFile), func(w io.Writer) error { _, err := w.Write(data); return err })
		}
	}
	for name, data := range files {
		err = errors.Join(err, create(filepath.Join(tmp, name), func(w io.Writer) error { _, err := w.Write(data); return err }))
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

// create writes one file and syncs it.
func create(path string, write func(io.Writer) error) error {
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
