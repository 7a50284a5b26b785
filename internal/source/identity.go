package source

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"

	"mor/internal/format/folder"
	"mor/internal/format/safetensors"
)

// Packed tells whether a path names a folder whose weights are packed in a type of their own.
func Packed(path string) (bool, error) {
	if IsFile(path) {
		return false, nil
	}
	w, err := safetensors.OpenShards(path)
	if err != nil {
		return false, err
	}
	defer w.Close()
	_, packed, err := folder.PackedType(w)
	return packed, err
}

// Hash is the SHA-256 of the files that hold a model's configuration and weights.
func Hash(path string) (string, error) {
	files := []string{path}
	if !IsFile(path) {
		weights, err := filepath.Glob(filepath.Join(path, "model*.safetensors")) // in order
		if err != nil {
			return "", err
		}
		files = append([]string{filepath.Join(path, folder.ConfigFile)}, weights...)
	}
	h := sha256.New()
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
