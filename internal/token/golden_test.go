package token

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sharedFile returns the path of a file of the shared data beside the repository, and skips the test where it is absent.
func sharedFile(tb testing.TB, parts ...string) string {
	tb.Helper()
	path := filepath.Join(append([]string{"..", "..", "..", "shared", "data"}, parts...)...)
	if _, err := os.Stat(path); err != nil {
		tb.Skipf("needs the shared data beside the repository: %v", err)
	}
	return path
}

func loadShared(tb testing.TB, parts ...string) *Tokenizer {
	tb.Helper()
	t, err := Load(sharedFile(tb, parts...))
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func checkEncode(t *testing.T, tok *Tokenizer, text string, want []int32) {
	t.Helper()
	for range 2 { // the second time from the cache
		if got := tok.Encode(text); !slices.Equal(got, want) {
			t.Errorf("Encode(%q)\n got %v\nwant %v", text, got, want)
		}
	}
	if got := tok.Decode(want); got != text {
		t.Errorf("Decode(%v)\n got %q\nwant %q", want, got, text)
	}
}

func TestGoldenSmolLM2(t *testing.T) {
	tok := loadShared(t, "tokenizers", "smollm2", "tokenizer.json")
	f, err := os.Open(sharedFile(t, "tokenizers", "smollm2", "golden_ids.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); n++ {
		var c struct {
			Text string
			IDs  []int32
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		checkEncode(t, tok, c.Text, c.IDs)
	}
	if n != 57 {
		t.Errorf("%d cases, want 57", n)
	}
}

func TestGoldenLlamaCpp(t *testing.T) {
	for _, name := range []string{"gpt-2", "starcoder"} {
		t.Run(name, func(t *testing.T) {
			path := sharedFile(t, "tokenizers", "llama.cpp-vectors", "ggml-vocab-"+name+".gguf")
			tok, err := New(ggufVocab(t, path))
			if err != nil {
				t.Fatal(err)
			}
			for text, want := range llamaCppCases(t, path) {
				checkEncode(t, tok, text, want)
			}
		})
	}
}

// llamaCppCases yields the strings of path.inp and the tokens of path.out.
func llamaCppCases(t *testing.T, path string) func(yield func(string, []int32) bool) {
	t.Helper()
	input, err := os.ReadFile(path + ".inp")
	if err != nil {
		t.Fatal(err)
	}
	output, err := os.ReadFile(path + ".out")
	if err != nil {
		t.Fatal(err)
	}
	texts := strings.Split(string(input), "\n__ggml_vocab_test__\n")
	lines := strings.Split(strings.TrimSuffix(string(output), "\n"), "\n")
	if len(texts) != len(lines)+1 && len(texts) != len(lines) {
		t.Fatalf("%d strings, %d lines of tokens", len(texts), len(lines))
	}
	return func(yield func(string, []int32) bool) {
		for i, line := range lines {
			var ids []int32
			for field := range strings.FieldsSeq(line) {
				id, err := strconv.Atoi(field)
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, int32(id))
			}
			if !yield(texts[i], ids) {
				return
			}
		}
	}
}

func TestGPT2Files(t *testing.T) {
	encoder, err := os.ReadFile(sharedFile(t, "tokenizers", "gpt2", "encoder.json"))
	if err != nil {
		t.Fatal(err)
	}
	merges, err := os.ReadFile(sharedFile(t, "tokenizers", "gpt2", "vocab.bpe"))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := ParseGPT2(encoder, merges)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range llamaCppCases(t, sharedFile(t, "tokenizers", "llama.cpp-vectors", "ggml-vocab-gpt-2.gguf")) {
		checkEncode(t, tok, text, want)
	}
	if id, ok := tok.EOT(); !ok || id != 50256 || tok.VocabSize() != 50257 {
		t.Errorf("EOT %d %v, vocabulary %d, want 50256 true 50257", id, ok, tok.VocabSize())
	}
}
