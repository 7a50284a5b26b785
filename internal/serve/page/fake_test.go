package page_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"mor/internal/serve/page"
)

// token is one that the fake server sends.
type token struct {
	text   string
	depth  int
	scores []float64
}

// answers are what the fake server says, with all that could be taken for markup, parts of characters, and every depth.
func answers() []token {
	return []token{
		{" fox", 1, []float64{-0.5}}, {" <img src=x onerror=\"document.title='broken'\">", 2, []float64{1.5, -2}}, {"\n\tü", 3, []float64{3, 2, 1}},
		{"", 1, []float64{-1}}, {"世", 2, []float64{0.1, -0.1}}, {" </script>&amp;", 0, []float64{-4}},
	}
}

// fake serves the page and answers as the server does.
type fake struct {
	url     string
	key     string        // that requests must carry; "": none
	pause   time.Duration // before each token
	refuse  string        // every request is refused with this
	router  string
	endless bool

	mu     sync.Mutex
	bodies []map[string]any
	gone   chan struct{} // a client left before the end
}

func newFake(t *testing.T) *fake {
	f := &fake{router: "expert", gone: make(chan struct{}, 10)}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(page.Files()))
	mux.HandleFunc("/v1/models", f.models)
	mux.HandleFunc("/v1/completions", f.complete)
	mux.HandleFunc("/v1/chat/completions", f.complete)
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", page.SecurityPolicy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
	})
	f.url = h.URL
	return f
}

func (f *fake) sent() []map[string]any {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bodies
}

func (f *fake) allowed(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case f.key != "" && r.Header.Get("Authorization") != "Bearer "+f.key:
		apiError(w, http.StatusUnauthorized, "expected one of this server's API keys")
	case f.refuse != "":
		w.Header().Set("Retry-After", "7")
		apiError(w, http.StatusServiceUnavailable, f.refuse)
	default:
		return true
	}
	return false
}

func apiError(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": message}})
}

func (f *fake) models(w http.ResponseWriter, r *http.Request) {
	refuse := f.refuse
	f.refuse = ""
	if f.allowed(w, r) {
		fmt.Fprintf(w, `{"object":"list","data":[{"id":"fake-<b>","object":"model","max_model_len":512,"num_recursion":3,"router":%q,"routing":"causal","chat_template":true}]}`, f.router)
	}
	f.refuse = refuse
}

func (f *fake) complete(w http.ResponseWriter, r *http.Request) {
	if !f.allowed(w, r) {
		return
	}
	var body map[string]any
	raw, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(raw, &body); err != nil {
		apiError(w, http.StatusBadRequest, err.Error())
		return
	}
	f.mu.Lock()
	f.bodies = append(f.bodies, body)
	f.mu.Unlock()
	chat := r.URL.Path == "/v1/chat/completions"
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	for again := true; again; again = f.endless {
		for _, t := range answers() {
			select {
			case <-time.After(f.pause):
			case <-r.Context().Done():
				f.gone <- struct{}{}
				return
			}
			writeEvent(w, map[string]any{"choices": []any{choice(t, chat)}, "usage": nil})
		}
	}
	end := map[string]any{"index": 0, "text": "", "finish_reason": "length"}
	if chat {
		end = map[string]any{"index": 0, "delta": map[string]any{}, "finish_reason": "length"}
	}
	writeEvent(w, map[string]any{"choices": []any{end}, "usage": nil})
	writeEvent(w, map[string]any{"choices": []any{}, "usage": map[string]any{"completion_tokens": len(answers()), "mean_depth": 1.5}})
	fmt.Fprint(w, "data: [DONE]\n\n")
}

// choice is one token in the form of its endpoint.
func choice(t token, chat bool) map[string]any {
	name := t.text
	if name == "" {
		name = `bytes:\xe4`
	}
	c := map[string]any{"index": 0, "finish_reason": nil, "depth": []int{t.depth}, "router_scores": [][]float64{t.scores}}
	if chat {
		other := map[string]any{"token": " other", "logprob": -3.0}
		c["delta"] = map[string]any{"content": t.text}
		c["logprobs"] = map[string]any{"content": []any{map[string]any{"token": name, "logprob": -0.5, "top_logprobs": []any{map[string]any{"token": name, "logprob": -0.5}, other}}}}
		return c
	}
	c["text"] = t.text
	c["logprobs"] = map[string]any{"tokens": []string{name}, "token_logprobs": []float64{-0.5}, "top_logprobs": []any{map[string]float64{" other": -3, name: -0.5}}, "text_offset": []int{0}}
	return c
}

// writeEvent sends an event in two pieces, which break off in the middle of what may be a character.
func writeEvent(w http.ResponseWriter, event any) {
	data, _ := json.Marshal(event)
	text := "data: " + string(data) + "\n\n"
	half := len(text) / 2
	for _, part := range []string{text[:half], text[half:]} {
		fmt.Fprint(w, part)
		w.(http.Flusher).Flush()
	}
}
