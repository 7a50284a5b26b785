package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mor/internal/format/folder"
	"mor/internal/golden"
	"mor/internal/model"
)

// command runs a command line and returns what it printed.
func command(args ...string) (string, error) {
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(context.Background())
	return out.String(), err
}

// vanillaFolder writes a small vanilla model with drawn weights.
func vanillaFolder(t *testing.T, layers int) string {
	c := &model.Config{
		ModelType: "mor", VocabSize: 29, HiddenSize: 16, IntermediateSize: 20, NumHiddenLayers: layers, NumAttentionHeads: 2, NumKeyValueHeads: 1,
		HeadDim: 6, MaxPositionEmbeddings: 32, RMSNormEps: 1e-5, RopeTheta: 10000, TieWordEmbeddings: true, InitializerRange: 0.3, HiddenAct: "silu",
	}
	cpu, err := openCPU(1)
	if err != nil {
		t.Fatal(err)
	}
	defer cpu.Close()
	m := model.New(c, cpu)
	m.Init(3)
	dir := filepath.Join(t.TempDir(), "vanilla")
	if err := folder.Save(dir, m, folder.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// openFolder reads a model back.
func openFolder(t *testing.T, dir string) *model.Model {
	cpu, err := openCPU(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cpu.Close)
	m, err := folder.Open(dir, cpu)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestConvertRecursive(t *testing.T) {
	src, dst := vanillaFolder(t, 7), filepath.Join(t.TempDir(), "new")
	text, err := command("convert", "--recursive", "middle_cycle", "--num-recursion", "2", "--init", "average", "--router", "expert", "--capacity", "0.9,0.5", "--gate", "tanh",
		"--set", "router.temperature=1.5", "--kv-sharing", "--lora-rank", "2", "--lora-targets", "q_proj,down_proj", src, dst)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"left out: 3", "1      1 3      mean of 1 4        1 4", "LoRA of rank 2", "q_proj", "New, because the source has none: model.routers.0.weight model.routers.1.weight\n",
		"tokenizer  none"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	m := openFolder(t, dst)
	r, rec := m.Config.Router, m.Config.Recursion
	if m.Config.NumHiddenLayers != 6 || !slices.Equal(r.Capacity, []float64{0.9, 0.5}) || r.Gate != "tanh" || r.Temperature != 1.5 || !rec.KVSharing || rec.LoRA.Alpha != 2 {
		t.Errorf("config %s", m.Config.JSON())
	}
	text, err = command("convert", "--json", "--recursive", "cycle", "--num-recursion", "3", src, dst+"2")
	var report conversion
	if err != nil || json.Unmarshal([]byte(text), &report) != nil || report.Uptrain.Depth != 6 || len(report.Uptrain.Layers) != 2 || report.Parameters == 0 {
		t.Errorf("%v: %s", err, text)
	}
	if text, err = command("inspect", dst); err != nil || !strings.Contains(text, "LoRA of rank 2") || !strings.Contains(text, "vanilla, 6 layers") {
		t.Errorf("inspect: %v\n%s", err, text)
	}
}

// TestConvertReference converts every checkpoint of the published code, and reads the result back.
func TestConvertReference(t *testing.T) {
	for _, c := range golden.Cases(t, "train.yaml", "golden.safetensors") {
		dst := filepath.Join(t.TempDir(), "new")
		args := []string{"convert", "--from", "reference", c.Path, dst}
		if _, err := os.Stat(filepath.Join(c.Path, "expected_config.json")); err != nil {
			if _, err := command(args...); err == nil || !strings.Contains(err.Error(), "--keep-untied") {
				t.Errorf("%s: %v, want an error about --keep-untied", c.Name, err)
			}
			args = append(args, "--keep-untied")
		}
		text, err := command(args...)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		if !strings.Contains(text, "model.layers.0") {
			t.Errorf("%s: the report names no layer:\n%s", c.Name, text)
		}
		openFolder(t, dst)
	}
}

func TestConvertRefuses(t *testing.T) {
	src, dst := vanillaFolder(t, 4), filepath.Join(t.TempDir(), "new")
	recursive := filepath.Join(t.TempDir(), "recursive")
	if _, err := command("convert", "--recursive", "cycle", "--num-recursion", "2", src, recursive); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want string
		args []string
	}{
		{"say how", []string{src, dst}},
		{"source and destination are the same", []string{"--recursive", "cycle", src, src + "/."}},
		{"exists already", []string{"--recursive", "cycle", src, recursive}},
		{"no folder", []string{"--recursive", "cycle", src, filepath.Join(dst, "deeper", "new")}},
		{"not vanilla", []string{"--recursive", "cycle", recursive, dst}},
		{"no such model", []string{"--recursive", "cycle", dst + "x", dst}},
		{"--recursive and --from at once", []string{"--recursive", "cycle", "--from", "reference", src, dst}},
		{`did you mean "reference"?`, []string{"--from", "referense", src, dst}},
		{"--init has no meaning with --from", []string{"--from", "reference", "--init", "lower", src, dst}},
		{"--keep-untied has no meaning with --recursive", []string{"--recursive", "cycle", "--keep-untied", src, dst}},
		{"--lora-alpha has no meaning with no --lora-rank", []string{"--recursive", "cycle", "--lora-alpha", "2", src, dst}},
		{`expected "llama"`, []string{"--from", "reference", src, dst}},
		{"expected one of cycle", []string{"--recursive", "cycel", src, dst}},
		{"--num-recursion: 0", []string{"--recursive", "cycle", "--num-recursion", "0", src, dst}},
		{"only 2 layers", []string{"--recursive", "middle_cycle", "--num-recursion", "3", src, dst}},
		{`did you mean "upper"?`, []string{"--recursive", "cycle", "--num-recursion", "2", "--init", "uper", src, dst}},
		{"--gate without a router", []string{"--recursive", "cycle", "--num-recursion", "2", "--gate", "tanh", src, dst}},
		{"without a router", []string{"--recursive", "cycle", "--num-recursion", "2", "--set", "router.alpha=1", src, dst}},
		{`did you mean "expert"?`, []string{"--recursive", "cycle", "--num-recursion", "2", "--router", "expret", src, dst}},
		{`router.gaet: unknown key: did you mean "gate"?`, []string{"--recursive", "cycle", "--num-recursion", "2", "--router", "expert", "--set", "router.gaet=tanh", src, dst}},
		{"expected key=value", []string{"--recursive", "cycle", "--num-recursion", "2", "--set", "router", src, dst}},
		{"the new model is recursive", []string{"--recursive", "cycle", "--num-recursion", "2", "--set", "recursion=null", src, dst}},
		{"router.capacity: grows", []string{"--recursive", "cycle", "--num-recursion", "2", "--router", "expert", "--capacity", "0.5,0.6", src, dst}},
		{"--lora-rank -1", []string{"--recursive", "cycle", "--num-recursion", "2", "--lora-rank", "-1", src, dst}},
		{`"q_prj"`, []string{"--recursive", "cycle", "--num-recursion", "2", "--lora-rank", "2", "--lora-targets", "q_prj", src, dst}},
	} {
		_, err := command(append([]string{"convert"}, c.args...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: got %v, want %q", c.args, err, c.want)
		}
		if _, err := os.Stat(dst); err == nil {
			t.Fatalf("%v left %s behind", c.args, dst)
		}
	}
}
