package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"mor/internal/infer"
	"mor/internal/serve/servetest"
)

// smallServer is a server of a small model, not listening.
func smallServer(t testing.TB, change ...func(*ModelOptions, *Options)) *Server {
	t.Helper()
	m := ModelOptions{Path: servetest.Folder(t, "expert", 3), Name: "small", Weights: "auto", Threads: 2, Engine: infer.DefaultEngineOptions()}
	m.Engine.CacheBytes = 8 << 20
	o := DefaultOptions()
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	for _, c := range change {
		c(&m, &o)
	}
	s, err := New(m, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if stats := s.Stats(); stats.Running != 0 || stats.Waiting != 0 || stats.PagesUsed != 0 {
			t.Errorf("left behind: %+v", stats)
		}
	})
	return s
}

// ask sends a body as JSON.
func ask(s *Server, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// errorOf is the message of an error in OpenAI's form, and its code.
func errorOf(t *testing.T, body io.Reader) (message, code string) {
	t.Helper()
	var e struct {
		Error *struct {
			Message string
			Code    *string
		}
	}
	if err := json.NewDecoder(body).Decode(&e); err != nil || e.Error == nil || e.Error.Message == "" {
		t.Fatalf("not an error in OpenAI's form: %+v, %v", e, err)
	}
	if e.Error.Code != nil {
		code = *e.Error.Code
	}
	return e.Error.Message, code
}

// TestKeys: with a key set, every route but health wants it, as a bearer token or as a password.
func TestKeys(t *testing.T) {
	const key = "a-key-of-some-length"
	s := smallServer(t, func(_ *ModelOptions, o *Options) {
		o.Keys = []string{"another-key-of-some-length", key}
		o.Page = fstest.MapFS{"index.html": {Data: []byte("<p>page")}}
	})
	get := func(path string, edit func(*http.Request)) int {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		edit(r)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no WWW-Authenticate", path)
		}
		return w.Code
	}
	bearer := func(k string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+k) }
	}
	for path, open := range map[string]bool{"/v1/models": false, "/metrics": false, "/": false, "/index.html": false, "/tokenizer_info": false, "/nothing": false, "/healthz": true, "/readyz": true} {
		for name, edit := range map[string]func(*http.Request){"none": func(*http.Request) {}, "wrong": bearer(key[1:]), "empty": bearer("")} {
			if code := get(path, edit); (code != http.StatusUnauthorized) != open {
				t.Errorf("%s with key %s: status %d", path, name, code)
			}
		}
		if path == "/nothing" {
			continue
		}
		for name, edit := range map[string]func(*http.Request){"bearer": bearer(key), "password": func(r *http.Request) { r.SetBasicAuth("anybody", key) }} {
			if code := get(path, edit); code >= 400 {
				t.Errorf("%s with key as %s: status %d", path, name, code)
			}
		}
	}
	if w := ask(s, "/v1/completions", `{}`); w.Code != http.StatusUnauthorized {
		t.Errorf("a completion without a key: status %d", w.Code)
	}
}

// TestRefusals: what is no good request gets its status, an error in OpenAI's form, and nothing of the server's inside.
func TestRefusals(t *testing.T) {
	s := smallServer(t, func(m *ModelOptions, o *Options) {
		o.MaxBodyBytes, o.MaxPromptTokens, o.MaxTokens, o.MaxChoices = 4000, 100, 50, 3
	})
	long := strings.Repeat("fox ", 500)
	for _, c := range []struct {
		method, path, kind, body string
		status                   int
		want                     string
	}{
		{"GET", "/v1/completions", "", "", 405, "expected POST"},
		{"POST", "/v1/models", "application/json", "{}", 405, "expected GET"},
		{"GET", "/nothing", "", "", 404, "nothing is here"},
		{"GET", "/v1/models/other", "", "", 404, "small"},
		{"POST", "/v1/completions", "text/plain", "{}", 415, "application/json"},
		{"POST", "/v1/completions", "application/json", `{"prompt": "` + long + long + long + `"}`, 413, "4000"},
		{"POST", "/v1/completions", "application/json", `{"prompt": "` + long + `"}`, 400, "max_prompt_tokens"},
		{"POST", "/v1/completions", "application/json", `{"max_tokens": 51}`, 400, "at most 50"},
		{"POST", "/v1/completions", "application/json", `{"prompt": ["a", "b", "c", "d"]}`, 400, "at most 3"},
		{"POST", "/v1/completions", "application/json", `{"model": "gpt-4"}`, 404, "small"},
		{"POST", "/tokenize", "application/json", `{"promt": "a"}`, 400, "prompt"},
		{"POST", "/detokenize", "application/json", `{"tokens": [99999]}`, 400, "tokens[0]"},
	} {
		r := httptest.NewRequest(c.method, "http://server"+c.path, strings.NewReader(c.body))
		if c.kind != "" {
			r.Header.Set("Content-Type", c.kind)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		text := w.Body.String()
		if message, _ := errorOf(t, w.Body); w.Code != c.status || !strings.Contains(message, c.want) {
			t.Errorf("%s %s %.40s: status %d, want %d with %q: %s", c.method, c.path, c.body, w.Code, c.status, c.want, text)
		}
		if strings.Contains(text, ".go") || strings.Contains(text, s.Path()) {
			t.Errorf("%s %s: the answer shows the inside: %s", c.method, c.path, text)
		}
	}
}

// panicking is a context that panics when the engine asks it.
type panicking struct{ context.Context }

func (p panicking) Err() error { panic("a request's own panic") }

// TestPanic: a panic in a handler, or in the engine over a request, is a 500 that says nothing, and the server goes on.
func TestPanic(t *testing.T) {
	s := smallServer(t)
	w := httptest.NewRecorder()
	handle := func(*exchange) error { panic("/secret/path") }
	s.wrap("/", http.MethodGet, true, handle).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if message, _ := errorOf(t, w.Body); w.Code != http.StatusInternalServerError || message != "internal error" {
		t.Errorf("a panic in a handler: status %d, %q", w.Code, message)
	}
	b := s.current
	stream, err := b.engine.Submit(panicking{t.Context()}, &infer.Request{Prompt: []int32{1}, Options: newCall(false).options})
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Result()
	if e := asAPIError(err); e.status != http.StatusInternalServerError || e.message != "internal error" || !strings.Contains(err.Error(), "own panic") {
		t.Errorf("a panic in the engine: %v, and the client reads %q", err, e.message)
	}
	expectTaken(t, s, "/v1/completions", `{"prompt": "the"}`)
}

// TestCORS: only listed pages are told that they may read, and preflights are answered without a key.
func TestCORS(t *testing.T) {
	s := smallServer(t, func(_ *ModelOptions, o *Options) {
		o.CORSOrigins, o.Keys = []string{"https://example.com"}, []string{"a-key-of-some-length"}
	})
	for origin, want := range map[string]int{"https://example.com": http.StatusNoContent, "https://evil.example": http.StatusUnauthorized, "": http.StatusUnauthorized} {
		r := httptest.NewRequest(http.MethodOptions, "/v1/completions", nil)
		r.Header.Set("Origin", origin)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if allowed := w.Header().Get("Access-Control-Allow-Origin"); w.Code != want || (allowed == origin && origin != "") != (want == http.StatusNoContent) {
			t.Errorf("origin %q: status %d, allowed %q", origin, w.Code, allowed)
		}
	}
}

// slowly is a server on a port whose texts take long: a body that asks for one, and what to wait on.
func slowly(t *testing.T, change ...func(*ModelOptions, *Options)) (*Server, *httptest.Server) {
	s := smallServer(t, change...)
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	return s, h
}

const endless = `{"prompt": "the", "max_tokens": 3000, "ignore_eos": true, "stream": true}`

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// TestClientLeaves: in the queue, while its prompt is read, and while its text is written, a request whose client has left frees its place.
func TestClientLeaves(t *testing.T) {
	before := runtime.NumGoroutine()
	s, h := slowly(t, func(m *ModelOptions, _ *Options) { m.Engine.MaxRunning, m.Engine.TokenBudget = 1, 1 })
	prompt := strings.Repeat("fox ", 1000)
	leave := func(body string, when func(infer.Stats) bool) {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL+"/v1/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		done := make(chan error, 1)
		go func() {
			answer, err := http.DefaultClient.Do(r)
			if err == nil {
				_, err = io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
			}
			done <- err
		}()
		eventually(t, "the phase", func() bool { return when(s.Stats()) })
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("ended by %v before it was cancelled", err)
		}
		eventually(t, "nothing is held", func() bool {
			stats := s.Stats()
			return stats.Running == 0 && stats.Waiting == 0 && stats.PagesUsed == 0
		})
	}
	leave(`{"prompt": "`+prompt+`"}`, func(s infer.Stats) bool { return s.Running == 1 && s.PromptTokens == 0 })
	leave(endless, func(s infer.Stats) bool { return s.GeneratedTokens > 5 })
	leave(`{"prompt": ["`+prompt+`", "`+prompt+`"]}`, func(s infer.Stats) bool { return s.Running == 1 && s.Waiting == 1 })
	if stats := s.Stats(); stats.Cancelled != 4 || stats.Requests != 0 {
		t.Errorf("%d cancelled and %d ended, want 4 and 0", stats.Cancelled, stats.Requests)
	}
	h.CloseClientConnections()
	http.DefaultClient.CloseIdleConnections()
	h.Close()
	s.Close()
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
}

// TestOverload: what does not fit into the queue gets a 503 that says when to come again; the rest is answered.
func TestOverload(t *testing.T) {
	s, h := slowly(t, func(m *ModelOptions, _ *Options) { m.Engine.MaxRunning, m.Engine.MaxWaiting = 1, 2 })
	first := send(t, h, endless)
	eventually(t, "it runs", func() bool { return s.Stats().Running == 1 })
	waiting := []chan *http.Response{}
	for range 2 {
		c := make(chan *http.Response, 1)
		waiting = append(waiting, c)
		go func() { c <- send(t, h, `{"prompt": "the", "max_tokens": 3}`) }()
	}
	eventually(t, "they wait", func() bool { return s.Stats().Waiting == 2 })
	refused := send(t, h, `{"prompt": "the"}`)
	if _, code := errorOf(t, refused.Body); refused.StatusCode != 503 || code != "queue_full" || refused.Header.Get("Retry-After") == "" {
		t.Errorf("status %d, code %q, Retry-After %q", refused.StatusCode, code, refused.Header.Get("Retry-After"))
	}
	first.Body.Close()
	for _, c := range waiting {
		if r := <-c; r.StatusCode != 200 {
			t.Errorf("one that waited: status %d", r.StatusCode)
		}
	}
	if n := s.Stats().Rejected["queue_full"]; n != 1 {
		t.Errorf("%d rejections are counted, want 1", n)
	}
}

// send sends a completion.
func send(t *testing.T, h *httptest.Server, body string) *http.Response {
	r, err := h.Client().Post(h.URL+"/v1/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return &http.Response{Body: http.NoBody}
	}
	t.Cleanup(func() { r.Body.Close() })
	return r
}

// TestTimeouts: a request that takes too long gets 504, a body that does not come 408.
func TestTimeouts(t *testing.T) {
	_, h := slowly(t, func(_ *ModelOptions, o *Options) {
		o.RequestTimeout, o.ReadTimeout = 30*time.Millisecond, 50*time.Millisecond
	})
	r := send(t, h, strings.Replace(endless, "true}", "false}", 1))
	if _, code := errorOf(t, r.Body); r.StatusCode != 504 || code != "request_timeout" {
		t.Errorf("status %d, code %q", r.StatusCode, code)
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(h.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	if answer, err := io.ReadAll(io.LimitReader(c, 12)); err != nil || string(answer) != "HTTP/1.1 408" {
		t.Errorf("%q, %v", answer, err)
	}
}

// TestDrain: behind the call, readiness is off and new requests are refused; those that run are finished.
func TestDrain(t *testing.T) {
	s, h := slowly(t)
	running := send(t, h, endless)
	drained := make(chan error, 1)
	go func() { drained <- s.Drain(t.Context()) }()
	eventually(t, "new requests are refused", func() bool {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		return w.Code == http.StatusServiceUnavailable
	})
	if w := ask(s, "/v1/completions", `{}`); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("a new request: status %d", w.Code)
	}
	text, err := io.ReadAll(running.Body)
	if err != nil || !strings.HasSuffix(string(text), "data: [DONE]\n\n") {
		t.Errorf("the one that ran ended in %.60q, %v", text[max(0, len(text)-60):], err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	again, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Drain(again); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestReload: requests that run end with the model that they began with, new ones get the new one, and the old one is closed.
func TestReload(t *testing.T) {
	s, h := slowly(t)
	running := send(t, h, endless)
	old := s.current
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if s.current == old {
		t.Error("the model is the old one")
	}
	expectTaken(t, s, "/v1/completions", `{"prompt": "the"}`)
	text, err := io.ReadAll(running.Body)
	if err != nil || !strings.HasSuffix(string(text), "data: [DONE]\n\n") {
		t.Errorf("the one that ran ended in %.60q, %v", text[max(0, len(text)-60):], err)
	}
	s.retiring.Wait()
	if _, err := old.engine.Submit(t.Context(), &infer.Request{Prompt: []int32{1}, Options: newCall(false).options}); !errors.Is(err, infer.ErrClosed) {
		t.Errorf("the old engine: %v", err)
	}
	if stats := s.Stats(); stats.Requests != 2 {
		t.Errorf("%d requests are counted over both, want 2", stats.Requests)
	}
	s.model.Path = t.TempDir()
	if err := s.Reload(); err == nil {
		t.Error("a folder without a model was taken")
	}
	expectTaken(t, s, "/v1/completions", `{"prompt": "the"}`)
}

// TestMetrics: vLLM's names and mor's are there and count.
func TestMetrics(t *testing.T) {
	s := smallServer(t)
	expectTaken(t, s, "/v1/completions", `{"prompt": "the quick brown fox", "max_tokens": 5, "ignore_eos": true}`)
	expectTaken(t, s, "/v1/completions", `{"prompt": "the", "max_tokens": 2, "ignore_eos": true, "stream": true}`)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := w.Body.String()
	for _, want := range []string{
		`vllm:num_requests_running{model_name="small"} 0`, `vllm:num_requests_waiting{model_name="small"} 0`, `vllm:generation_tokens_total{model_name="small"} 7`,
		`vllm:time_to_first_token_seconds_count{model_name="small"} 2`, `vllm:time_per_output_token_seconds_count{model_name="small"} 5`,
		`vllm:request_success_total{finished_reason="length",model_name="small"} 2`, `vllm:kv_cache_usage_perc{model_name="small"} 0`, `vllm:prefix_cache_hits_total{`,
		`vllm:prefix_cache_queries_total{`, `vllm:prompt_tokens_total{`, `vllm:e2e_request_latency_seconds_count{model_name="small"} 2`, `mor_token_depth_bucket{model_name="small",le="3"}`,
		`mor_block_passes_total{`, `mor_block_rows_total{`, `mor_recursions_saved_total{`, `mor_http_requests_total{code="200",model_name="small",route="/v1/completions"} 2`, "go_goroutines",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	ask(s, "/v1/completions", `{"temperature": -1}`)
	w = httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(w.Body.String(), `mor_admission_rejections_total{model_name="small",reason="option"} 1`) {
		t.Error("/metrics lacks the rejection")
	}
}
