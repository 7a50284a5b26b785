package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestOpenTokenizerGGUF: a .gguf file serves as a tokenizer.
func TestOpenTokenizerGGUF(t *testing.T) {
	path := filepath.Join("..", "..", "..", "shared", "data", "tokenizers", "llama.cpp-vectors", "ggml-vocab-gpt-2.gguf")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("needs the shared data beside the repository: %v", err)
	}
	tok, err := openTokenizer(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tok.Encode("Hello World"), []int32{15496, 2159}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
