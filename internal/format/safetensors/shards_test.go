package safetensors

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shardsOf writes tensors to a folder in files of at most limit bytes.
func shardsOf(t testing.TB, limit int64) string {
	t.Helper()
	dir := t.TempDir()
	tensors := []Source{
		FromFloat32s("a", F32, []int{2, 3}, []float32{1, 2, 3, 4, 5, 6}),
		FromFloat32s("b", BF16, []int{4}, []float32{7, 8, 9, 10}),
		FromFloat32s("c", F16, []int{1}, []float32{11}),
	}
	if err := WriteShards(dir, tensors, limit, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestShards: tensors survive, in one file or in several.
func TestShards(t *testing.T) {
	for limit, files := range map[int64]int{0: 1, 1000: 1, 24: 2, 25: 2, 1: 3} {
		s, err := OpenShards(shardsOf(t, limit))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if len(s.Files()) != files || !slices.Equal(s.Names(), []string{"a", "b", "c"}) {
			t.Errorf("limit %d: files %v of %v", limit, s.Files(), s.Names())
		}
		got := make([]float32, 4)
		if err := s.Float32s(got, "b"); err != nil || !slices.Equal(got, []float32{7, 8, 9, 10}) {
			t.Errorf("limit %d: %v, %v", limit, got, err)
		}
	}
}

func TestShardsRefuse(t *testing.T) {
	for want, edit := range map[string]func(index string) string{
		"weight_map: missing or empty":                           func(string) string { return "{}" },
		"not a safetensors index":                                func(s string) string { return s[:len(s)/2] },
		"expected a file of the same folder":                     func(s string) string { return strings.ReplaceAll(s, "model-00001", "../model-00001") },
		"model-00009-of-00003.safetensors is missing":            func(s string) string { return strings.ReplaceAll(s, "model-00003", "model-00009") },
		"tensor a is in model-00001-of-00003.safetensors, where": func(s string) string { return strings.ReplaceAll(s, `"a"`, `"d"`) },
		"tensor d is not in model-00003-of-00003.safetensors, wh": func(s string) string {
			return strings.Replace(s, `"c"`, `"d": "model-00003-of-00003.safetensors", "c"`, 1)
		},
	} {
		dir := shardsOf(t, 1)
		path := filepath.Join(dir, IndexFile)
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, []byte(edit(string(data))), 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := OpenShards(dir); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), IndexFile) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pytorch_model.bin"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenShards(dir); err == nil || !strings.Contains(err.Error(), "safe_serialization=True") {
		t.Errorf("got %v, want advice about pytorch_model.bin", err)
	}
}

// FuzzIndex: an index is refused, or names files of the same folder.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata": {"total_size": 4}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}`))
	f.Add([]byte(`{"weight_map": {"a": "../x", "b": ".."}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		index, err := parseIndex(data)
		for tensor, name := range index {
			if err == nil && filepath.Join("dir", name) != "dir"+string(filepath.Separator)+name {
				t.Errorf("tensor %q is in %q", tensor, name)
			}
		}
	})
}
