package serve

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"mor/internal/infer"
)

// envelope is an answer, or an event of one.
type envelope struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	Model   string `json:"model"`
	Choices []any  `json:"choices"`
	Usage   *usage `json:"usage"`
	Tier    string `json:"service_tier,omitempty"`
}

// completionChoice is a choice of /v1/completions.
type completionChoice struct {
	Index        int                 `json:"index"`
	Text         string              `json:"text"`
	LogProbs     *completionLogProbs `json:"logprobs"`
	FinishReason *string             `json:"finish_reason"`
	depths
}

// chatChoice is a choice of /v1/chat/completions: with Message as a whole, with Delta in an event.
type chatChoice struct {
	Index        int           `json:"index"`
	Message      *chatMessage  `json:"message,omitempty"`
	Delta        *chatDelta    `json:"delta,omitempty"`
	LogProbs     *chatLogProbs `json:"logprobs"`
	FinishReason *string       `json:"finish_reason"`
	depths
}

type chatMessage struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

type chatDelta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

// depths is what return_depth adds to a choice.
type depths struct {
	Depth        []int       `json:"depth,omitempty"`
	RouterScores [][]float32 `json:"router_scores,omitempty"`
}

// completionLogProbs is OpenAI's, a place in each list for each token.
type completionLogProbs struct {
	Tokens      []string             `json:"tokens"`
	LogProbs    []*float64           `json:"token_logprobs"`
	TopLogProbs []map[string]float64 `json:"top_logprobs"`
	TextOffset  []int                `json:"text_offset"`
}

type chatLogProbs struct {
	Content []chatLogProb `json:"content"`
	Refusal *string       `json:"refusal"`
}

type chatLogProb struct {
	tokenLogProb
	Top []tokenLogProb `json:"top_logprobs"`
}

type tokenLogProb struct {
	Token   string  `json:"token"`
	LogProb float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

// envelope puts choices into an answer.
func (a *answer) envelope(choices []any, u *usage, stream bool) *envelope {
	e := &envelope{ID: a.id, Object: "text_completion", Created: a.created, Model: a.backend.name, Choices: choices, Usage: u}
	if a.chat {
		e.Object, e.Tier = "chat.completion", "default"
		if stream {
			e.Object += ".chunk"
		}
	}
	if e.Choices == nil {
		e.Choices = []any{}
	}
	return e
}

// choice is a part in the form of its endpoint.
func (a *answer) choice(p *part, stream bool) any {
	var finish *string
	if p.finish != "" {
		finish = &p.finish
	}
	d := a.depths(p.tokens)
	if !a.chat {
		return &completionChoice{p.index, p.text, a.completionLogProbs(p), finish, d}
	}
	c := &chatChoice{Index: p.index, LogProbs: a.chatLogProbs(p), FinishReason: finish, depths: d}
	if !stream {
		c.Message = &chatMessage{Role: "assistant", Content: p.text}
		return c
	}
	c.Delta = &chatDelta{}
	if p.first {
		c.Delta.Role = "assistant"
	}
	if p.finish == "" {
		c.Delta.Content = &p.text
	}
	return c
}

func (a *answer) depths(tokens []infer.Token) depths {
	var d depths
	if !a.returnDepth || len(tokens) == 0 {
		return d
	}
	scored := false
	for i := range tokens {
		d.Depth = append(d.Depth, tokens[i].Depth)
		d.RouterScores = append(d.RouterScores, append([]float32{}, tokens[i].Scores...))
		scored = scored || len(tokens[i].Scores) > 0
	}
	if !scored {
		d.RouterScores = nil
	}
	return d
}

func (a *answer) completionLogProbs(p *part) *completionLogProbs {
	if !a.options.LogProbs || len(p.tokens) == 0 {
		return nil
	}
	l := &completionLogProbs{}
	offset := p.offset
	for i := range p.tokens {
		t := &p.tokens[i]
		l.Tokens, l.TextOffset = append(l.Tokens, a.tokenText(t.ID)), append(l.TextOffset, offset)
		if i >= p.plain {
			offset += characters(t.Text)
		}
		if a.echo && p.first && i == 0 { // behind nothing
			l.LogProbs, l.TopLogProbs = append(l.LogProbs, nil), append(l.TopLogProbs, nil)
			continue
		}
		l.LogProbs = append(l.LogProbs, &t.LogProb)
		var top map[string]float64
		if a.options.TopLogProbs > 0 {
			top = make(map[string]float64, len(t.Top)+1)
			for _, other := range append(t.Top, infer.LogProb{ID: t.ID, LogProb: t.LogProb}) {
				name := a.tokenText(other.ID)
				if best, ok := top[name]; !ok || other.LogProb > best {
					top[name] = other.LogProb
				}
			}
		}
		l.TopLogProbs = append(l.TopLogProbs, top)
	}
	return l
}

func (a *answer) chatLogProbs(p *part) *chatLogProbs {
	if !a.options.LogProbs || len(p.tokens) == 0 {
		return nil
	}
	l := &chatLogProbs{}
	for i := range p.tokens {
		t := &p.tokens[i]
		one := chatLogProb{a.tokenLogProb(t.ID, t.LogProb), []tokenLogProb{}}
		for _, other := range t.Top {
			one.Top = append(one.Top, a.tokenLogProb(other.ID, other.LogProb))
		}
		l.Content = append(l.Content, one)
	}
	return l
}

func (a *answer) tokenLogProb(id int32, p float64) tokenLogProb {
	out := tokenLogProb{Token: a.tokenText(id), LogProb: p, Bytes: []int{}}
	for _, b := range a.backend.model.Tokenizer.TokenBytes(id) {
		out.Bytes = append(out.Bytes, int(b))
	}
	return out
}

// tokenText names a token: by its text, or as OpenAI does by its bytes where these are not whole characters.
func (a *answer) tokenText(id int32) string {
	raw := a.backend.model.Tokenizer.TokenBytes(id)
	if utf8.Valid(raw) {
		return string(raw)
	}
	var b strings.Builder
	b.WriteString("bytes:")
	for _, x := range raw {
		fmt.Fprintf(&b, `\x%02x`, x)
	}
	return b.String()
}
