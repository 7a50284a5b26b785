// Package source opens a model wherever it lies: in a folder of mor's, in a Hugging Face folder, in a GGUF file.
package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"

	"mor/internal/format/folder"
	"mor/internal/format/gguf"
	"mor/internal/format/safetensors"
	"mor/internal/kernel"
	"mor/internal/memory"
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
		return openGGUF(path, func(f *gguf.File) (*model.Model, error) { return f.Model(cpu) })
	}
	return openFolder(path, func() (*model.Model, error) { return folder.Open(path, cpu) })
}

// dropBeginning gives back, before the weights take theirs, the memory that a tokenizer was read from, and that of the program's start.
func dropBeginning() {
	debug.FreeOSMemory()
	memory.TrimProgram()
}

// openFolder reads a folder, its weights by read.
func openFolder(path string, read func() (*model.Model, error)) (*Model, error) {
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
	dropBeginning()
	s.Model, err = read()
	return s, err
}

// openGGUF reads a GGUF file, its weights by read.
func openGGUF(path string, read func(f *gguf.File) (*model.Model, error)) (*Model, error) {
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
	f.DropTokenizer()
	dropBeginning()
	s.Model, err = read(f)
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
	q, packed, err := folder.PackedType(w)
	if err == nil && !packed {
		err = folder.Match(w, c)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	out := &Weights{Files: w.Files(), Tensors: map[string]Stored{}}
	for _, name := range w.Names() {
		t, _ := w.Info(name)
		stored := Stored{string(t.DType), int64(t.Len() * t.DType.Size())}
		if packed && t.DType == safetensors.U8 {
			stored.DType = q.String()
		}
		out.Tensors[name] = stored
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
