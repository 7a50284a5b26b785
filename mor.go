// Package mor runs language models whose depth adapts to each token: it opens a model, continues texts, and scores them.
//
//	m, err := mor.Open("runs/default", mor.OpenOptions{})
//	...
//	for token, err := range m.Generate(ctx, "func main() {", mor.DefaultOptions()) {
//		...
//	}
package mor

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"mor/internal/format/folder"
	"mor/internal/infer"
	"mor/internal/kernel"
	"mor/internal/source"
)

// OpenOptions say how a model is held and run. The zero value is good for a few texts at a time.
type OpenOptions struct {
	Threads     int    // compute threads; 0: one for each CPU
	Weights     string // type that the matrices are held in, as in mor generate --weights; "": what the file has
	MaxRunning  int    // most texts that run together; 0: 32
	CacheBytes  int64  // most memory for keys and values; 0: 1 GiB
	CacheFormat string // what keys and values are kept as: auto, fp32, bf16 or int8; "": auto, as exactly as the weights
	NoReuse     bool   // keys and values of a prompt's beginning are not kept for later prompts
}

// Model is an opened model. Any number of goroutines may generate and score with it at once; their texts share passes through the model, and what a text
// becomes does not depend on the others.
type Model struct {
	dir    string
	cpu    *kernel.CPU
	model  *source.Model
	engine *infer.Engine
}

// Open opens a model folder (mor's or Hugging Face's), a GGUF file, or the directory of a training run, whose latest checkpoint is taken.
func Open(path string, o OpenOptions) (*Model, error) {
	dir, err := source.Resolve(path)
	if err != nil {
		return nil, err
	}
	weights := o.Weights
	if weights == "" {
		weights = "auto"
	}
	p, err := source.ParsePrecision(weights)
	if err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	cpu, err := kernel.Open(o.Threads)
	if err != nil {
		return nil, err
	}
	m := &Model{dir: dir, cpu: cpu}
	if err := m.open(p, &o); err != nil {
		cpu.Close()
		return nil, err
	}
	return m, nil
}

func (m *Model) open(p source.Precision, o *OpenOptions) (err error) {
	if m.model, err = source.OpenInference(m.dir, m.cpu, p); err != nil {
		return err
	}
	if m.model.Tokenizer == nil {
		return fmt.Errorf("%s: no %s: put the model's own beside its weights", m.dir, folder.TokenizerFile)
	}
	e := infer.DefaultEngineOptions()
	e.PrefixReuse = !o.NoReuse
	if o.MaxRunning != 0 {
		e.MaxRunning = o.MaxRunning
	}
	if o.CacheBytes != 0 {
		e.CacheBytes = o.CacheBytes
	}
	if o.CacheFormat != "" {
		e.CacheFormat = kernel.PageFormat(o.CacheFormat)
	}
	if m.engine, err = infer.NewEngine(m.model.Model, m.model.Tokenizer, e); err != nil {
		return fmt.Errorf("%s: %w", m.dir, err)
	}
	return nil
}

// Close ends all texts and the threads.
func (m *Model) Close() error {
	err := m.engine.Close()
	m.cpu.Close()
	return err
}

// Path is the folder or file that the model was read from.
func (m *Model) Path() string { return m.dir }

// Recursions is the most recursions of a token, 1 for a vanilla model.
func (m *Model) Recursions() int { return m.model.Config.Recursions() }

// Options say how a prompt is continued. An option out of range is an error that names it and its range.
type Options struct {
	MaxTokens         int               // most tokens to write; 0: until the context is full
	MinTokens         int               // the text does not end before so many tokens
	Stop              []string          // the text ends before any of these
	StopTokens        []int32           // the text ends before any of these tokens, besides those that the model names
	Temperature       float64           // divides the logits; 0 takes the best token
	TopK              int               // only the best k tokens; 0: all
	TopP              float64           // only the best tokens that together have this probability; 1: all
	MinP              float64           // only tokens with at least this share of the best one's probability; 0: all
	TypicalP          float64           // locally typical sampling; 1: all
	RepetitionPenalty float64           // above 1, tokens that occurred become less likely; 1: none
	PresencePenalty   float64           // is taken off the logits of tokens that were written; 0: none
	FrequencyPenalty  float64           // the same for each time that they were written; 0: none
	LogitBias         map[int32]float32 // is added to the logits of these tokens
	Seed              uint64            // one seed, one text
	MaxRecursion      int               // most recursions of a token: fewer are faster; 0: all that the model has
	Speculate         int               // tokens that are guessed with one recursion and then read together; the text is the same without; 0: none
	RouterThreshold   float64           // expert-choice: a token goes on where its score's probability passes this; 0: 0.5
	LogProbs          bool              // fill Token.LogProb
	TopLogProbs       int               // fill Token.Top with so many tokens; implies LogProbs
	PromptLogProbs    bool              // fill LogProb of the prompt's tokens
	TopPromptLogProbs int               // fill Top of the prompt's tokens; implies PromptLogProbs
	N                 int               // texts behind the one prompt, each drawn on its own; 0: 1
	Regexp            string            // the text matches this as a whole, unless it ends by its length; "": anything
	JSONSchema        []byte            // the text is JSON that this describes; nil: anything
}

// DefaultOptions continues by up to 256 tokens, moderately free.
func DefaultOptions() Options {
	return Options{MaxTokens: 256, Temperature: 0.8, TopP: 0.95, TypicalP: 1, RepetitionPenalty: 1}
}

// Validate names the first option that is out of range.
func (o Options) Validate() error {
	r := o.options(nil)
	return r.Validate()
}

func (o *Options) options(stops []int32) infer.Options {
	return infer.Options{
		Sampling: infer.Sampling{Temperature: o.Temperature, TopK: o.TopK, TopP: o.TopP, MinP: o.MinP, TypicalP: o.TypicalP, RepetitionPenalty: o.RepetitionPenalty,
			PresencePenalty: o.PresencePenalty, FrequencyPenalty: o.FrequencyPenalty, LogitBias: o.LogitBias, Seed: o.Seed},
		MaxTokens: o.MaxTokens, MinTokens: o.MinTokens, Stop: o.Stop, StopTokens: append(slices.Clone(o.StopTokens), stops...), MaxRecursion: o.MaxRecursion, Speculate: o.Speculate,
		RouterThreshold: o.RouterThreshold, LogProbs: o.LogProbs, TopLogProbs: o.TopLogProbs, PromptLogProbs: o.PromptLogProbs, TopPromptLogProbs: o.TopPromptLogProbs, N: o.N,
		Regexp: o.Regexp, JSONSchema: o.JSONSchema,
	}
}

// Token is one token of a text.
type Token struct {
	Index   int // which of the N texts
	ID      int32
	Text    string    // the characters that it completes; all Texts joined are the text
	Depth   int       // recursions that it took
	LogProb float64   // natural logarithm of its probability under the model, before penalties and filters, where asked for
	Top     []LogProb // the best tokens at its place, the best first, where asked for
}

// LogProb is a token that could have stood at a place.
type LogProb struct {
	ID      int32
	Text    string // its bytes, which may be part of a character
	LogProb float64
}

// Generate continues a prompt and yields each token once its text is final; those of N texts are told apart by their Index. An error, the context's among them, is yielded last.
func (m *Model) Generate(ctx context.Context, prompt string, o Options) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		t, err := m.Start(ctx, prompt, o)
		if err != nil {
			yield(Token{}, err)
			return
		}
		t.Tokens()(yield)
	}
}

// Text is a text in the making, or N of them behind one prompt.
type Text struct {
	m      *Model
	stream *infer.Stream
}

// Start begins to continue a prompt. An empty prompt begins a new text.
func (m *Model) Start(ctx context.Context, prompt string, o Options) (*Text, error) {
	ids, err := m.engine.Encode(prompt)
	if err != nil {
		return nil, err
	}
	s, err := m.engine.Submit(ctx, &infer.Request{Prompt: ids, Options: o.options(m.model.Stops)})
	if err != nil {
		return nil, err
	}
	return &Text{m, s}, nil
}

// Tokens yields the tokens as Generate does. Breaking off ends the text.
func (t *Text) Tokens() iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		for k, err := range t.stream.Tokens() {
			if !yield(t.m.token(&k), err) {
				return
			}
		}
	}
}

func (m *Model) token(t *infer.Token) Token {
	var top []LogProb
	for _, l := range t.Top {
		top = append(top, LogProb{l.ID, string(m.model.Tokenizer.TokenBytes(l.ID)), l.LogProb})
	}
	return Token{t.Index, t.ID, t.Text, t.Depth, t.LogProb, top}
}

// Prompt returns the prompt's tokens: from the first token of the text on.
func (t *Text) Prompt() []Token { return t.m.tokens(t.stream.Prompt()) }

func (m *Model) tokens(tokens []infer.Token) []Token {
	var out []Token
	for i := range tokens {
		out = append(out, m.token(&tokens[i]))
	}
	return out
}

// Choice is how one of N texts ended.
type Choice struct {
	Finish     string // stop, length, or "" where the text was broken off
	StopString string // the one that was reached
	Tokens     int    // written, those of a stop string among them
	MeanDepth  float64
}

// Result is what is known about a text when it has ended; of N, about all together.
type Result struct {
	Finish       string   // of the first text: stop, length, or "" where it was broken off
	StopString   string   // the one that the first text reached
	Choices      []Choice // by Token.Index
	PromptTokens int
	CachedTokens int     // of the prompt, whose keys and values another text had left
	Tokens       int     // written, those of a stop string among them
	MeanDepth    float64 // of the written tokens
	PromptDepth  float64 // mean depth of the prompt's tokens
	Drafted      int     // tokens that were guessed, where asked for
	Accepted     int     // guesses that held
	FLOPs        float64
	Prefill      time.Duration
	Decode       time.Duration
	CacheBytes   int64 // keys and values held at the end
}

// Result waits for the end of the text. The error is the one that ended it.
func (t *Text) Result() (Result, error) {
	r, err := t.stream.Result()
	out := Result{PromptTokens: r.PromptTokens, CachedTokens: r.CachedTokens, Tokens: r.Tokens, MeanDepth: r.MeanDepth, PromptDepth: r.PromptDepth, Drafted: r.Drafted, Accepted: r.Accepted, FLOPs: r.FLOPs,
		Prefill: r.Prefill, Decode: r.Decode, CacheBytes: r.CacheBytes}
	for i, c := range r.Choices {
		if i == 0 {
			out.Finish, out.StopString = c.Finish, c.StopString
		}
		out.Choices = append(out.Choices, Choice(c))
	}
	return out, err
}

// Score returns the tokens of a text with the probability of each behind those before it, and its depth. The first one, behind nothing, has the log
// probability 0.
func (m *Model) Score(ctx context.Context, text string) ([]Token, error) {
	ids, err := m.engine.Encode(text)
	if err != nil {
		return nil, err
	}
	o := infer.DefaultOptions()
	o.PromptLogProbs, o.MaxTokens = true, 1
	s, err := m.engine.Submit(ctx, &infer.Request{Prompt: ids, Options: o})
	if err != nil {
		return nil, err
	}
	if _, err := s.Result(); err != nil {
		return nil, err
	}
	return m.tokens(s.Prompt()), nil
}
