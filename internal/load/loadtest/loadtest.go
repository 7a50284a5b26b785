// Package loadtest is a small OpenAI-compatible server for tests of clients: it answers at once, always the same to the same prompt.
package loadtest

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Server counts what it is asked.
type Server struct {
	URL     string
	Options Options

	running, most, completions, malformed, cancelled, refused atomic.Int64

	mu     sync.Mutex
	bodies []string
}

// Options change what the server does.
type Options struct {
	APIKey     string        // that requests must carry; "": none
	Pause      time.Duration // before each token
	MaxRunning int64         // further requests are answered with 503; 0: no limit
	Unsteady   bool          // answers differ from one time to the next
	Lenient    bool          // malformed requests are answered as if they were not
	Break      bool          // streams end without [DONE]
	Fail       bool          // every request is answered with 500
}

// New starts a server that is closed when the test ends.
func New(t testing.TB, o Options) *Server {
	s := &Server{Options: o}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", s.models)
	mux.HandleFunc("POST /v1/completions", s.complete)
	mux.HandleFunc("POST /v1/chat/completions", s.complete)
	h := httptest.NewServer(mux)
	t.Cleanup(h.Close)
	s.URL = h.URL
	return s
}

// Counts are the requests by how they ended, and the most that ran at once.
type Counts struct{ Completed, Malformed, Cancelled, Refused, MaxRunning int64 }

// Counts returns the counts so far.
func (s *Server) Counts() Counts {
	return Counts{s.completions.Load(), s.malformed.Load(), s.cancelled.Load(), s.refused.Load(), s.most.Load()}
}

// Bodies are those of the requests that were understood, in the order in which they came.
func (s *Server) Bodies() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.bodies...)
}

func (s *Server) allowed(w http.ResponseWriter, r *http.Request) bool {
	if s.Options.APIKey == "" || r.Header.Get("Authorization") == "Bearer "+s.Options.APIKey {
		return true
	}
	refuse(w, http.StatusUnauthorized, "the API key is missing or wrong")
	return false
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": message, "type": "invalid_request_error"}})
}

func (s *Server) models(w http.ResponseWriter, r *http.Request) {
	if s.allowed(w, r) {
		fmt.Fprint(w, `{"object":"list","data":[{"id":"test-model","object":"model","num_recursion":3,"router":"expert","routing":"causal"}]}`)
	}
}

// request is what the server understands.
type request struct {
	Model         string                     `json:"model"`
	Prompt        *string                    `json:"prompt"`
	Messages      []struct{ Content string } `json:"messages"`
	MaxTokens     int                        `json:"max_tokens"`
	Stream        bool                       `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

func (s *Server) complete(w http.ResponseWriter, r *http.Request) {
	if !s.allowed(w, r) {
		return
	}
	if s.Options.Fail {
		refuse(w, http.StatusInternalServerError, "something went wrong")
		return
	}
	q, raw, ok := decode(r)
	if !ok && !s.Options.Lenient {
		s.malformed.Add(1)
		refuse(w, http.StatusBadRequest, "malformed")
		return
	}
	n := s.running.Add(1)
	defer s.running.Add(-1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	if limit := s.Options.MaxRunning; limit > 0 && n > limit {
		s.refused.Add(1)
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, "the queue is full")
		return
	}
	s.mu.Lock()
	s.bodies = append(s.bodies, raw)
	s.mu.Unlock()
	s.answer(w, r, q)
}

func decode(r *http.Request) (request, string, bool) {
	var q request
	raw, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(raw, &q) != nil {
		return q, "", false
	}
	return q, string(raw), q.Prompt != nil || len(q.Messages) > 0
}

// answer gives max_tokens tokens that follow from the prompt.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, q request) {
	h := fnv.New32()
	if q.Prompt != nil {
		h.Write([]byte(*q.Prompt))
	}
	for _, m := range q.Messages {
		h.Write([]byte(m.Content))
	}
	state := h.Sum32()
	if s.Options.Unsteady {
		state = uint32(time.Now().UnixNano())
	}
	var all strings.Builder
	for range q.MaxTokens {
		select {
		case <-time.After(s.Options.Pause):
		case <-r.Context().Done():
			s.cancelled.Add(1)
			return
		}
		state = state*1664525 + 1013904223
		text := fmt.Sprintf(" w%d", state>>24)
		all.WriteString(text)
		if q.Stream {
			emit(w, map[string]any{"choices": []any{s.choice(q, text, nil, "delta")}})
		}
	}
	s.completions.Add(1)
	usage := map[string]any{"prompt_tokens": 5, "completion_tokens": q.MaxTokens, "mean_depth": 1.5, "prompt_tokens_details": map[string]any{"cached_tokens": 2}}
	if !q.Stream {
		_ = json.NewEncoder(w).Encode(map[string]any{"choices": []any{s.choice(q, all.String(), "length", "message")}, "usage": usage})
		return
	}
	emit(w, map[string]any{"choices": []any{s.choice(q, "", "length", "delta")}})
	if q.StreamOptions.IncludeUsage {
		emit(w, map[string]any{"choices": []any{}, "usage": usage})
	}
	if !s.Options.Break {
		fmt.Fprint(w, "data: [DONE]\n\n")
	}
}

func (s *Server) choice(q request, text string, finish any, part string) map[string]any {
	c := map[string]any{"index": 0, "finish_reason": finish}
	if q.Prompt != nil {
		c["text"] = text
	} else {
		c[part] = map[string]any{"content": text}
	}
	return c
}

func emit(w http.ResponseWriter, event any) {
	data, _ := json.Marshal(event)
	fmt.Fprintf(w, "data: %s\n\n", data)
	w.(http.Flusher).Flush()
}
