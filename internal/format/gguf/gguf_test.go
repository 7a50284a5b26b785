package gguf_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mor/internal/format/gguf"
	"mor/internal/golden"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/quant"
	"mor/internal/token"
)

// written writes a small model as GGUF and returns the file's bytes.
func written(t testing.TB, kind quant.Type, edit func(*model.Config)) []byte {
	t.Helper()
	tok, err := token.Train(t.Context(), slices.Values([][]byte{[]byte(strings.Repeat("the router sends a token deeper\n", 20))}), token.TrainOptions{VocabSize: 270, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	c := *golden.Kinds()[0].Config
	c.VocabSize, c.HiddenSize, c.IntermediateSize, c.InitializerRange = 270, 32, 32, 0.02 // which a file does not carry
	edit(&c)
	cpu, err := kernel.New(kernel.Generic, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer cpu.Close()
	m := model.New(&c, cpu)
	m.Init(1)
	file := filepath.Join(t.TempDir(), "m.gguf")
	if err := gguf.Write(file, m, gguf.WriteOptions{Type: kind, Name: "m", Tokenizer: tok, Stops: []int32{7}}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// read opens a file with these bytes, and everything in it.
func read(t testing.TB, data []byte) (*model.Config, error) {
	file := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(file, data, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for i := range f.Tensors {
		if f.Tensors[i].Bytes() > int64(len(data)) {
			t.Fatalf("tensor %s takes %d bytes of a file of %d", f.Tensors[i].Name, f.Tensors[i].Bytes(), len(data))
		}
	}
	if _, err := f.Tokenizer(); err != nil {
		return nil, err
	}
	if _, err := f.StopTokens(); err != nil {
		return nil, err
	}
	c, err := f.Config()
	if err != nil {
		return nil, err
	}
	return c, f.Match(c)
}

// TestConfigSurvives: what a file says of the model is what was written.
func TestConfigSurvives(t *testing.T) {
	for name, edit := range map[string]func(*model.Config){
		"plain":  func(*model.Config) {},
		"untied": func(c *model.Config) { c.TieWordEmbeddings, c.RopeTheta, c.RMSNormEps = false, 500, 1e-6 },
		"linear": func(c *model.Config) { c.RopeScaling = &model.RopeScaling{RopeType: model.RopeLinear, Factor: 2} },
		"llama3": func(c *model.Config) {
			c.RopeScaling = &model.RopeScaling{RopeType: model.RopeLlama3, Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositionEmbeddings: 8192}
			c.HeadDim, c.RopeTheta = 64, 500000
		},
	} {
		var want model.Config
		c, err := read(t, written(t, quant.F32, func(c *model.Config) { edit(c); want = *c }))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(c.JSON(), want.JSON()) {
			t.Errorf("%s: got %s, want %s", name, c.JSON(), want.JSON())
		}
	}
}

// TestLlama3Factors: whatever the parameters of a Llama 3 scaling are, the factors that a file has of it give the same frequencies.
func TestLlama3Factors(t *testing.T) {
	for _, s := range []model.RopeScaling{
		{Factor: 32, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositionEmbeddings: 8192},
		{Factor: 3.5, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositionEmbeddings: 64},
		{Factor: 4, LowFreqFactor: 2, HighFreqFactor: 9, OriginalMaxPositionEmbeddings: 100},
		{Factor: 8, LowFreqFactor: 1, HighFreqFactor: 1.1, OriginalMaxPositionEmbeddings: 300},
		{Factor: 8, LowFreqFactor: 0.5, HighFreqFactor: 200, OriginalMaxPositionEmbeddings: 4096},
	} {
		s.RopeType = model.RopeLlama3
		for _, dim := range []int{8, 16, 64, 128} {
			var want []float64
			c, err := read(t, written(t, quant.F32, func(c *model.Config) {
				c.RopeScaling, c.HeadDim, c.RopeTheta = &s, dim, 10000
				want = c.RopeFrequencies()
			}))
			if err != nil {
				t.Errorf("%+v, head_dim %d: %v", s, dim, err)
				continue
			}
			for i, f := range c.RopeFrequencies() {
				if math.Abs(f-want[i]) > 2e-5*want[i] {
					t.Errorf("%+v, head_dim %d: frequency %d is %v, want %v (%+v)", s, dim, i, f, want[i], c.RopeScaling)
				}
			}
		}
	}
}

// TestOpenRefuses: each damage is named.
func TestOpenRefuses(t *testing.T) {
	whole := written(t, quant.Q8_0, func(*model.Config) {})
	replace := func(old, new string) []byte {
		if !bytes.Contains(whole, []byte(old)) {
			t.Fatalf("no %q in the file", old)
		}
		return bytes.Replace(whole, []byte(old), []byte(new), 1)
	}
	number := func(at int, v uint64) []byte {
		out := slices.Clone(whole)
		binary.LittleEndian.PutUint64(out[at:], v)
		return out
	}
	for _, c := range []struct {
		want string
		data []byte
	}{
		{"too short for a GGUF file", nil},
		{`begins with "GGUG": expected "GGUF"`, append([]byte("GGUG"), whole[4:]...)},
		{"GGUF version 1: expected 2 or 3", append(append([]byte("GGUF"), 1, 0, 0, 0), whole[8:]...)},
		{"a count of 1099511627776 at byte", number(8, 1<<40)},
		{"a count of 1099511627776 at byte", number(16, 1<<40)},
		{"truncated or damaged", whole[:len(whole)-64]},
		{"bytes follow", whole[:200]},
		{`general.architecture: "lIama" is not supported: expected "llama"`, replace("\x05\x00\x00\x00\x00\x00\x00\x00llama", "\x05\x00\x00\x00\x00\x00\x00\x00lIama")},
		{"metadata llama.block_count is missing", replace("llama.block_count", "llama.block_coumt")},
		{`tokenizer.ggml.model: "gpt3" is not supported`, replace("\x04\x00\x00\x00\x00\x00\x00\x00gpt2", "\x04\x00\x00\x00\x00\x00\x00\x00gpt3")},
		{"model.layers.0.mlp.gate_proj.weight", replace("blk.0.ffn_gate.weight", "blk.0.ffn_gats.weight")},
	} {
		_, err := read(t, c.data)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// FuzzOpen: whatever a file holds, reading it ends with an error or with a model that fits the file.
func FuzzOpen(f *testing.F) {
	f.Add(written(f, quant.Q4_0, func(*model.Config) {}))
	f.Add(written(f, quant.F16, func(c *model.Config) { c.TieWordEmbeddings = false }))
	f.Add([]byte("GGUF\x03\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := read(t, data)
		if err == nil && c.Validate() != nil {
			t.Error("an invalid configuration is accepted")
		}
	})
}

// TestSplitFile: one of several files of a model is refused with what to do.
func TestSplitFile(t *testing.T) {
	text := func(s string) []byte {
		return append(binary.LittleEndian.AppendUint64(nil, uint64(len(s))), s...)
	}
	data := slices.Concat([]byte("GGUF\x03\x00\x00\x00"), make([]byte, 8), []byte{2, 0, 0, 0, 0, 0, 0, 0},
		text("general.architecture"), []byte{8, 0, 0, 0}, text("llama"), text("split.count"), []byte{2, 0, 0, 0, 3, 0})
	file := filepath.Join(t.TempDir(), "m-00001-of-00003.gguf")
	if err := os.WriteFile(file, data, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Config(); err == nil || !strings.Contains(err.Error(), "split.count: 3: this is one of several files") {
		t.Error(err)
	}
}
