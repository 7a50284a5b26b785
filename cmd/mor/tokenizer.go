package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"mor/internal/format/folder"
	"mor/internal/source"
	"mor/internal/token"
)

func newTokenizer() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tokenizer",
		Short: "Train a tokenizer, encode and decode with one, and measure one on text",
		Long: `Train a byte-level BPE tokenizer, encode and decode with one, and measure one on text.

A TOKENIZER is a tokenizer.json, a folder that has one, the directory of a training run, or a .gguf file.`,
		Example: `  mor tokenizer train --data 'notes/*.md' --vocab-size 8192 --out tokenizer.json
  mor tokenizer encode tokenizer.json "func main() {"
  mor tokenizer decode tokenizer.json 504 253 216
  mor tokenizer stats runs/default --data book.txt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTokenizerTrain(), newTokenizerEncode(), newTokenizerDecode(), newTokenizerStats())
	return cmd
}

// openTokenizer reads the tokenizer that path names: a tokenizer.json, a folder that has one, the latest checkpoint of a run directory, or a
// .gguf file.
func openTokenizer(path string) (*token.Tokenizer, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file or folder: expected a %s, a folder that has one, a training run or a .gguf file", path, folder.TokenizerFile)
	}
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return folderTokenizer(path)
	}
	if source.IsFile(path) {
		return source.Tokenizer(path)
	}
	return token.Load(path)
}

// folderTokenizer reads the tokenizer of a folder or of a run's latest checkpoint.
func folderTokenizer(path string) (*token.Tokenizer, error) {
	if tok, err := folder.Tokenizer(path); tok != nil || err != nil {
		return tok, err
	}
	dir, err := resolveModel(path)
	if err != nil {
		return nil, err
	}
	tok, err := folder.Tokenizer(dir)
	if tok == nil && err == nil {
		return nil, fmt.Errorf("%s: no %s", filepath.Clean(dir), folder.TokenizerFile)
	}
	return tok, err
}

// readInput reads the file of --file, or standard input where path is "-".
func readInput(path string, stdin io.Reader) ([]byte, error) {
	var data []byte
	var err error
	if path == "-" {
		data, err = io.ReadAll(stdin)
	} else {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("--file: %w", err)
	}
	return data, nil
}

// createNew makes a file that must not be there yet, as nothing is overwritten. What was written of it is removed where write fails.
func createNew(path string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("--out %s: there already: remove it, or name another file", path)
	}
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	if err = errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("--out: %w", err), os.Remove(path))
	}
	return nil
}
