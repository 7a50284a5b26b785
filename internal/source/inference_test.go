package source_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mor/internal/format/folder"
	"mor/internal/golden"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/source"
)

func newCPU(t *testing.T) *kernel.CPU {
	cpu, err := kernel.Open(2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cpu.Close)
	return cpu
}

func precision(t *testing.T, name string) source.Precision {
	p, err := source.ParsePrecision(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// logits runs a model on a short text.
func logits(t *testing.T, m *model.Model) []float32 {
	tape := m.NewTape()
	if err := m.Forward(tape, model.NewBatch([]int32{1, 5, 2, 7, 3}), model.Mode{}, false); err != nil {
		t.Fatal(err)
	}
	out := make([]float32, 5*m.Config.VocabSize)
	m.Logits(out, tape, 0, 5)
	return out
}

// modelFolder writes a model with drawn weights.
func modelFolder(t *testing.T, cpu *kernel.CPU, c *model.Config) string {
	m := model.New(c, cpu)
	m.Init(5)
	dir := filepath.Join(t.TempDir(), "model")
	if err := folder.Save(dir, m, folder.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestPackedFolder: a folder of packed weights computes the bits of the model that was packed, for every kind, and for every type with some kind.
func TestPackedFolder(t *testing.T) {
	cpu := newCPU(t)
	names := []string{"bf16", "f16", "int8", "q4_1", "q4_0"}
	for i, k := range golden.Kinds() {
		dir, name := modelFolder(t, cpu, k.Config), names[i%len(names)]
		t.Run(k.Name+"/"+name, func(t *testing.T) {
			p := precision(t, name)
			m, err := source.OpenInference(dir, cpu, p)
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(t.TempDir(), name)
			if err := folder.SavePacked(to, m.Model, p.Type(), folder.SaveOptions{}); err != nil {
				t.Fatal(err)
			}
			packed, err := source.OpenInference(to, cpu, source.Precision{})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(logits(t, m.Model), logits(t, packed.Model)) {
				t.Error("computes something else when packed")
			}
		})
	}
}

// TestOpenInference: float32 for inference is the model itself.
func TestOpenInference(t *testing.T) {
	cpu := newCPU(t)
	dir := modelFolder(t, cpu, golden.Kinds()[0].Config)
	m, err := source.Open(dir, cpu)
	if err != nil {
		t.Fatal(err)
	}
	run, err := source.OpenInference(dir, cpu, source.Precision{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(logits(t, m.Model), logits(t, run.Model)) {
		t.Error("the logits differ")
	}
}

// TestPackedRefusals: what a packed folder cannot do, and one that is damaged, is refused by an error of one line.
func TestPackedRefusals(t *testing.T) {
	cpu := newCPU(t)
	dir := modelFolder(t, cpu, golden.Kinds()[0].Config)
	int8 := precision(t, "int8")
	m, err := source.OpenInference(dir, cpu, int8)
	if err != nil {
		t.Fatal(err)
	}
	pack := func(edit func([]byte) []byte) string {
		to := filepath.Join(t.TempDir(), "packed")
		if err := folder.SavePacked(to, m.Model, int8.Type(), folder.SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(to, folder.WeightsFile)
		data, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(file, edit(data), 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
	whole := pack(func(b []byte) []byte { return b })
	for _, c := range []struct {
		name, want string
		open       func() error
	}{
		{"training", "packed as Q8_0", func() error { _, err := source.Open(whole, cpu); return err }},
		{"another type", "packed as Q8_0", func() error { _, err := source.OpenInference(whole, cpu, precision(t, "bf16")); return err }},
		{"cut off", "bytes", func() error {
			_, err := source.OpenInference(pack(func(b []byte) []byte { return b[:len(b)-9] }), cpu, source.Precision{})
			return err
		}},
		{"unknown type", "not a type", func() error {
			edit := func(b []byte) []byte { return []byte(strings.Replace(string(b), "Q8_0", "Q9_9", 1)) }
			_, err := source.OpenInference(pack(edit), cpu, source.Precision{})
			return err
		}},
		{"other type in the metadata", "expected", func() error {
			edit := func(b []byte) []byte { return []byte(strings.Replace(string(b), "Q8_0", "Q4_0", 1)) }
			_, err := source.OpenInference(pack(edit), cpu, source.Precision{})
			return err
		}},
	} {
		if err := c.open(); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, expected one line with %q", c.name, err, c.want)
		}
	}
	if _, err := source.ParsePrecision("int9"); err == nil || !strings.Contains(err.Error(), "int8") {
		t.Errorf("int9: %v", err)
	}
}
