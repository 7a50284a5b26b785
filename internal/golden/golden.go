// Package golden finds and reads the reference cases that tests compare with.
package golden

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"mor/internal/format/safetensors"
	"mor/internal/model"
)

// Dir returns the folder of the cases: the one that MOR_GOLDEN names, or shared/golden/cases beside the repository. Where there is none
// the test is skipped.
func Dir(t testing.TB) string {
	if dir := os.Getenv("MOR_GOLDEN"); dir != "" {
		if _, err := os.Stat(dir); err != nil {
			t.Fatalf("MOR_GOLDEN: %v", err)
		}
		return dir
	}
	return Shared(t, "golden", "cases")
}

// Shared returns a path below the folder shared beside the repository. Where it is absent the test is skipped.
func Shared(t testing.TB, elem ...string) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test's folder")
		}
		dir = filepath.Dir(dir)
	}
	path := filepath.Join(append([]string{dir, "..", "shared"}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is absent: put the shared folder beside the repository", filepath.Join(elem...))
	}
	return path
}

// Case is one folder.
type Case struct {
	Name, Path string
}

// Cases lists the folders that hold every one of the files.
func Cases(t testing.TB, files ...string) []Case {
	dir := Dir(t)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []Case
next:
	for _, e := range entries {
		for _, f := range files {
			if _, err := os.Stat(filepath.Join(dir, e.Name(), f)); err != nil {
				continue next
			}
		}
		out = append(out, Case{e.Name(), filepath.Join(dir, e.Name())})
	}
	if len(out) == 0 && os.Getenv("MOR_GOLDEN") != "" {
		t.Skipf("%s, which MOR_GOLDEN names, holds no case with %v", dir, files)
	}
	if len(out) == 0 {
		t.Fatalf("%s holds no case with %v", dir, files)
	}
	return out
}

// JSON reads a file of the case.
func (c Case) JSON(t testing.TB, name string, v any) {
	data, err := os.ReadFile(filepath.Join(c.Path, name))
	if err == nil {
		data = bytes.ReplaceAll(data, []byte("Infinity"), []byte("1e308")) // Python writes what JSON lacks
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		t.Fatalf("%s: %s: %v", c.Name, name, err)
	}
}

// Config reads the case's config.json.
func (c Case) Config(t testing.TB) *model.Config {
	cfg, err := model.ReadConfig(filepath.Join(c.Path, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// Tensors reads a safetensors file of the case.
func (c Case) Tensors(t testing.TB, name string) *Tensors {
	f, err := safetensors.Open(filepath.Join(c.Path, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &Tensors{t, f}
}

// Tensors is an open safetensors file.
type Tensors struct {
	t testing.TB
	f *safetensors.File
}

// Has tells whether a tensor is there.
func (x *Tensors) Has(name string) bool {
	_, ok := x.f.Info(name)
	return ok
}

// Names lists the tensors.
func (x *Tensors) Names() []string { return x.f.Names() }

// Floats returns a tensor's values and shape.
func (x *Tensors) Floats(name string) ([]float32, []int) {
	info, ok := x.f.Info(name)
	if !ok {
		x.t.Fatalf("no tensor %s", name)
	}
	out := make([]float32, info.Len())
	if err := x.f.Float32s(out, name); err != nil {
		x.t.Fatal(err)
	}
	return out, info.Shape
}

// Ints returns a tensor's values and shape.
func (x *Tensors) Ints(name string) ([]int32, []int) {
	info, ok := x.f.Info(name)
	if !ok {
		x.t.Fatalf("no tensor %s", name)
	}
	out := make([]int32, info.Len())
	if err := x.f.Int32s(out, name); err != nil {
		x.t.Fatal(err)
	}
	return out, info.Shape
}

// Load fills the weights of a model.
func (x *Tensors) Load(m *model.Model) {
	for i := range m.Layout.Tensors {
		tensor := &m.Layout.Tensors[i]
		if err := x.f.Float32s(tensor.Of(m.W), tensor.Name); err != nil {
			x.t.Fatal(err)
		}
	}
}
