package serve_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// streamed joins the texts of a completion's events, and counts the tokens. No event may have half a character.
func streamed(t *testing.T, events []map[string]any) (text, finish string, tokens int) {
	t.Helper()
	for _, e := range events {
		piece, _ := at(e, "choices", 0, "text").(string)
		if strings.ContainsRune(piece, '\ufffd') {
			t.Errorf("an event cuts a character: %q", piece)
		}
		text += piece
		if depth, ok := at(e, "choices", 0, "depth").([]any); ok {
			tokens += len(depth)
		}
		if f, ok := at(e, "choices", 0, "finish_reason").(string); ok {
			if finish != "" {
				t.Error("the text ends twice")
			}
			finish = f
		}
	}
	return text, finish, tokens
}

// TestStreamIsWhole: one text, cut into tokens in many ways and with every part of it as stop text, comes out as the part before the stop, the same as events and
// as a whole.
func TestStreamIsWhole(t *testing.T) {
	h := newServer(t, "token")
	const text = "dog—ü世🙂!dog"
	cuts := map[int]bool{}
	try := func(stop string, seed int) {
		fields := fmt.Sprintf(`"prompt": "the", "guided_regex": %q, "temperature": 3, "max_tokens": 40, "seed": %d, "return_depth": true`, regexp.QuoteMeta(text), seed)
		want := text
		if stop != "" {
			fields += fmt.Sprintf(`, "stop": [%q, "no such text"]`, stop)
			want, _, _ = strings.Cut(text, stop)
		}
		whole := answered(t, h, "/v1/completions", "{"+fields+"}", 200)
		got, finish, n := streamed(t, events(t, h, "/v1/completions", "{"+fields+`, "stream": true}`))
		if buffered := at(whole, "choices", 0, "text"); got != want || buffered != want || finish != "stop" {
			t.Errorf("stop %q, seed %d: streamed %q (%s), as a whole %q, want %q", stop, seed, got, finish, buffered, want)
		}
		if depth, _ := at(whole, "choices", 0, "depth").([]any); n != len(depth) {
			t.Errorf("stop %q, seed %d: %d tokens streamed, %d as a whole", stop, seed, n, len(depth))
		}
		if stop == "" {
			cuts[n] = true
		}
	}
	characters := []rune(text)
	for seed := range 12 {
		try("", seed)
	}
	for i := range characters {
		for j := i + 1; j <= len(characters); j++ {
			try(string(characters[i:j]), i+j)
		}
	}
	if len(cuts) < 3 {
		t.Errorf("the text was cut into %v tokens: the test needs more ways", cuts)
	}
}

// TestStreamUsage: with include_usage the last event has the usage of the whole answer, and no choice.
func TestStreamUsage(t *testing.T) {
	h := newServer(t, "expert")
	const fields = `"prompt": ["the", "fox"], "n": 2, "max_tokens": 7, "seed": 5, "ignore_eos": true, "echo": true, "logprobs": 2`
	whole := answered(t, h, "/v1/completions", "{"+fields+"}", 200)
	list := events(t, h, "/v1/completions", "{"+fields+`, "stream": true, "stream_options": {"include_usage": true}}`)
	last := list[len(list)-1]
	if len(at(last, "choices").([]any)) != 0 || at(last, "usage", "completion_tokens") != 28.0 || at(last, "usage", "mean_depth") != at(whole, "usage", "mean_depth") {
		t.Errorf("last event: %v", last)
	}
	texts, tokens, offsets := [4]string{}, [4][]any{}, [4][]any{}
	for _, e := range list[:len(list)-1] {
		i := int(at(e, "choices", 0, "index").(float64))
		texts[i] += at(e, "choices", 0, "text").(string)
		if l := at(e, "choices", 0, "logprobs"); l != nil {
			tokens[i] = append(tokens[i], at(l, "token_logprobs").([]any)...)
			offsets[i] = append(offsets[i], at(l, "text_offset").([]any)...)
		}
	}
	for i := range texts {
		c := at(whole, "choices", i)
		if texts[i] != at(c, "text") || fmt.Sprint(tokens[i]) != fmt.Sprint(at(c, "logprobs", "token_logprobs")) || fmt.Sprint(offsets[i]) != fmt.Sprint(at(c, "logprobs", "text_offset")) {
			t.Errorf("choice %d: streamed %q %v %v\nas a whole %v", i, texts[i], tokens[i], offsets[i], c)
		}
	}
}
