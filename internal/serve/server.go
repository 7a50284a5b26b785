// Package serve answers OpenAI's API for completions and chats with a model whose depth adapts to each token.
package serve

import (
	"io/fs"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Options are the limits of a server, and what it serves beside the model.
type Options struct {
	MaxBodyBytes   int64         // of a request
	MaxPrompts     int           // of a request
	MaxTokens      int           // that a request may ask for; 0: as many as the context has
	RequestTimeout time.Duration // from the first byte of the answer's making to the last; 0: none
	ReadTimeout    time.Duration // for a request's body
	WriteTimeout   time.Duration // for each write of an answer
	Keys           []string      // any of which a client must have; none: every client is served
	CORSOrigins    []string      // web pages from elsewhere that may send requests
	Page           fs.FS         // what is served at /; nil: nothing
	Log            *slog.Logger
}

// DefaultOptions serve some dozens of clients.
func DefaultOptions() Options {
	return Options{MaxBodyBytes: 8 << 20, MaxPrompts: 128, RequestTimeout: 10 * time.Minute, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
		Log: slog.New(slog.DiscardHandler)}
}

// Server serves one model at a time.
type Server struct {
	options Options
	keys    keys
	handler http.Handler

	mu      sync.RWMutex
	current *backend
}

// New loads a model and returns its server. Close ends it.
func New(m ModelOptions, o Options) (*Server, error) {
	b, err := open(&m)
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, keys: newKeys(o.Keys), current: b}
	s.handler = s.routes()
	return s, nil
}

// Close ends what still runs and frees the model.
func (s *Server) Close() error {
	s.current.close()
	return nil
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// acquire returns the model that is served. It stays loaded until its users say Done.
func (s *Server) acquire() *backend {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.current.users.Add(1)
	return s.current
}

// routes says what is where.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for _, r := range []struct {
		path, method string
		open         bool // without a key
		handle       func(*exchange) error
	}{
		{"/v1/completions", http.MethodPost, false, s.completions},
		{"/v1/chat/completions", http.MethodPost, false, s.chatCompletions},
		{"/v1/models", http.MethodGet, false, s.models},
		{"/v1/models/{name...}", http.MethodGet, false, s.modelNamed},
		{"/tokenize", http.MethodPost, false, s.tokenize},
		{"/detokenize", http.MethodPost, false, s.detokenize},
		{"/healthz", http.MethodGet, true, s.healthz},
		{"/", http.MethodGet, false, s.page},
	} {
		mux.Handle(r.path, s.wrap(r.method, r.open, r.handle))
	}
	return mux
}
