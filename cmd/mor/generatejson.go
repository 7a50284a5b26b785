package main

import (
	"encoding/json"
	"io"
	"strings"

	"mor"
	"mor/internal/model"
)

// generated is the object of --json.
type generated struct {
	Model           string        `json:"model"`
	Prompt          string        `json:"prompt"`
	written                       // the first text
	Choices         []written     `json:"choices,omitempty"` // all texts, where --n asks for several
	Routing         string        `json:"routing"`
	Recursions      int           `json:"num_recursion"`
	MeanDepth       float64       `json:"mean_depth"` // of the generated tokens
	PromptMeanDepth float64       `json:"prompt_mean_depth"`
	Seed            uint64        `json:"seed"`
	TokensPerSec    float64       `json:"tokens_per_second"`
	PromptPerSec    float64       `json:"prompt_tokens_per_second"`
	CacheBytes      int64         `json:"kv_cache_bytes"`
	GeneratedTokens int           `json:"generated_tokens"` // those of a stop string among them
	DraftedTokens   int           `json:"drafted_tokens,omitempty"`
	AcceptedTokens  int           `json:"accepted_tokens,omitempty"`
	FLOPs           float64       `json:"flops"`
	PromptTokens    []promptToken `json:"prompt_tokens"`
}

// written is one text.
type written struct {
	Text         string           `json:"text"`
	FinishReason string           `json:"finish_reason"`
	StopString   string           `json:"stop_string,omitempty"`
	Tokens       []generatedToken `json:"tokens"`
}

type spelledToken struct {
	ID   int32  `json:"id"`
	Text string `json:"text"`
}

// promptToken is a token of the prompt. The first one, behind nothing, has no probability.
type promptToken struct {
	spelledToken
	Depth   int        `json:"depth"`
	LogProb *float64   `json:"logprob,omitempty"`
	Top     []topToken `json:"top_logprobs,omitempty"`
}

type generatedToken struct {
	spelledToken
	Depth   int        `json:"depth"`
	LogProb float64    `json:"logprob"`
	Top     []topToken `json:"top_logprobs,omitempty"`
}

// topToken is one of the best tokens at a place.
type topToken struct {
	spelledToken
	LogProb float64 `json:"logprob"`
}

func topTokens(best []mor.LogProb) []topToken {
	var out []topToken
	for _, b := range best {
		out = append(out, topToken{spelledToken{b.ID, b.Text}, b.LogProb})
	}
	return out
}

// writeJSON waits for the end of all texts and writes the object.
func (g *generateCommand) writeJSON(out io.Writer, text *mor.Text, m *mor.Model, prompt string) error {
	texts := make([]written, max(g.options.N, 1))
	var spelled = make([]strings.Builder, len(texts))
	for i := range texts {
		texts[i].Tokens = []generatedToken{}
	}
	for t, err := range text.Tokens() {
		if err != nil {
			return err
		}
		spelled[t.Index].WriteString(t.Text)
		texts[t.Index].Tokens = append(texts[t.Index].Tokens, generatedToken{spelledToken{t.ID, t.Text}, t.Depth, t.LogProb, topTokens(t.Top)})
	}
	r, err := text.Result()
	if err != nil {
		return err
	}
	for i, c := range r.Choices {
		texts[i].Text, texts[i].FinishReason, texts[i].StopString = spelled[i].String(), c.Finish, c.StopString
	}
	object := generated{Model: m.Path(), Prompt: prompt, written: texts[0], Routing: model.Causal.String(), Recursions: m.Recursions(), Seed: g.options.Seed,
		MeanDepth: r.MeanDepth, PromptMeanDepth: r.PromptDepth, DraftedTokens: r.Drafted, AcceptedTokens: r.Accepted, FLOPs: r.FLOPs, CacheBytes: r.CacheBytes,
		GeneratedTokens: r.Tokens, TokensPerSec: rate(r.Tokens, r.Decode), PromptPerSec: rate(r.PromptTokens, r.Prefill)}
	if len(texts) > 1 {
		object.Choices = texts
	}
	for i, t := range text.Prompt() {
		p := promptToken{spelledToken: spelledToken{t.ID, t.Text}, Depth: t.Depth, Top: topTokens(t.Top)}
		if i > 0 && g.options.PromptLogProbs {
			p.LogProb = &t.LogProb
		}
		object.PromptTokens = append(object.PromptTokens, p)
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(&object)
}
