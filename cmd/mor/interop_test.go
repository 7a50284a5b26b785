package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mor/internal/format/gguf"
	"mor/internal/golden"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/source"
)

// python runs a script of testdata/interop with the Python that MOR_PYTHON names, or python3. Where it or the packages are absent the test is skipped.
func python(t *testing.T, packages []string, script string, args ...string) []byte {
	t.Helper()
	bin := os.Getenv("MOR_PYTHON")
	if bin == "" {
		bin = "python3"
	}
	if err := exec.Command(bin, "-c", "import "+strings.Join(packages, ", ")).Run(); err != nil {
		t.Skipf("%s with %s is absent: install testdata/interop/requirements.txt, and name another Python by MOR_PYTHON", bin, strings.Join(packages, ", "))
	}
	cmd := exec.Command(bin, append([]string{filepath.Join("..", "..", "testdata", "interop", script)}, args...)...)
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, problems.String())
	}
	return out
}

var transformers = []string{"torch", "transformers", "safetensors"}

// modelLogits runs a model that lies at path.
func modelLogits(t *testing.T, path string, tokens []int32) (*source.Model, []float32) {
	t.Helper()
	cpu, err := kernel.Open(2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cpu.Close)
	m, err := source.Open(path, cpu)
	if err != nil {
		t.Fatal(err)
	}
	tape := m.NewTape()
	if err := m.Forward(tape, model.NewBatch(tokens), model.Mode{}, false); err != nil {
		t.Fatal(err)
	}
	out := make([]float32, len(tokens)*m.Config.VocabSize)
	m.Logits(out, tape, 0, len(tokens))
	return m, out
}

func compareLogits(t *testing.T, got []float32, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d logits, want %d", len(got), len(want))
	}
	worst := 0.0
	for i, v := range got {
		worst = max(worst, math.Abs(float64(v)-want[i]))
	}
	if t.Logf("largest difference %.1e", worst); !(worst <= 2e-4) {
		t.Errorf("logits differ by %.1e", worst)
	}
}

// TestTransformersFolders: folders that transformers writes have its logits here.
func TestTransformersFolders(t *testing.T) {
	dir := t.TempDir()
	python(t, transformers, "save.py", dir)
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		folder := strings.TrimSuffix(file, ".json")
		t.Run(filepath.Base(folder), func(t *testing.T) {
			var want struct {
				Tokens []int32
				Logits []float64
			}
			data, err := os.ReadFile(file)
			if err == nil {
				err = json.Unmarshal(data, &want)
			}
			if err != nil {
				t.Fatal(err)
			}
			_, got := modelLogits(t, folder, want.Tokens)
			compareLogits(t, got, want.Logits)
		})
	}
}

// TestTransformersLoads: transformers loads what convert --to hf writes, as the class that it should be, and computes the same logits.
func TestTransformersLoads(t *testing.T) {
	cases := []struct {
		kind, class string
		flags       []string
		exact       bool // nothing is rounded or lost on the way
		src, dst    string
	}{
		{kind: "vanilla", class: "LlamaForCausalLM", exact: true},
		{kind: "vanilla_untied", class: "LlamaForCausalLM", flags: []string{"--dtype", "bf16", "--max-shard-size", "10KB"}},
		{kind: "moe", class: "MixtralForCausalLM", exact: true},
		{kind: "middle_cycle", class: "LlamaForCausalLM", flags: []string{"--unroll"}, exact: true},
		{kind: "expert", class: "LlamaForCausalLM", flags: []string{"--unroll"}},
	}
	var args []string
	for i := range cases {
		c := &cases[i]
		c.src, c.dst = kindFolder(t, c.kind), filepath.Join(t.TempDir(), "hf")
		if _, err := command(append([]string{"convert", "--to", "hf", c.src, c.dst}, c.flags...)...); err != nil {
			t.Fatal(err)
		}
		tokens := golden.Sequences(namedKind(t, c.kind), 30)[0]
		args = append(args, c.dst, strings.Trim(strings.Join(strings.Fields(fmt.Sprint(tokens)), ","), "[]"))
	}
	answers := json.NewDecoder(bytes.NewReader(python(t, transformers, "logits.py", args...)))
	for _, c := range cases {
		var want struct {
			Kind   string
			Logits []float64
		}
		if err := answers.Decode(&want); err != nil {
			t.Fatal(err)
		}
		t.Run(c.kind, func(t *testing.T) {
			if want.Kind != c.class {
				t.Errorf("loaded as %s, want %s", want.Kind, c.class)
			}
			tokens := golden.Sequences(namedKind(t, c.kind), 30)[0]
			_, got := modelLogits(t, c.dst, tokens)
			compareLogits(t, got, want.Logits)
			if c.exact {
				_, got := modelLogits(t, c.src, tokens)
				compareLogits(t, got, want.Logits)
			}
		})
	}
}

// TestGGUFValues: Python's gguf package reads the same values from the files that convert writes, and from the one that MOR_GGUF names.
func TestGGUFValues(t *testing.T) {
	src, dir := ggufSource(t), t.TempDir()
	var files []string
	for _, dtype := range []string{"f32", "f16", "bf16", "q8_0", "q4_0"} {
		files = append(files, filepath.Join(dir, dtype+".gguf"))
		if _, err := command("convert", "--to", "gguf", "--dtype", dtype, src, files[len(files)-1]); err != nil {
			t.Fatal(err)
		}
	}
	if file := os.Getenv("MOR_GGUF"); file != "" {
		files = append(files, strings.Split(file, ",")...)
	}
	answers := json.NewDecoder(bytes.NewReader(python(t, []string{"gguf", "numpy"}, "dequantize.py", files...)))
	for _, file := range files {
		want := map[string]ggufValues{}
		if err := answers.Decode(&want); err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(file), func(t *testing.T) { compareGGUF(t, file, want) })
	}
}

// ggufValues sums up a tensor.
type ggufValues struct {
	Type      string
	Sum, Size float64
}

// compareGGUF holds the values of a file's tensors against those that Python's gguf package reads.
func compareGGUF(t *testing.T, file string, want map[string]ggufValues) {
	t.Helper()
	f, err := gguf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(want) != len(f.Tensors) {
		t.Fatalf("%d tensors, want %d", len(f.Tensors), len(want))
	}
	for i := range f.Tensors {
		tensor := &f.Tensors[i]
		values, sum := make([]float32, tensor.Len()), 0.0
		if err := f.Float32s(values, tensor); err != nil {
			t.Fatal(err)
		}
		for j, v := range values {
			sum += float64(v) * float64(j%97+1)
		}
		if w := want[tensor.Name]; w.Type != tensor.Type.String() || math.Abs(sum-w.Sum) > 1e-5*97*w.Size {
			t.Errorf("%s: %s, sum %v; want %s, %v", tensor.Name, tensor.Type, sum, w.Type, w.Sum)
		}
	}
}
