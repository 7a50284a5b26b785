package serve

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
)

// exchange is a request and its answer, with what the log says about it.
type exchange struct {
	w       *recorder
	r       *http.Request
	id      string
	started time.Time
	attrs   []slog.Attr
}

// note adds to the log's record.
func (x *exchange) note(attrs ...slog.Attr) { x.attrs = append(x.attrs, attrs...) }

// recorder keeps the status of an answer, and bounds the time of each write.
type recorder struct {
	http.ResponseWriter
	timeout time.Duration // 0: none
	status  int           // 0: nothing was answered yet
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.begin()
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.begin()
	return w.ResponseWriter.Write(p)
}

// begin gives the client a time to read what is written next.
func (w *recorder) begin() {
	if w.timeout > 0 {
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.timeout)) // not every writer can
	}
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// wrap makes a handler of a route: it checks key and method, answers errors and panics, and logs.
func (s *Server) wrap(route, method string, open bool, handle func(*exchange) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{w: &recorder{ResponseWriter: w, timeout: s.options.WriteTimeout}, r: r, id: requestID(r), started: time.Now()}
		x.w.Header().Set("X-Request-Id", x.id)
		x.w.Header().Set("X-Content-Type-Options", "nosniff")
		err := safely(func() error {
			if done, err := s.admit(x, method, open); done || err != nil {
				return err
			}
			return handle(x)
		})
		if err != nil && x.w.status == 0 {
			asAPIError(err).write(x.w)
		}
		s.log(x, route, err)
	})
}

// admit checks who asks, and how. It returns whether the request is answered by that.
func (s *Server) admit(x *exchange, method string, open bool) (done bool, err error) {
	if s.allowOrigin(x) && x.r.Method == http.MethodOptions {
		x.w.WriteHeader(http.StatusNoContent)
		return true, nil
	}
	if !open && !s.keys.match(x.r) {
		challenge := "Bearer"
		if x.r.Method == http.MethodGet && !strings.HasPrefix(x.r.URL.Path, "/v1/") {
			challenge = `Basic realm="mor", charset="UTF-8"` // a browser asks for a password, which is the key
		}
		x.w.Header().Set("WWW-Authenticate", challenge)
		return false, &apiError{status: http.StatusUnauthorized, kind: "authentication_error", code: "invalid_api_key", message: "expected one of this server's API keys: Authorization: Bearer KEY"}
	}
	if x.r.Method != method && !(method == http.MethodGet && x.r.Method == http.MethodHead) {
		x.w.Header().Set("Allow", method)
		return false, &apiError{status: http.StatusMethodNotAllowed, kind: "invalid_request_error", message: x.r.Method + ": expected " + method}
	}
	return false, nil
}

// allowOrigin tells a browser that a page from elsewhere may read the answer, where that page is listed.
func (s *Server) allowOrigin(x *exchange) bool {
	origin := x.r.Header.Get("Origin")
	if origin == "" || !slices.Contains(s.options.CORSOrigins, origin) {
		return false
	}
	h := x.w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Add("Vary", "Origin")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-Id")
	h.Set("Access-Control-Allow-Methods", "GET, POST")
	h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
	return true
}

// body reads the body of a request, which must be JSON: what a web page from elsewhere can send without being asked is not.
func (s *Server) body(x *exchange) ([]byte, error) {
	if kind, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, &apiError{status: http.StatusUnsupportedMediaType, kind: "invalid_request_error", message: "Content-Type: expected application/json"}
	}
	control := http.NewResponseController(x.w)
	if s.options.ReadTimeout > 0 {
		_ = control.SetReadDeadline(time.Now().Add(s.options.ReadTimeout)) // not every writer can
	}
	data, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, s.options.MaxBodyBytes))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, &apiError{status: http.StatusRequestEntityTooLarge, kind: "invalid_request_error", code: "body_too_large",
			message: fmt.Sprintf("body: too large: expected at most %d bytes", s.options.MaxBodyBytes)}
	}
	if err != nil {
		return nil, &apiError{status: http.StatusRequestTimeout, kind: "timeout_error", code: "body_timeout", message: "body: it did not arrive in time", cause: err}
	}
	_ = control.SetReadDeadline(time.Time{})
	return data, nil
}

// log writes the record of an exchange.
func (s *Server) log(x *exchange, route string, err error) {
	level, status := slog.LevelInfo, x.w.status
	attrs := []slog.Attr{slog.String("request_id", x.id), slog.String("method", x.r.Method), slog.String("path", x.r.URL.Path)}
	if err != nil {
		e := asAPIError(err)
		status = e.status
		if status >= http.StatusInternalServerError && status != http.StatusServiceUnavailable {
			level = slog.LevelError
		}
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	s.metrics.answered(route, status)
	if quiet(route) && err == nil {
		level = slog.LevelDebug
	}
	attrs = append(attrs, slog.Int("status", status), slog.Float64("seconds", time.Since(x.started).Seconds()))
	s.options.Log.LogAttrs(context.WithoutCancel(x.r.Context()), level, "request", append(attrs, x.attrs...)...)
}

// quiet tells whether a route is asked so often, by machines, that its answers are no news.
func quiet(route string) bool {
	return slices.Contains([]string{"/healthz", "/readyz", "/metrics"}, route)
}

// requestID is the client's, if it is one that a log can have, or a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	bad := func(c rune) bool { return c <= ' ' || c > '~' }
	if id == "" || len(id) > 128 || strings.ContainsFunc(id, bad) {
		return "req-" + rand.Text()
	}
	return id
}

// keys are the hashes of API keys.
type keys [][sha256.Size]byte

func newKeys(texts []string) keys {
	var k keys
	for _, t := range texts {
		k = append(k, sha256.Sum256([]byte(t)))
	}
	return k
}

// match tells whether a request has one of the keys, as a bearer token or as a password. How long it takes tells nothing about them.
func (k keys) match(r *http.Request) bool {
	if len(k) == 0 {
		return true
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		_, given, _ = r.BasicAuth()
	}
	hash, found := sha256.Sum256([]byte(given)), 0
	for i := range k {
		found |= subtle.ConstantTimeCompare(hash[:], k[i][:])
	}
	return found == 1
}
