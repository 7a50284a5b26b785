package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mor/internal/golden"
)

// llamaSimple finds llama.cpp's program for greedy text: in the folder that LLAMA_BIN names, or on the PATH. Where it is absent the test is skipped.
func llamaSimple(t *testing.T) string {
	t.Helper()
	const name = "llama-simple"
	path := filepath.Join(os.Getenv("LLAMA_BIN"), name)
	if os.Getenv("LLAMA_BIN") == "" {
		path = name
	}
	path, err := exec.LookPath(path)
	if err != nil {
		t.Skipf("%s is absent: build llama.cpp, and name the folder of its programs by LLAMA_BIN", name)
	}
	return path
}

// TestLlamaCpp: llama.cpp runs the GGUF files that convert writes, and continues a prompt by the same best tokens. Q4_0 is not among the types, because llama.cpp
// rounds the activations too, to 8 bits, which soon changes a best token of so small a model.
func TestLlamaCpp(t *testing.T) {
	program := llamaSimple(t)
	src := golden.Shared(t, "data", "models", "stories260K", "stories260K.gguf")
	const prompt = "Once upon a time"
	for _, dtype := range []string{"f32", "f16", "bf16", "q8_0"} {
		file := filepath.Join(t.TempDir(), dtype+".gguf")
		if _, err := command("convert", "--to", "gguf", "--dtype", dtype, src, file); err != nil {
			t.Fatal(err)
		}
		theirs, err := exec.Command(program, "-m", file, "-n", "100", prompt).Output()
		if err != nil {
			t.Fatalf("%s: %v", dtype, err)
		}
		root, out := newRoot(), &strings.Builder{}
		root.SetArgs([]string{"generate", file, prompt, "--max-tokens", "100", "--temperature", "0"})
		root.SetOut(out)
		root.SetErr(&strings.Builder{})
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := strings.TrimSpace(out.String()), strings.TrimSpace(strings.TrimPrefix(string(theirs), "<s>")); got != want || len(got) < 100 {
			t.Errorf("%s: got\n%s\nllama.cpp\n%s", dtype, got, want)
		}
	}
}
