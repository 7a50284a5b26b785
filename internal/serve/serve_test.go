package serve_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"mor/internal/infer"
	"mor/internal/serve"
	"mor/internal/serve/servetest"
)

// newServer starts a server of a small model.
func newServer(t testing.TB, kind string, change ...func(*serve.ModelOptions, *serve.Options)) *httptest.Server {
	t.Helper()
	m := serve.ModelOptions{Path: servetest.Folder(t, kind, 3), Name: "small", Weights: "auto", Threads: 2, Engine: infer.DefaultEngineOptions()}
	m.Engine.CacheBytes = 8 << 20
	o := serve.DefaultOptions()
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	for _, c := range change {
		c(&m, &o)
	}
	s, err := serve.New(m, o)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		h.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// post sends a body as JSON.
func post(t testing.TB, h *httptest.Server, path, body string) *http.Response {
	t.Helper()
	r, err := h.Client().Post(h.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Body.Close() })
	return r
}

// answered is the object of an answer whose status is as expected.
func answered(t testing.TB, h *httptest.Server, path, body string, status int) map[string]any {
	t.Helper()
	r := post(t, h, path, body)
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	v := map[string]any{}
	if err := json.Unmarshal(data, &v); err != nil || r.StatusCode != status {
		t.Fatalf("%s: status %d, want %d: %s", body, r.StatusCode, status, data)
	}
	return v
}

// events are those of a stream, which must end as the SDKs expect.
func events(t testing.TB, h *httptest.Server, path, body string) []map[string]any {
	t.Helper()
	r := post(t, h, path, body)
	if kind := r.Header.Get("Content-Type"); r.StatusCode != 200 || !strings.HasPrefix(kind, "text/event-stream") {
		t.Fatalf("%s: status %d, %s", body, r.StatusCode, kind)
	}
	var out []map[string]any
	done := false
	for s := bufio.NewScanner(r.Body); s.Scan(); {
		data, ok := bytes.CutPrefix(s.Bytes(), []byte("data: "))
		switch {
		case len(s.Bytes()) == 0:
		case !ok || done:
			t.Fatalf("a line of the stream is %q", s.Bytes())
		case string(data) == "[DONE]":
			done = true
		default:
			v := map[string]any{}
			if err := json.Unmarshal(data, &v); err != nil {
				t.Fatal(err)
			}
			out = append(out, v)
		}
	}
	if !done {
		t.Fatal("the stream has no end")
	}
	return out
}

// at walks into a value: names of members, and places of lists.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

// TestCompletion: text, tokens, log probabilities, offsets and depths of an answer fit each other.
func TestCompletion(t *testing.T) {
	h := newServer(t, "expert")
	v := answered(t, h, "/v1/completions", `{"prompt": "the quick 世", "max_tokens": 20, "temperature": 0, "echo": true, "logprobs": 3, "return_depth": true}`, 200)
	text := at(v, "choices", 0, "text").(string)
	logprobs := at(v, "choices", 0, "logprobs")
	tokens, offsets := at(logprobs, "tokens").([]any), at(logprobs, "text_offset").([]any)
	n := int(at(v, "usage", "total_tokens").(float64))
	if !strings.HasPrefix(text, "the quick 世") || len(tokens) != n || len(offsets) != n || len(at(v, "choices", 0, "depth").([]any)) != n {
		t.Fatalf("%d tokens: %v", n, v)
	}
	if at(logprobs, "token_logprobs", 0) != nil || at(logprobs, "top_logprobs", 0) != nil {
		t.Error("the first token has a probability, behind nothing")
	}
	characters, broken := []rune(text), false
	for i, tk := range tokens[:n-1] {
		name := tk.(string)
		if strings.HasPrefix(name, "bytes:") {
			broken = true // what follows may begin with a character that it was part of
			continue
		}
		if at := int(offsets[i].(float64)); !broken && !strings.HasPrefix(string(characters[at:]), name) {
			t.Errorf("token %d is %q, and the text at %d is %.20q", i, name, at, string(characters[at:]))
		}
		broken = false
	}
}

// TestChat: the template of the model makes the prompt.
func TestChat(t *testing.T) {
	h := newServer(t, "token")
	v := answered(t, h, "/v1/chat/completions", `{"messages": [{"role": "developer", "content": "be brief"}, {"role": "user", "content": [{"type": "text", "text": " the fox "}]}], "max_completion_tokens": 5, "temperature": 0}`, 200)
	want := answered(t, h, "/v1/completions", `{"prompt": "<|system|>be brief\n<|user|>the fox\n<|assistant|>", "max_tokens": 5, "temperature": 0}`, 200)
	if at(v, "choices", 0, "message", "content") != at(want, "choices", 0, "text") || at(v, "usage", "prompt_tokens") != at(want, "usage", "prompt_tokens") {
		t.Errorf("got %v\nwant the text of %v", v, want)
	}
}
