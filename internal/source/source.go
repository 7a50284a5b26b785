// Package source opens a model wherever it lies: in a folder of mor's, in a Hugging Face folder, in a GGUF file.
package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mor/internal/format/folder"
	"mor/internal/format/gguf"
	"mor/internal/format/hf"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/token"
)

// The formats.
const (
	Folder      = "mor"
	HuggingFace = "hugging face"
	GGUF        = "gguf"
)

// Model is an opened model with what lies beside its weights.
type Model struct {
	*model.Model
	Format    string
	Tokenizer *token.Tokenizer // nil where there is none
	Stops     []int32          // tokens that end a text, besides the tokenizer's end-of-text
	Files     folder.Assets    // kept as they are when the model is converted
}

// IsFile tells whether a path names a model that is a single file.
func IsFile(path string) bool { return strings.EqualFold(filepath.Ext(path), ".gguf") }

// FormatOf looks at what a path names.
func FormatOf(path string) (string, error) {
	if IsFile(path) {
		return GGUF, nil
	}
	file := filepath.Join(path, folder.ConfigFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: no such model: expected a folder with %s and %s, or a .gguf file", path, folder.ConfigFile, folder.WeightsFile)
	}
	if err != nil {
		return "", err
	}
	var c struct {
		ModelType string `json:"model_type"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	switch c.ModelType {
	case "mor":
		return Folder, nil
	case "llama", "mixtral":
		return HuggingFace, nil
	}
	return "", fmt.Errorf("%s: model_type: %q is not supported: expected \"mor\", \"llama\" or \"mixtral\"", file, c.ModelType)
}

// Config reads the configuration alone.
func Config(path string) (*model.Config, error) {
	format, err := FormatOf(path)
	if err != nil {
		return nil, err
	}
	switch format {
	case GGUF:
		f, err := gguf.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return f.Config()
	case HuggingFace:
		return hf.ReadConfig(path)
	}
	return model.ReadConfig(filepath.Join(path, folder.ConfigFile))
}

// Open reads a model.
func Open(path string, cpu *kernel.CPU) (*Model, error) {
	format, err := FormatOf(path)
	if err != nil {
		return nil, err
	}
	s := &Model{Format: format}
	if format == GGUF {
		return s, s.openGGUF(path, cpu)
	}
	if format == Folder {
		s.Model, err = folder.Open(path, cpu)
	} else {
		s.Model, err = hf.Open(path, cpu)
	}
	if err != nil {
		return nil, err
	}
	if s.Tokenizer, err = folder.Tokenizer(path); err != nil {
		return nil, err
	}
	if s.Files, err = folder.ReadAssets(path); err != nil {
		return nil, err
	}
	s.Stops, err = s.Files.StopTokens()
	return s, err
}

func (s *Model) openGGUF(path string, cpu *kernel.CPU) error {
	f, err := gguf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if s.Model, err = f.Model(cpu); err != nil {
		return err
	}
	if s.Tokenizer, err = f.Tokenizer(); err != nil {
		return err
	}
	if s.Stops, err = f.StopTokens(); err != nil {
		return err
	}
	template, err := f.ChatTemplate()
	if err != nil {
		return err
	}
	s.Files = folder.NewAssets(slices.Clone(s.Stops), template)
	return nil
}
