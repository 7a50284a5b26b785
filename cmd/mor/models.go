package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"mor/internal/checkpoint"
	"mor/internal/format/folder"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/token"
	"mor/internal/train"
)

// resolveModel returns the folder of the model that path names: a model folder itself, or the latest checkpoint of a run directory. The files
// of a checkpoint are verified.
func resolveModel(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%s: no such model folder or run: %s makes one", path, trainingOf(path))
	case err != nil:
		return "", err
	case !info.IsDir():
		return "", fmt.Errorf("%s: a file: expected a model folder or the directory of a training run", path)
	}
	if _, err := os.Stat(filepath.Join(path, folder.ConfigFile)); err == nil {
		return path, verifyCheckpoint(path)
	}
	latest, err := checkpoint.Latest(path)
	if errors.Is(err, checkpoint.ErrNone) {
		return "", fmt.Errorf("%s: neither a model folder (no %s) nor a run with a checkpoint: %s makes one", path, folder.ConfigFile, trainingOf(path))
	}
	if err != nil {
		return "", err
	}
	_, err = checkpoint.Open(latest.Path)
	return latest.Path, err
}

// trainingOf is the command that makes a run at path.
func trainingOf(path string) string {
	if path == train.Defaults().Out {
		return "mor train"
	}
	return "mor train --out " + path
}

// verifyCheckpoint verifies the files of a model folder that is a checkpoint of a run.
func verifyCheckpoint(path string) error {
	path = filepath.Clean(path)
	siblings, err := checkpoint.List(filepath.Dir(path))
	if err != nil || !slices.ContainsFunc(siblings, func(c checkpoint.Info) bool { return c.Path == path }) {
		return nil // a model that stands alone
	}
	_, err = checkpoint.Open(path)
	return err
}

// openModel reads a folder's model and tokenizer, which must be there.
func openModel(dir string, cpu *kernel.CPU) (*model.Model, *token.Tokenizer, error) {
	tok, err := folder.Tokenizer(dir)
	if err != nil {
		return nil, nil, err
	}
	if tok == nil {
		return nil, nil, fmt.Errorf("%s: no %s: put the model's own beside its weights", dir, folder.TokenizerFile)
	}
	m, err := folder.Open(dir, cpu)
	return m, tok, err
}
