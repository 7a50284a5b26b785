package serve

import (
	"context"
	"crypto/rand"
	"strings"
	"time"
	"unicode/utf8"

	"mor/internal/infer"
)

// answer is a request under way: what was asked, and the streams that are its answer, one for each prompt.
type answer struct {
	*call
	backend *backend
	id      string
	created int64
	texts   []string // of the prompts, as echo gives them
	prefix  int      // tokens that the tokenizer puts before a text
	streams []*infer.Stream
	pace    func() *pace // for each stream
}

// start submits the prompts of a call.
func (s *Server) start(ctx context.Context, b *backend, c *call) (*answer, error) {
	a := &answer{call: c, backend: b, id: newID(c.chat), created: time.Now().Unix()}
	if c.ignoreEOS {
		c.options.Banned = b.ends()
	} else {
		c.options.StopTokens = append(c.options.StopTokens, b.model.Stops...)
	}
	if err := b.called(c.model); err != nil {
		return nil, err
	}
	if n, limit := max(len(c.prompts), 1)*max(c.options.N, 1), s.options.MaxChoices; n > limit {
		return nil, refused("n", "n: prompts and n ask for %d choices: expected at most %d", n, limit)
	}
	if stats := b.engine.Stats(); stats.Waiting >= s.model.Engine.MaxWaiting { // before the work of encoding
		s.reject("queue_full")
		return nil, &infer.QueueFullError{Name: "max_waiting", Found: stats.Waiting, Limit: s.model.Engine.MaxWaiting}
	}
	prompts, err := a.encode()
	if err != nil {
		return nil, err
	}
	for _, tokens := range prompts {
		if limit := s.options.MaxPromptTokens; limit > 0 && len(tokens) > limit {
			a.release()
			s.reject("too_long")
			return nil, &infer.TooLongError{PromptTokens: len(tokens), Limit: limit, Name: "max_prompt_tokens"}
		}
		stream, err := b.engine.Submit(ctx, &infer.Request{Prompt: tokens, Options: c.options})
		if err != nil {
			a.release()
			return nil, err
		}
		a.streams = append(a.streams, stream)
	}
	return a, nil
}

// release ends what still runs and waits until nothing is held any more.
func (a *answer) release() {
	for _, s := range a.streams {
		s.Cancel()
	}
	for _, s := range a.streams {
		<-s.Done()
	}
}

// encode returns the tokens of the prompts.
func (a *answer) encode() ([][]int32, error) {
	tok := a.backend.model.Tokenizer
	if a.chat {
		text, err := a.render()
		if err != nil {
			return nil, err
		}
		return [][]int32{tok.Encode(text)}, nil
	}
	var out [][]int32
	for i := range a.prompts {
		p := &a.prompts[i]
		if p.tokens != nil {
			out = append(out, p.tokens)
			a.texts = append(a.texts, tok.Decode(p.tokens))
			continue
		}
		tokens, err := a.backend.engine.Encode(p.text)
		if err != nil {
			return nil, refused("prompt", "%v", err)
		}
		out, a.prefix = append(out, tokens), len(tok.Prefix())
		a.texts = append(a.texts, p.text)
	}
	return out, nil
}

// render makes the prompt of a conversation.
func (a *answer) render() (string, error) {
	t := a.backend.template
	if t == nil {
		return "", refused("messages", "messages: the model has no chat template: use /v1/completions, or start the server with --chat-template")
	}
	add := a.addGenerationPrompt == nil || *a.addGenerationPrompt
	text, err := t.render(a.messages, add, a.templateVariables)
	if err != nil {
		return "", refused("messages", "messages: the chat template refuses them: %v", err)
	}
	if text == "" {
		return "", refused("messages", "messages: the chat template makes an empty prompt of them")
	}
	return text, nil
}

// newID names an answer.
func newID(chat bool) string {
	if chat {
		return "chatcmpl-" + rand.Text()
	}
	return "cmpl-" + rand.Text()
}

// part is a piece of one choice: some tokens behind one another.
type part struct {
	index  int // of the choice
	text   string
	tokens []infer.Token
	plain  int    // the first so many tokens are not part of the text
	offset int    // characters before the part
	first  bool   // of the choice
	finish string // "" while the choice goes on
}

// echoed is the prompt of a stream as the beginning of its choices.
func (a *answer) echoed(i int) part {
	p := part{text: a.texts[i], first: true}
	p.tokens = a.streams[i].Prompt()
	if a.prompts[i].tokens == nil {
		p.plain = a.prefix
		if a.prompts[i].text == "" {
			p.plain = len(p.tokens)
		}
	}
	return p
}

// whole waits for the answer and gives it as one.
func (a *answer) whole() (any, error) {
	n := max(a.options.N, 1)
	choices := make([]any, len(a.streams)*n)
	err := a.each(func(i int) error {
		parts, err := a.collect(i, n)
		for k := range parts {
			choices[i*n+k] = a.choice(&parts[k], false)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	usage := a.usage()
	return a.envelope(choices, &usage, false), nil
}

// collect waits for the n choices of a stream.
func (a *answer) collect(i, n int) ([]part, error) {
	s, pace, texts, parts := a.streams[i], a.pace(), make([]strings.Builder, n), make([]part, n)
	for t, err := range s.Tokens() {
		if err != nil {
			return nil, err
		}
		pace.token(t.Index)
		texts[t.Index].WriteString(t.Text)
		parts[t.Index].tokens = append(parts[t.Index].tokens, t)
	}
	result, err := s.Result()
	if err != nil {
		return nil, err
	}
	for k := range parts {
		p := &parts[k]
		p.index, p.first, p.text, p.finish = i*n+k, true, texts[k].String(), result.Choices[k].Finish
		if a.scoreOnly {
			p.text, p.tokens, p.finish = "", nil, infer.FinishLength
		}
		if a.echo {
			e := a.echoed(i)
			p.text, p.tokens, p.plain = e.text+p.text, append(e.tokens[:len(e.tokens):len(e.tokens)], p.tokens...), e.plain
		}
	}
	return parts, nil
}

// characters counts those of a text.
func characters(text string) int { return utf8.RuneCountInString(text) }

// usage is what an answer took.
type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
	Details          struct {
		CachedTokens int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
	MeanDepth float64 `json:"mean_depth"` // recursions of a generated token
}

// usage sums up the streams, which must have ended.
func (a *answer) usage() usage {
	var u usage
	depth := 0.0
	for _, s := range a.streams {
		r, _ := s.Result()
		u.PromptTokens += r.PromptTokens
		u.CompletionTokens += r.Tokens
		u.Details.CachedTokens += r.CachedTokens
		depth += r.MeanDepth * float64(r.Tokens)
	}
	if u.CompletionTokens > 0 {
		u.MeanDepth = depth / float64(u.CompletionTokens)
	}
	if a.scoreOnly {
		u.CompletionTokens, u.MeanDepth = 0, 0
	}
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
	return u
}
