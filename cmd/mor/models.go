package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mor/internal/checkpoint"
	"mor/internal/format/folder"
	"mor/internal/kernel"
	"mor/internal/source"
	"mor/internal/train"
)

// resolveModel returns the model that path names: a model folder or a GGUF file itself, or the latest checkpoint of a run directory. The files of a checkpoint are
// verified.
func resolveModel(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("%s: no such model folder or run: %s makes one", path, trainingOf(path))
	case err != nil:
		return "", err
	case source.IsFile(path):
		return path, nil
	case !info.IsDir():
		return "", fmt.Errorf("%s: a file: expected a model folder, a GGUF file or the directory of a training run", path)
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

// weightsFlag adds --weights.
func weightsFlag(cmd *cobra.Command, weights *string) {
	cmd.Flags().StringVar(weights, "weights", "auto", "type that the matrices are held in: "+strings.Join(source.Precisions(), ", ")+" (auto: what the file has)")
}

// openModel opens what resolveModel found for inference, its matrices in the type of --weights; its tokenizer must be there.
func openModel(path string, cpu *kernel.CPU, weights string) (*source.Model, error) {
	p, err := source.ParsePrecision(weights)
	if err != nil {
		return nil, fmt.Errorf("--weights: %w", err)
	}
	m, err := source.OpenInference(path, cpu, p)
	if err == nil && m.Tokenizer == nil {
		return nil, fmt.Errorf("%s: no %s: put the model's own beside its weights", path, folder.TokenizerFile)
	}
	return m, err
}
