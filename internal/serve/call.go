package serve

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"

	"mor/internal/infer"
	"mor/internal/strict"
)

// call is what a request asks for.
type call struct {
	chat    bool // for the chat endpoint, which answers in another form
	model   string
	prompts []prompt
	options infer.Options // of each prompt

	messages            []message
	templateVariables   map[string]any
	addGenerationPrompt *bool

	stream, streamOptions, includeUsage bool
	echo, returnDepth, ignoreEOS        bool
	maxTokensGiven, seeded              bool
	scoreOnly                           bool   // max_tokens is 0: the token that is drawn anyway is not part of the answer
	maxTokensName                       string // the field that it came by
	bestOf                              *int
	user, safetyIdentifier              string
}

// prompt is a text, or the tokens of one.
type prompt struct {
	text   string
	tokens []int32 // nil: text
}

// message is one of a conversation.
type message struct {
	Role         string          `json:"role"`
	Content      json.RawMessage `json:"content"`
	Name         *string         `json:"name"`
	Refusal      json.RawMessage `json:"refusal"`
	Audio        json.RawMessage `json:"audio"`
	ToolCalls    json.RawMessage `json:"tool_calls"`
	ToolCallID   json.RawMessage `json:"tool_call_id"`
	FunctionCall json.RawMessage `json:"function_call"`

	text string // of its content
}

// roles are those that a message may have, and what the template calls them.
var roles = map[string]string{"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}

func newCall(chat bool) *call {
	return &call{chat: chat, maxTokensName: "max_tokens", options: infer.Options{Sampling: infer.Sampling{Temperature: 1, TopP: 1, TypicalP: 1, RepetitionPenalty: 1}}}
}

// parseCall decodes the body of a request and checks what depends on several fields.
func parseCall(body []byte, chat bool, limit int) (*call, error) {
	c, fields := newCall(chat), completionFields
	if chat {
		fields = chatFields
	}
	if err := c.decode(body, fields); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, c.complete(limit)
}

// check refuses fields that contradict each other.
func (c *call) check() error {
	o := &c.options
	switch {
	case c.chat && len(c.messages) == 0:
		return refused("messages", "messages: missing: expected at least one message")
	case c.streamOptions && !c.stream:
		return refused("stream_options", "stream_options: only with stream: true")
	case c.bestOf != nil && *c.bestOf != max(o.N, 1):
		return refused("best_of", "best_of: %d: expected the same as n, %d: nothing else is supported", *c.bestOf, max(o.N, 1))
	case c.chat && o.TopLogProbs > 0 && !o.LogProbs:
		return refused("top_logprobs", "top_logprobs: only with logprobs: true")
	case c.maxTokensGiven && o.MaxTokens == 0 && !c.echo:
		return refused("max_tokens", "max_tokens: 0: expected 1 or more, or echo: true")
	}
	return nil
}

// complete fills in the defaults that a server has, at most limit tokens (0: no limit) among them.
func (c *call) complete(limit int) error {
	o := &c.options
	switch {
	case !c.maxTokensGiven && !c.chat:
		o.MaxTokens = defaultMaxTokens
	case !c.maxTokensGiven:
		o.MaxTokens = limit
	case o.MaxTokens == 0:
		c.scoreOnly, o.MaxTokens, o.N = true, 1, 1
	}
	if limit > 0 && o.MaxTokens > limit {
		if c.maxTokensGiven {
			return refused(c.maxTokensName, "%s: %d: expected at most %d, this server's limit", c.maxTokensName, o.MaxTokens, limit)
		}
		o.MaxTokens = limit
	}
	if !c.seeded {
		o.Seed = rand.Uint64()
	}
	if !c.chat && len(c.prompts) == 0 {
		c.prompts = []prompt{{}}
	}
	if o.PromptLogProbs = c.echo && o.LogProbs; o.PromptLogProbs {
		o.TopPromptLogProbs = o.TopLogProbs
	}
	o.RouterScores = c.returnDepth
	return nil
}

// defaultMaxTokens is OpenAI's for completions.
const defaultMaxTokens = 16

func (c *call) setMessages(v json.RawMessage) error {
	if err := strict.JSON(v, &c.messages); err != nil {
		return fmt.Errorf("messages: %w", err)
	}
	for i := range c.messages {
		m := &c.messages[i]
		name := fmt.Sprintf("messages[%d]", i)
		for _, f := range []struct {
			name  string
			value json.RawMessage
		}{{"refusal", m.Refusal}, {"audio", m.Audio}, {"tool_calls", m.ToolCalls}, {"tool_call_id", m.ToolCallID}, {"function_call", m.FunctionCall}} {
			if len(f.value) > 0 && string(f.value) != "null" {
				return refused(name+"."+f.name, "%s.%s: not supported", name, f.name)
			}
		}
		role, ok := roles[m.Role]
		if !ok {
			return refused(name+".role", "%s.role: %.40q: expected system, developer, user or assistant", name, m.Role)
		}
		m.Role = role
		var err error
		if m.text, err = contentText(m.Content, name+".content"); err != nil {
			return err
		}
	}
	return nil
}

// contentText is the text of a message's content: a text, or parts of type text.
func contentText(v json.RawMessage, name string) (string, error) {
	if len(v) == 0 || string(v) == "null" {
		return "", refused(name, "%s: missing: expected a text", name)
	}
	var text string
	if json.Unmarshal(v, &text) == nil {
		return text, nil
	}
	var parts []struct {
		Type string          `json:"type"`
		Text json.RawMessage `json:"text"`
	}
	if err := json.Unmarshal(v, &parts); err != nil {
		return "", refused(name, "%s: expected a text, or a list of parts of type text", name)
	}
	for i, p := range parts {
		if p.Type != "text" {
			return "", refused(name, "%s[%d].type: %.40q: expected text: the models read nothing else", name, i, p.Type)
		}
		var s *string
		if err := json.Unmarshal(p.Text, &s); err != nil || s == nil {
			return "", refused(name, "%s[%d].text: expected a text", name, i)
		}
		text += *s
	}
	return text, nil
}

func (c *call) setResponseFormat(v json.RawMessage) error {
	var f struct {
		Type       string `json:"type"`
		JSONSchema *struct {
			Name        string          `json:"name"`
			Description string          `json:"description"`
			Schema      json.RawMessage `json:"schema"`
			Strict      *bool           `json:"strict"`
		} `json:"json_schema"`
	}
	if err := strict.JSON(v, &f); err != nil {
		return fmt.Errorf("response_format.%w", err)
	}
	if (f.JSONSchema != nil) != (f.Type == "json_schema") {
		return refused("response_format", "response_format: json_schema goes with type json_schema, and only with it")
	}
	switch f.Type {
	case "text":
	case "json_object":
		c.options.JSONSchema = []byte(`{"type":"object"}`)
	case "json_schema":
		if len(f.JSONSchema.Schema) == 0 || string(f.JSONSchema.Schema) == "null" {
			return refused("response_format.json_schema.schema", "response_format.json_schema.schema: missing: expected a JSON schema")
		}
		c.options.JSONSchema = slices.Clone(f.JSONSchema.Schema)
	default:
		return refused("response_format.type", "response_format.type: %.40q: expected text, json_object or json_schema", f.Type)
	}
	return nil
}
