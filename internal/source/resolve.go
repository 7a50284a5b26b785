package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"mor/internal/checkpoint"
	"mor/internal/format/folder"
)

// NoModelError tells that a path has no model that training would have made.
type NoModelError struct{ Path, Found string }

func (e *NoModelError) Error() string {
	return fmt.Sprintf("%s: %s: mor train --out %s makes one", e.Path, e.Found, e.Path)
}

// Resolve returns the model that path names: a model folder or a GGUF file itself, or the latest checkpoint of a run directory. The files of a checkpoint are
// verified.
func Resolve(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", &NoModelError{path, "no such model folder or run"}
	case err != nil:
		return "", err
	case IsFile(path):
		return path, nil
	case !info.IsDir():
		return "", fmt.Errorf("%s: a file: expected a model folder, a GGUF file or the directory of a training run", path)
	}
	if _, err := os.Stat(filepath.Join(path, folder.ConfigFile)); err == nil {
		return path, verifyCheckpoint(path)
	}
	latest, err := checkpoint.Latest(path)
	if errors.Is(err, checkpoint.ErrNone) {
		return "", &NoModelError{path, fmt.Sprintf("neither a model folder (no %s) nor a run with a checkpoint", folder.ConfigFile)}
	}
	if err != nil {
		return "", err
	}
	_, err = checkpoint.Open(latest.Path)
	return latest.Path, err
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
