// Package source opens a model wherever it lies: in a folder of mor's, in a Hugging Face folder, in a GGUF file.
package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"mor/internal/format/folder"
	"mor/internal/format/gguf"
	"mor/internal/format/safetensors"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/token"
)

// Model is an opened model with what lies beside its weights.
type Model struct {
	*model.Model
	Tokenizer *token.Tokenizer // nil where there is none
	Stops     []int32          // tokens that end a text, besides the tokenizer's end-of-text
	Files     folder.Assets    // kept as they are when the model is converted
}

// IsFile tells whether a path names a GGUF file: a file, no folder, that begins as these do.
func IsFile(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var magic [4]byte
	_, err = io.ReadFull(f, magic[:])
	return err == nil && string(magic[:]) == "GGUF"
}

// Config reads the configuration alone.
func Config(path string) (*model.Config, error) {
	if !IsFile(path) {
		return folder.Config(path)
	}
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Config()
}

// Tokenizer reads the tokenizer alone, nil where there is none.
func Tokenizer(path string) (*token.Tokenizer, error) {
	if !IsFile(path) {
		return folder.Tokenizer(path)
	}
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Tokenizer()
}

// Open reads a model.
func Open(path string, cpu *kernel.CPU) (*Model, error) {
	if IsFile(path) {
		return openGGUF(path, cpu)
	}
	s := &Model{}
	var err error
	if s.Tokenizer, err = folder.Tokenizer(path); err != nil {
		return nil, err
	}
	if s.Files, err = folder.ReadAssets(path); err != nil {
		return nil, err
	}
	if s.Stops, err = s.Files.StopTokens(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s.Model, err = folder.Open(path, cpu)
	return s, err
}

func openGGUF(path string, cpu *kernel.CPU) (*Model, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := &Model{}
	if s.Tokenizer, err = f.Tokenizer(); err != nil {
		return nil, err
	}
	if s.Stops, err = f.StopTokens(); err != nil {
		return nil, err
	}
	template, err := f.ChatTemplate()
	if err != nil {
		return nil, err
	}
	s.Files = folder.NewAssets(s.Tokenizer, s.Stops, template)
	s.Model, err = f.Model(cpu)
	return s, err
}

// Stored says how a tensor lies in its file.
type Stored struct {
	DType string
	Bytes int64
}

// Weights describes the files of a model's weights.
type Weights struct {
	Files   []string
	Tensors map[string]Stored // by the model's names
}

// ReadWeights describes the weights of a model, compared with its configuration; nil where there are none.
func ReadWeights(path string, c *model.Config) (*Weights, error) {
	if IsFile(path) {
		return readGGUFWeights(path, c)
	}
	w, err := safetensors.OpenShards(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer w.Close()
	if err := folder.Match(w, c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	out := &Weights{Files: w.Files(), Tensors: map[string]Stored{}}
	for _, name := range w.Names() {
		t, _ := w.Info(name)
		out.Tensors[name] = Stored{string(t.DType), int64(t.Len() * t.DType.Size())}
	}
	return out, nil
}

func readGGUFWeights(path string, c *model.Config) (*Weights, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Match(c); err != nil {
		return nil, err
	}
	out := &Weights{Files: []string{filepath.Base(path)}, Tensors: map[string]Stored{}}
	for i := range f.Tensors {
		t := &f.Tensors[i]
		out.Tensors[gguf.ModelName(t.Name)] = Stored{t.Type.String(), t.Bytes()}
	}
	return out, nil
}
