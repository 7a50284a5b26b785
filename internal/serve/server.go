// Package serve answers OpenAI's API for completions and chats with a model whose depth adapts to each token.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"mor/internal/infer"
)

// Options are the limits of a server, and what it serves beside the model.
type Options struct {
	MaxBodyBytes    int64         // of a request
	MaxChoices      int           // of a request: its prompts times n
	MaxPromptTokens int           // of a prompt; 0: as many as the context has
	MaxTokens       int           // that a request may ask for; 0: as many as the context has
	RequestTimeout  time.Duration // for a whole request; 0: none
	ReadTimeout     time.Duration // for a request's body
	WriteTimeout    time.Duration // for each write of an answer
	Keys            []string      // any of which a client must have; none: every client is served
	CORSOrigins     []string      // web pages from elsewhere that may send requests
	Page            fs.FS         // what is served at /; nil: nothing
	Log             *slog.Logger  // nil: nothing is logged
}

// DefaultOptions serve some dozens of clients.
func DefaultOptions() Options {
	return Options{MaxBodyBytes: 8 << 20, MaxChoices: 128, RequestTimeout: 10 * time.Minute, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second}
}

// Server serves one model at a time. Its methods may be called by any goroutine.
type Server struct {
	model   ModelOptions
	options Options
	keys    keys
	metrics *metrics
	handler http.Handler

	reloading sync.Mutex     // one reload at a time
	retiring  sync.WaitGroup // models that were replaced and still have users
	active    sync.WaitGroup // requests for texts

	mu       sync.RWMutex
	draining bool
	closed   bool
	current  *backend
	alive    []*backend        // the current one, and those that retire
	past     infer.Stats       // of those that are closed
	rejected map[string]uint64 // before they reached an engine, by reason
}

// New loads a model and returns its server. Close ends it.
func New(m ModelOptions, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b, err := open(&m)
	if err != nil {
		return nil, err
	}
	s := &Server{model: m, options: o, keys: newKeys(o.Keys), current: b, alive: []*backend{b}, past: infer.Stats{Rejected: map[string]uint64{}}, rejected: map[string]uint64{}}
	s.metrics = newMetrics(b.name, s.Stats)
	s.handler = s.routes()
	return s, nil
}

// Path is the checkpoint that is served.
func (s *Server) Path() string {
	b := s.acquire()
	defer b.users.Done()
	return b.path
}

// Stats sums up the engines of all models that were served.
func (s *Server) Stats() infer.Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sum := infer.Stats{Rejected: map[string]uint64{}}
	add(&sum, &s.past, false)
	for _, b := range s.alive {
		stats := b.engine.Stats()
		add(&sum, &stats, true)
	}
	for reason, n := range s.rejected {
		sum.Rejected[reason] += n
	}
	return sum
}

// Reload loads the model again, aside, and switches to it. Requests that run end with the one that they began with. On an error nothing changes.
func (s *Server) Reload() error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	b, err := open(&s.model)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		b.close()
		return errors.New("the server is closed")
	}
	old := s.current
	s.current, s.alive = b, append(s.alive, b)
	s.mu.Unlock()
	s.retiring.Go(func() { s.retire(old) })
	return nil
}

// retire waits for the users of a model that was replaced and closes it.
func (s *Server) retire(b *backend) {
	b.users.Wait()
	b.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := b.engine.Stats()
	add(&s.past, &stats, false)
	s.alive = slices.DeleteFunc(s.alive, func(other *backend) bool { return other == b })
}

// Drain refuses new requests for texts and waits until those that run have ended, or the context has.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.active.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		stats := s.Stats()
		return fmt.Errorf("%d texts were cut off, and %d requests that waited: %w", stats.Running, stats.Waiting, ctx.Err())
	}
}

// Close ends what still runs and frees the models.
func (s *Server) Close() error {
	s.mu.Lock()
	s.draining, s.closed = true, true
	alive, current := slices.Clone(s.alive), s.current
	s.mu.Unlock()
	for _, b := range alive {
		b.engine.Close() // requests end, and with them the users
	}
	s.active.Wait()
	s.retiring.Wait()
	s.retire(current)
	return nil
}

// begin counts a request for texts in, unless the server is draining, and returns the model that is served and what ends both.
func (s *Server) begin() (*backend, func(), error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.draining {
		return nil, nil, overloaded("stopping", "the server is stopping: try again later")
	}
	s.active.Add(1)
	b := s.current
	b.users.Add(1)
	return b, func() {
		b.users.Done()
		s.active.Done()
	}, nil
}

// reject counts a request that did not reach an engine.
func (s *Server) reject(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rejected[reason]++
}

// acquire returns the model that is served. It stays loaded until its users say Done.
func (s *Server) acquire() *backend {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.current.users.Add(1)
	return s.current
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// routes says what is where.
func (s *Server) routes() http.Handler {
	shown := promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{})
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
		{"/tokenizer_info", http.MethodGet, false, s.tokenizerInfo},
		{"/metrics", http.MethodGet, false, func(x *exchange) error { shown.ServeHTTP(x.w, x.r); return nil }},
		{"/healthz", http.MethodGet, true, s.healthz},
		{"/readyz", http.MethodGet, true, s.readyz},
		{"/", http.MethodGet, false, s.page},
	} {
		mux.Handle(r.path, s.wrap(r.path, r.method, r.open, r.handle))
	}
	return mux
}
