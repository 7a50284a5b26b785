package source_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mor/internal/golden"
	"mor/internal/infer"
	"mor/internal/model"
	"mor/internal/source"
)

// TestGoldenHuggingFace: a sharded bfloat16 folder as transformers writes it has the reference's logits, and the stop token of its generation_config.json.
func TestGoldenHuggingFace(t *testing.T) {
	for _, c := range golden.Cases(t, "generation_config.json", "golden.safetensors") {
		if _, err := os.Stat(filepath.Join(c.Path, "train.yaml")); err == nil {
			continue // a checkpoint of the published code
		}
		m, err := source.Open(c.Path, newCPU(t))
		if err != nil {
			t.Fatal(err)
		}
		ref := c.Tensors(t, "golden.safetensors")
		want, _ := ref.Floats("logits")
		tokens, shape := ref.Ints("tokens")
		var rows [][]int32
		for i := range shape[0] {
			rows = append(rows, tokens[i*shape[1]:(i+1)*shape[1]])
		}
		tape := m.NewTape()
		if err := m.Forward(tape, model.NewBatch(rows...), model.Mode{}, false); err != nil {
			t.Fatal(err)
		}
		got := make([]float32, len(want))
		m.Logits(got, tape, 0, len(tokens))
		for i, v := range got {
			if math.Abs(float64(v-want[i])) > 2e-4 {
				t.Fatalf("%s: logit %d is %v, want %v", c.Name, i, v, want[i])
			}
		}
		var generation struct {
			EOS int32 `json:"eos_token_id"`
		}
		c.JSON(t, "generation_config.json", &generation)
		if len(m.Stops) != 1 || m.Stops[0] != generation.EOS {
			t.Errorf("%s: stop tokens %v, want %d", c.Name, m.Stops, generation.EOS)
		}
	}
}

// TestStories: a GGUF file of llama.cpp's with a vocabulary of SentencePiece's kind writes exactly the expected text.
func TestStories(t *testing.T) {
	file := golden.Shared(t, "data", "models", "stories260K", "stories260K.gguf")
	text, err := os.ReadFile(golden.Shared(t, "data", "models", "stories260K", "expected_greedy_200.txt"))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimSuffix(string(text), "\n")
	m, err := source.Open(file, newCPU(t))
	if err != nil {
		t.Fatal(err)
	}
	e, err := infer.NewEngine(m.Model, m.Tokenizer, infer.DefaultEngineOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	const begin = "Once upon a time"
	prompt, err := e.Encode(begin)
	if err != nil {
		t.Fatal(err)
	}
	o := infer.DefaultOptions()
	o.Temperature, o.MaxTokens = 0, 260
	s, err := e.Submit(t.Context(), &infer.Request{Prompt: prompt, Options: o})
	if err != nil {
		t.Fatal(err)
	}
	got := begin
	for tok, err := range s.Tokens() {
		if err != nil {
			t.Fatal(err)
		}
		got += tok.Text
	}
	if !strings.HasPrefix(got, strings.TrimLeft(want, "\n ")) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
