package serve

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"mor/internal/model"
	"mor/internal/serve/page"
	"mor/internal/strict"
)

func (s *Server) completions(x *exchange) error     { return s.complete(x, false) }
func (s *Server) chatCompletions(x *exchange) error { return s.complete(x, true) }

// complete answers a completion or a chat.
func (s *Server) complete(x *exchange, chat bool) (err error) {
	b, end, err := s.begin()
	if err != nil {
		s.reject("stopping")
		return err
	}
	defer end()
	body, err := s.body(x)
	if err != nil {
		return err
	}
	c, err := parseCall(body, chat, s.options.MaxTokens)
	if err != nil {
		return err
	}
	ctx := x.r.Context()
	if s.options.RequestTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.options.RequestTimeout)
		defer cancel()
	}
	a, err := s.start(ctx, b, c)
	if err != nil {
		return err
	}
	a.pace = func() *pace { return s.metrics.pace(x.started, max(c.options.N, 1)) }
	defer s.ended(x, a)
	if c.stream {
		return a.stream(&events{w: x.w, control: http.NewResponseController(x.w)})
	}
	v, err := a.whole()
	if err == nil {
		writeJSON(x.w, http.StatusOK, v)
	}
	return err
}

// ended ends what still runs, and tells metrics and the log what a request took.
func (s *Server) ended(x *exchange, a *answer) {
	a.release()
	for _, stream := range a.streams {
		r, _ := stream.Result()
		s.metrics.ended(&r)
	}
	s.metrics.latency.Observe(time.Since(x.started).Seconds())
	u := a.usage()
	x.note(slog.String("model", a.backend.name), slog.Int("prompt_tokens", u.PromptTokens), slog.Int("completion_tokens", u.CompletionTokens),
		slog.Int("cached_tokens", u.Details.CachedTokens), slog.Float64("mean_depth", u.MeanDepth), slog.Bool("stream", a.call.stream))
	if a.user != "" {
		x.note(slog.String("user", a.user))
	}
	if a.safetyIdentifier != "" {
		x.note(slog.String("safety_identifier", a.safetyIdentifier))
	}
}

// modelObject is a model of /v1/models.
type modelObject struct {
	ID         string `json:"id"`
	Object     string `json:"object"`
	Created    int64  `json:"created"`
	OwnedBy    string `json:"owned_by"`
	MaxLen     int    `json:"max_model_len"`
	Recursions int    `json:"num_recursion"`
	Router     string `json:"router,omitempty"`  // expert, token or fixed
	Routing    string `json:"routing,omitempty"` // of expert-choice: causal
	Chat       bool   `json:"chat_template"`     // whether it has one
}

func (b *backend) object() modelObject {
	c := b.model.Config
	o := modelObject{ID: b.name, Object: "model", Created: b.created.Unix(), OwnedBy: "mor", MaxLen: c.MaxPositionEmbeddings, Recursions: c.Recursions(), Chat: b.template != nil}
	if c.Router != nil {
		o.Router = c.Router.Type
	}
	if c.Expert() {
		o.Routing = model.Causal.String()
	}
	return o
}

func (s *Server) models(x *exchange) error {
	b := s.acquire()
	defer b.users.Done()
	writeJSON(x.w, http.StatusOK, map[string]any{"object": "list", "data": []modelObject{b.object()}})
	return nil
}

func (s *Server) modelNamed(x *exchange) error {
	b := s.acquire()
	defer b.users.Done()
	if err := b.called(x.r.PathValue("name")); err != nil {
		return err
	}
	writeJSON(x.w, http.StatusOK, b.object())
	return nil
}

func (s *Server) healthz(x *exchange) error {
	writeJSON(x.w, http.StatusOK, map[string]string{"status": "ok"})
	return nil
}

// readyz tells whether new requests are taken.
func (s *Server) readyz(x *exchange) error {
	s.mu.RLock()
	draining := s.draining
	s.mu.RUnlock()
	if draining {
		return overloaded("stopping", "the server is stopping")
	}
	writeJSON(x.w, http.StatusOK, map[string]string{"status": "ready"})
	return nil
}

// page serves the web page.
func (s *Server) page(x *exchange) error {
	if s.options.Page == nil || x.r.URL.Path == "" {
		return notFound(x.r)
	}
	name := x.r.URL.Path[1:]
	if name == "" {
		name = "index.html"
	}
	if f, err := s.options.Page.Open(name); err != nil {
		return notFound(x.r)
	} else {
		f.Close()
	}
	x.w.Header().Set("Content-Security-Policy", page.SecurityPolicy)
	x.w.Header().Set("Referrer-Policy", "no-referrer")
	http.ServeFileFS(x.w, x.r, s.options.Page, name)
	return nil
}

func notFound(r *http.Request) error {
	return &apiError{status: http.StatusNotFound, kind: "invalid_request_error", message: fmt.Sprintf("%.80q: nothing is here", r.URL.Path)}
}

// tokenize answers with the tokens of a text, as vLLM does.
func (s *Server) tokenize(x *exchange) error {
	var q struct {
		Model            *string `json:"model"`
		Prompt           *string `json:"prompt"`
		AddSpecialTokens *bool   `json:"add_special_tokens"` // true; what the tokenizer puts before a text
	}
	b := s.acquire()
	defer b.users.Done()
	if err := s.decode(x, b, &q, &q.Model); err != nil {
		return err
	}
	if q.Prompt == nil {
		return refused("prompt", "prompt: missing: expected a text")
	}
	tok := b.model.Tokenizer
	tokens := []int32{}
	if q.AddSpecialTokens == nil || *q.AddSpecialTokens {
		tokens = append(tokens, tok.Prefix()...)
	}
	tokens = append(tokens, tok.Encode(*q.Prompt)...)
	writeJSON(x.w, http.StatusOK, map[string]any{"count": len(tokens), "max_model_len": b.model.Config.MaxPositionEmbeddings, "tokens": tokens})
	return nil
}

// tokenizerInfo names the special tokens, for clients that tokenize here.
func (s *Server) tokenizerInfo(x *exchange) error {
	b := s.acquire()
	defer b.users.Done()
	info := map[string]any{"eos_token": nil, "bos_token": nil, "pad_token": nil, "unk_token": nil, "chat_template": nil}
	names, err := b.model.Files.SpecialTokens()
	if err != nil {
		return err
	}
	for name, text := range names {
		info[name] = text
	}
	if text, err := b.model.Files.ChatTemplate(); err == nil && text != "" {
		info["chat_template"] = text
	}
	writeJSON(x.w, http.StatusOK, info)
	return nil
}

// detokenize answers with the text of tokens, as vLLM does.
func (s *Server) detokenize(x *exchange) error {
	var q struct {
		Model  *string `json:"model"`
		Tokens []int32 `json:"tokens"`
	}
	b := s.acquire()
	defer b.users.Done()
	if err := s.decode(x, b, &q, &q.Model); err != nil {
		return err
	}
	if q.Tokens == nil {
		return refused("tokens", "tokens: missing: expected a list of token ids")
	}
	tok := b.model.Tokenizer
	if i := slices.IndexFunc(q.Tokens, func(id int32) bool { return tok.TokenBytes(id) == nil }); i >= 0 {
		return refused("tokens", "tokens[%d]: %d: expected the id of a token, 0 to %d", i, q.Tokens[i], tok.VocabSize()-1)
	}
	writeJSON(x.w, http.StatusOK, map[string]any{"prompt": tok.Decode(q.Tokens)})
	return nil
}

// decode reads a body into the struct that q points to, which has the place of a model's name.
func (s *Server) decode(x *exchange, b *backend, q any, name **string) error {
	body, err := s.body(x)
	if err != nil {
		return err
	}
	if err := strict.JSON(body, q); err != nil {
		return refused("", "body: %v", err)
	}
	if *name != nil {
		return b.called(**name)
	}
	return nil
}

// called refuses a name that is not the model's.
func (b *backend) called(name string) error {
	if name == "" || name == "default" || name == b.name {
		return nil
	}
	return &apiError{status: http.StatusNotFound, kind: "invalid_request_error", param: "model", code: "model_not_found",
		message: fmt.Sprintf("model: %.80q: no such model here: expected %s, or leave it out", name, b.name)}
}
