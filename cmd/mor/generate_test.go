package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mor/internal/checkpoint"
	"mor/internal/format/folder"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/token"
)

// tinyModel writes a model folder with random weights.
func tinyModel(t *testing.T) string {
	t.Helper()
	tok, err := token.Train(t.Context(), slices.Values([][]byte{prose(5000)}), token.TrainOptions{VocabSize: 300, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	c, err := model.Preset("tiny", "expert", model.MiddleCycle, 3)
	if err != nil {
		t.Fatal(err)
	}
	c.VocabSize, c.HiddenSize, c.IntermediateSize, c.NumHiddenLayers, c.MaxPositionEmbeddings = 300, 32, 48, 5, 64
	c.NumAttentionHeads, c.NumKeyValueHeads, c.HeadDim, c.InitializerRange = 2, 1, 16, 0.2
	cpu, err := kernel.New(kernel.Generic, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer cpu.Close()
	m := model.New(c, cpu)
	m.Init(3)
	dir := filepath.Join(t.TempDir(), "model")
	if err := folder.Save(dir, m, folder.SaveOptions{Tokenizer: tok}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// runMor runs a command line.
func runMor(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	err = root.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

// TestGenerateForms: text, depths and JSON tell of one and the same continuation, wherever the prompt comes from.
func TestGenerateForms(t *testing.T) {
	dir := tinyModel(t)
	const prompt = "the router decides"
	text, stats, err := runMor(t, "", "generate", dir, prompt, "--max-tokens", "20", "--threads", "1")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(stats, "routing causal") || !strings.Contains(stats, "mean depth") {
		t.Errorf("statistics: %s", stats)
	}
	object, _, err := runMor(t, "", "generate", dir, prompt, "--max-tokens", "20", "--threads", "2", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var got generated
	if err := json.Unmarshal([]byte(object), &got); err != nil {
		t.Fatal(err)
	}
	tok, err := folder.Tokenizer(dir)
	if err != nil {
		t.Fatal(err)
	}
	var ids []int32
	for _, t := range got.Tokens {
		ids = append(ids, t.ID)
	}
	if want := prompt + tok.Decode(ids); strings.TrimSuffix(text, "\n") != strings.TrimSuffix(want, "\n") {
		t.Errorf("text %q, in JSON %q", text, want)
	}
	if len(got.Tokens) != 20 || got.FinishReason != "length" || got.Routing != "causal" || got.MeanDepth <= 0 || got.Tokens[0].LogProb >= 0 {
		t.Errorf("got %+v", got)
	}
	depths, _, err := runMor(t, "", "generate", dir, prompt, "--max-tokens", "20", "--show-depth", "--color", "always")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(depths, "\x1b[0m"); n < 20 || !strings.Contains(depths, "of 3\n") {
		t.Errorf("depths: %q", depths)
	}
	file := filepath.Join(t.TempDir(), "prompt.txt")
	if err := os.WriteFile(file, []byte(prompt+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		stdin string
		args  []string
	}{
		{"", []string{dir, "--prompt-file", file}},
		{prompt + "\n", []string{dir, "-"}},
		{prompt, []string{dir, "--prompt-file", "-"}},
	} {
		if got, _, err := runMor(t, c.stdin, append([]string{"generate", "--max-tokens", "20"}, c.args...)...); err != nil || got != text {
			t.Errorf("%v: got %q (%v), want %q", c.args, got, err, text)
		}
	}
}

// TestGenerateSeveral: the texts of --n stand apart, the first is that of one text, and the object has them all with what was asked for beside each token.
func TestGenerateSeveral(t *testing.T) {
	dir := tinyModel(t)
	run := func(args ...string) string {
		t.Helper()
		out, _, err := runMor(t, "", append([]string{"generate", dir, "the router", "--max-tokens", "5", "--threads", "1"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	one := run()
	parts := strings.Split(run("--n", "3"), "=== ")
	if len(parts) != 4 || parts[0] != "" || parts[1] != "1 of 3 ===\n"+one || !strings.HasPrefix(parts[3], "3 of 3 ===\nthe router") {
		t.Errorf("three texts %q, one %q", parts, one)
	}
	if depths := run("--n", "2", "--show-depth"); strings.Count(depths, "=== ") != 2 || strings.Count(depths, "mean depth") != 2 {
		t.Errorf("depths of two texts: %s", depths)
	}
	var got generated
	if err := json.Unmarshal([]byte(run("--json", "--n", "3", "--logprobs", "2", "--prompt-logprobs", "1")), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Choices) != 3 || got.Choices[0].Text != got.Text || got.GeneratedTokens != 15 || !strings.HasPrefix(asJSON(t, one), "the router"+got.Text) {
		t.Errorf("got %+v", got)
	}
	for i, c := range got.Choices {
		if want := asJSON(t, parts[1+i]); !strings.HasPrefix(want, fmt.Sprintf("%d of 3 ===\nthe router%s", i+1, c.Text)) {
			t.Errorf("text %d: %q, in JSON %q", i, want, c.Text)
		}
		for _, k := range c.Tokens {
			if len(k.Top) != 2 || k.Top[0].LogProb < k.LogProb {
				t.Errorf("text %d: %+v", i, k)
			}
		}
	}
	for i, p := range got.PromptTokens {
		if (p.LogProb != nil) != (i > 0) || i > 0 && len(p.Top) != 1 {
			t.Errorf("prompt token %d: %+v", i, p)
		}
	}
}

// asJSON is a text as it comes out of JSON, which has no bytes that are no UTF-8.
func asJSON(t *testing.T, text string) string {
	t.Helper()
	data, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	var out string
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGenerateRefuses(t *testing.T) {
	dir := tinyModel(t)
	empty := t.TempDir()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{dir, "hi", "--temperature", "-1"}, "temperature: -1: expected 0"},
		{[]string{dir, "hi", "--max-recursion", "4"}, "max_recursion: 4: expected 1 to 3"},
		{[]string{dir, "hi", "--router-threshold", "0"}, "--router-threshold: 0: expected"},
		{[]string{dir, "hi", "--color", "red"}, `--color: "red": expected auto, always or never`},
		{[]string{dir, "hi", "--json", "--show-depth"}, "choose one"},
		{[]string{dir, "hi", "--stop", ""}, "stop[0]: empty"},
		{[]string{dir, "hi", "--n", "0"}, "n: 0: expected 1 to 128"},
		{[]string{dir, "hi", "--n", "129"}, "n: 129: expected 1 to 128"},
		{[]string{dir, "hi", "--json", "--logprobs", "101"}, "logprobs: 101: expected 0 to 100"},
		{[]string{dir, "hi", "--json", "--prompt-logprobs", "-1"}, "prompt_logprobs: -1: expected 0 to 100"},
		{[]string{dir, "hi", "--logprobs", "2"}, "--logprobs: only with --json"},
		{[]string{dir, "hi", "--prompt-logprobs", "0"}, "--prompt-logprobs: only with --json"},
		{[]string{dir, "hi", "--logit-bias", "7"}, `"--logit-bias" flag: expected the id of a token and a number`},
		{[]string{dir, "hi", "--logit-bias", "7=1", "--logit-bias", "7=2"}, "token 7 is given twice"},
		{[]string{dir, "hi", "--logit-bias", "7=NaN"}, "logit_bias[7]: NaN: expected -100 to 100"},
		{[]string{dir, "hi", "--logit-bias", "300=1"}, "logit_bias: 300: expected tokens, 0 to 299"},
		{[]string{dir, "hi", "--stop-token", "300"}, "stop_token_ids[0]: 300: expected a token, 0 to 299"},
		{[]string{dir, strings.Repeat("the router ", 100)}, "max_position_embeddings"},
		{[]string{dir, "hi", "--prompt-file", "x"}, "give one of them"},
		{[]string{empty, "hi"}, "mor train --out " + empty + " makes one"},
		{[]string{filepath.Join(empty, "absent"), "hi"}, "no such model folder or run"},
		{[]string{filepath.Join(empty, "absent")}, "no such model folder or run"},
	} {
		out, _, err := runMor(t, "", append([]string{"generate"}, c.args...)...)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || out != "" {
			t.Errorf("%.60v: got %v and %q, want %q", c.args, err, out, c.want)
		}
	}
	if err := os.Remove(filepath.Join(dir, folder.TokenizerFile)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := runMor(t, "", "generate", dir, "hi"); err == nil || !strings.Contains(err.Error(), "no tokenizer.json") {
		t.Errorf("without a tokenizer: %v", err)
	}
}

// TestResolveModel: a folder is itself, a run is its latest checkpoint, and damage is found in either way of naming it.
func TestResolveModel(t *testing.T) {
	run := filepath.Join(t.TempDir(), "run")
	d, err := checkpoint.Lock(run)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, step := range []int{1, 2} {
		w, err := d.Create(step)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.File(folder.ConfigFile, func(out io.Writer) error { _, err := io.WriteString(out, "{}"); return err }); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	first, last := filepath.Join(run, checkpoint.Name(1)), filepath.Join(run, checkpoint.Name(2))
	for path, want := range map[string]string{run: last, last: last, first: first} {
		if got, err := resolveModel(path); err != nil || got != want {
			t.Errorf("%s: got %s, %v", path, got, err)
		}
	}
	if err := os.WriteFile(filepath.Join(last, folder.ConfigFile), []byte("[]"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{run, last} {
		if _, err := resolveModel(path); err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), first) {
			t.Errorf("%s: got %v, want damage and the sound checkpoint before", path, err)
		}
	}
}
