package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mor/internal/golden"
	"mor/internal/model"
)

// TestInspectGolden inspects every golden model: tables without an error, and a JSON object that agrees with the model.
func TestInspectGolden(t *testing.T) {
	for _, c := range golden.Cases(t, "config.json", "model.safetensors", "train.json") {
		t.Run(c.Name, func(t *testing.T) {
			text, err := command("inspect", "--tensors", c.Path)
			if err != nil || !strings.Contains(text, "model.embed_tokens.weight") || !strings.Contains(text, "FLOPs forward") {
				t.Fatalf("%v\n%s", err, text)
			}
			text, err = command("inspect", "--json", "--tensors", "--kv-dtype", "bf16", c.Path)
			if err != nil {
				t.Fatal(err)
			}
			var in inspection
			if err := json.Unmarshal([]byte(text), &in); err != nil {
				t.Fatal(err)
			}
			cfg := c.Config(t)
			layers, values := 0, 0
			for _, s := range in.Plan {
				layers += len(s.Layers)
			}
			for _, x := range in.Tensors {
				values += x.Values
			}
			cost := model.Count(cfg, cfg.MaxPositionEmbeddings)
			if layers != cfg.NumHiddenLayers || values != in.Cost.Parameters.Total || in.Weights.Bytes != int64(4*values) || in.KV.PerToken != 2*cost.KVValues ||
				in.Cost.ForwardFLOPs != cost.ForwardFLOPs || in.Vanilla.ForwardFLOPs != model.Count(cfg.Vanilla(), cfg.MaxPositionEmbeddings).ForwardFLOPs {
				t.Errorf("%d layers, %d values: %s", layers, values, text)
			}
		})
	}
}

// TestInspectTable holds the layout of the tables.
func TestInspectTable(t *testing.T) {
	c, err := model.Preset("135m", "expert", model.MiddleCycle, 3)
	if err != nil {
		t.Fatal(err)
	}
	c.VocabSize = 49152
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, c.JSON(), 0o666); err != nil {
		t.Fatal(err)
	}
	text, err := command("inspect", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"segment      layers  weights of  KV slots   tokens      matrices    attention   router   KV bytes\n",
		"recursion 0  1–10    1–10        1–10         100%    70,778,880   23,592,960    1,152     15,360\n",
		"recursion 1  11–20   1–10        11–20       66.7%    47,185,920   10,485,760    1,152     10,240\n",
		"coda         31      11          31           100%     7,077,888    2,359,296        0      1,536\n",
		"total             70,795,008          141,595,200   0.500\n",
		"  non-embedding   42,483,456          113,283,648   0.375\n",
		"FLOPs in training          761,275,392        1,075,838,976   0.708\n",
		"KV bytes of 2,048 tokens    69,206,016          100,663,296   0.688\n",
		"Under causal routing each token decides for itself",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no line %q in\n%s", want, text)
		}
	}
}

func TestInspectRefuses(t *testing.T) {
	src := vanillaFolder(t, 2)
	for _, c := range []struct {
		want string
		args []string
	}{
		{"accepts 1 arg", nil},
		{"no such model", []string{src + "x"}},
		{"neither a model folder", []string{t.TempDir()}},
		{"--context: 33: the model was made for 32", []string{"--context", "33", src}},
		{"--context: -1", []string{"--context", "-1", src}},
		{"--shares: 1 values for 0 recursions", []string{"--shares", "1", src}},
		{`did you mean "fp32"?`, []string{"--kv-dtype", "fp23", src}},
	} {
		if _, err := command(append([]string{"inspect"}, c.args...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %q", c.args, err, c.want)
		}
	}
	other := vanillaFolder(t, 3) // the weights of another configuration
	data, err := os.ReadFile(filepath.Join(other, "model.safetensors"))
	if err == nil {
		err = os.WriteFile(filepath.Join(src, "model.safetensors"), data, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := command("inspect", src); err == nil || !strings.Contains(err.Error(), "tensor model.layers.2.input_layernorm.weight is not in the model") {
		t.Errorf("weights of another model: %v", err)
	}
}

func TestRanges(t *testing.T) {
	for _, c := range []struct {
		in   []int
		want string
	}{{nil, ""}, {[]int{4}, "4"}, {[]int{3, 4, 5, 9, 9}, "3–5 9×2"}, {[]int{0, 0, 0, 1, 1, 1}, "0×3 1×3"}, {[]int{1, 4}, "1 4"}} {
		if got := ranges(c.in); got != c.want {
			t.Errorf("ranges(%v) = %q, want %q", c.in, got, c.want)
		}
	}
}
