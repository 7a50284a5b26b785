package main

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mor/internal/format/folder"
	"mor/internal/golden"
	"mor/internal/model"
	"mor/internal/source"
	"mor/internal/token"
)

// namedKind is a configuration of the table of kinds.
func namedKind(t *testing.T, name string) *model.Config {
	t.Helper()
	for _, k := range golden.Kinds() {
		if k.Name == name {
			return k.Config
		}
	}
	t.Fatalf("no kind %s", name)
	return nil
}

// saveModel writes a model with drawn weights.
func saveModel(t *testing.T, c *model.Config, o folder.SaveOptions) string {
	t.Helper()
	cpu, err := openCPU(1)
	if err != nil {
		t.Fatal(err)
	}
	defer cpu.Close()
	m := model.New(c, cpu)
	m.Init(3)
	for i := range m.Layout.Tensors { // everything has an effect
		for j, w := 0, m.Layout.Tensors[i].Of(m.W); j < len(w); j++ {
			w[j] += 0.05 * float32(math.Sin(float64(13*i+7*j+1)))
		}
	}
	dir := filepath.Join(t.TempDir(), "model")
	if err := folder.Save(dir, m, o); err != nil {
		t.Fatal(err)
	}
	return dir
}

func kindFolder(t *testing.T, name string) string {
	return saveModel(t, namedKind(t, name), folder.SaveOptions{})
}

// ggufSource writes a vanilla model with a tokenizer, a chat template and stop tokens. Its rows are whole blocks of every type.
func ggufSource(t *testing.T) string {
	t.Helper()
	tok, err := token.Train(t.Context(), slices.Values([][]byte{prose(5000)}), token.TrainOptions{VocabSize: 300, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	c := *namedKind(t, "vanilla_untied")
	c.VocabSize, c.HiddenSize, c.IntermediateSize = 310, 64, 96
	eot, _ := tok.EOT()
	return saveModel(t, &c, folder.SaveOptions{Tokenizer: tok, Files: folder.NewAssets(tok, []int32{eot, 5}, "{{ messages }}")})
}

func openSource(t *testing.T, path string) *source.Model {
	t.Helper()
	m, _ := modelLogits(t, path, []int32{1})
	return m
}

// TestConvertToGGUF: a file of floats computes what the folder does, bit for bit, and carries its tokenizer, stop tokens and chat template; fewer bits come near.
func TestConvertToGGUF(t *testing.T) {
	src, tokens := ggufSource(t), []int32{5, 9, 280, 299, 17, 3}
	from, want := modelLogits(t, src, tokens)
	size := 0.0
	for _, v := range want {
		size = max(size, math.Abs(float64(v)))
	}
	for _, c := range []struct {
		dtype string
		near  float64 // of the largest logit
	}{{"f32", 0}, {"f16", 5e-3}, {"bf16", 4e-2}, {"q8_0", 4e-2}, {"q4_0", 0.5}} {
		t.Run(c.dtype, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "m.gguf")
			if _, err := command("convert", "--to", "gguf", "--dtype", c.dtype, src, file); err != nil {
				t.Fatal(err)
			}
			to, got := modelLogits(t, file, tokens)
			for i, v := range got {
				if d := math.Abs(float64(v - want[i])); !(d <= c.near*size) {
					t.Fatalf("logit %d is %v, want %v", i, v, want[i])
				}
			}
			text := "the router sends 1234 tokens; über\n"
			if a, b := from.Tokenizer.Encode(text), to.Tokenizer.Encode(text); !slices.Equal(a, b) {
				t.Errorf("tokens %v, want %v", b, a)
			}
			if a, b := from.Tokenizer.VocabSize(), to.Tokenizer.VocabSize(); a != b {
				t.Errorf("%d tokens, want %d: what fills the rows of the embedding is none", b, a)
			}
			if !slices.Equal(from.Stops, to.Stops) {
				t.Errorf("stop tokens %v, want %v", to.Stops, from.Stops)
			}
			if a, err := to.Files.ChatTemplate(); err != nil || a != "{{ messages }}" {
				t.Errorf("chat template %q, %v", a, err)
			}
			back := filepath.Join(t.TempDir(), "back")
			if _, err := command("convert", "--to", "mor", file, back); err != nil {
				t.Fatal(err)
			}
			if _, again := modelLogits(t, back, tokens); !slices.Equal(got, again) {
				t.Error("the folder made from the file computes something else")
			}
		})
	}
}

// TestConvertToHuggingFace: folder, shards and unrolled recursions compute the same, and what lies beside the weights goes along.
func TestConvertToHuggingFace(t *testing.T) {
	tokens := []int32{5, 9, 28, 17, 3}
	for _, c := range []struct {
		kind  string
		flags []string
	}{
		{"vanilla", nil},
		{"vanilla_untied", []string{"--max-shard-size", "8KB"}},
		{"moe", []string{"--max-shard-size", "0.01MB"}},
		{"middle_cycle", []string{"--unroll"}},
		{"sequence", []string{"--unroll"}},
	} {
		src, dst := kindFolder(t, c.kind), filepath.Join(t.TempDir(), "hf")
		if out, err := command(append([]string{"convert", "--to", "hf", src, dst}, c.flags...)...); err != nil || strings.Contains(out, "lost") {
			t.Fatalf("%s: %s, %v", c.kind, out, err)
		}
		_, want := modelLogits(t, src, tokens)
		if _, got := modelLogits(t, dst, tokens); !slices.Equal(got, want) {
			t.Errorf("%s: computes something else", c.kind)
		}
		if shards, _ := filepath.Glob(filepath.Join(dst, "model-*.safetensors")); strings.Contains(strings.Join(c.flags, " "), "shard") != (len(shards) > 1) {
			t.Errorf("%s: shards %v", c.kind, shards)
		}
	}
	dst := filepath.Join(t.TempDir(), "lossy")
	if out, err := command("convert", "--to", "hf", "--unroll", kindFolder(t, "expert_kv_sharing"), dst); err != nil || !strings.Contains(out, "lost     the expert router") || !strings.Contains(out, "lost     KV sharing") {
		t.Errorf("%s, %v", out, err)
	}
	src := ggufSource(t)
	if err := os.WriteFile(filepath.Join(src, "special_tokens_map.json"), []byte("{}"), 0o666); err != nil {
		t.Fatal(err)
	}
	dst = filepath.Join(t.TempDir(), "files")
	if _, err := command("convert", "--to", "hf", "--dtype", "bf16", src, dst); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json"} {
		if _, err := os.Stat(filepath.Join(dst, name)); err != nil {
			t.Error(err)
		}
	}
	if got := openSource(t, dst).Stops; !slices.Equal(got, openSource(t, src).Stops) {
		t.Errorf("stop tokens %v", got)
	}
}

// TestConvertToRefuses: each mistake is named before anything is written.
func TestConvertToRefuses(t *testing.T) {
	vanilla, expert := kindFolder(t, "vanilla"), kindFolder(t, "expert")
	moe, encoded := kindFolder(t, "moe"), kindFolder(t, "sequence_encoding")
	dst := filepath.Join(t.TempDir(), "new")
	for _, c := range []struct {
		want string
		args []string
	}{
		{`--to: "ggfu": expected one of mor, hf, gguf: did you mean "gguf"?`, []string{"--to", "ggfu", vanilla}},
		{`--dtype: "q8_0": --to hf writes f32, f16, bf16`, []string{"--to", "hf", "--dtype", "q8_0", vanilla}},
		{`--dtype: "q4_k": --to gguf writes f32, f16, bf16, q8_0, q4_0`, []string{"--to", "gguf", "--dtype", "q4_k", vanilla}},
		{"--max-shard-size has no meaning with --to gguf", []string{"--to", "gguf", "--max-shard-size", "2GB", vanilla}},
		{`--max-shard-size: "2 apples"`, []string{"--to", "hf", "--max-shard-size", "2 apples", vanilla}},
		{"a recursive model, which hf has no form for: add --unroll", []string{"--to", "hf", expert}},
		{"a recursive model, which gguf has no form for", []string{"--to", "gguf", expert}},
		{"recursion.encoding: a vector multiplies the stream", []string{"--to", "hf", "--unroll", encoded}},
		{"the model has no tokenizer", []string{"--to", "gguf", vanilla}},
		{"a mixture of experts is not written as GGUF", []string{"--to", "gguf", moe}},
		{"--to and --weights at once", []string{"--to", "hf", "--weights", "int8", vanilla}},
		{"--unroll has no meaning with --weights", []string{"--weights", "int8", "--unroll", vanilla}},
		{"--init has no meaning with --to", []string{"--to", "hf", "--init", "lower", vanilla}},
		{"no such model", []string{"--to", "hf", vanilla + "x"}},
	} {
		_, err := command(append(append([]string{"convert"}, c.args...), dst)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: got %v, want %q", c.args, err, c.want)
		}
		if left, _ := filepath.Glob(dst + "*"); len(left) > 0 {
			t.Fatalf("%v left %v behind", c.args, left)
		}
	}
}

// TestRecursiveKeepsFiles: what lies beside the weights of the source, chat template and stop tokens among them, lies beside those of the recursive model.
func TestRecursiveKeepsFiles(t *testing.T) {
	src, dst := ggufSource(t), filepath.Join(t.TempDir(), "recursive")
	if _, err := command("convert", "--recursive", "cycle", "--num-recursion", "2", src, dst); err != nil {
		t.Fatal(err)
	}
	from, to := openSource(t, src), openSource(t, dst)
	template, err := to.Files.ChatTemplate()
	if err != nil || template != "{{ messages }}" || !slices.Equal(from.Stops, to.Stops) || to.Tokenizer == nil {
		t.Errorf("template %q, %v; stop tokens %v, want %v", template, err, to.Stops, from.Stops)
	}
}
