package infer

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"mor/internal/model"
	"mor/internal/token"
)

// Options say how a text is continued.
type Options struct {
	Sampling
	MaxTokens       int      // at most so many tokens; 0: until the context is full
	Stop            []string // the text ends before any of these
	StopTokens      []int32  // the text ends at any of these, as it does at the end-of-text token
	MaxRecursion    int      // at most so many recursions a token; 0: all
	RouterThreshold float64  // expert-choice: a token goes on where the sigmoid of its score passes it; 0: 0.5, as in training
	LogProbs        bool     // fill Token.LogProb
}

// DefaultOptions continues by up to 256 tokens.
func DefaultOptions() Options { return Options{Sampling: DefaultSampling(), MaxTokens: 256} }

// Validate names the first option that is out of range. What depends on the model is checked when a text begins.
func (o *Options) Validate() error {
	if err := o.Sampling.Validate(); err != nil {
		return err
	}
	if o.MaxTokens < 0 {
		return fmt.Errorf("max_tokens: %d: expected 1 or more, or 0 to go on until the context is full", o.MaxTokens)
	}
	return validateStop(o.Stop)
}

// Token is one token of a text.
type Token struct {
	ID      int32
	Text    string  // the characters that it completes; all Texts joined are the text
	Depth   int     // recursions that it took when the model read it
	LogProb float64 // natural logarithm of its probability under the model: before penalty, temperature and filters; 0 unless asked for
}

// Why a text ended.
const (
	FinishStop   = "stop"   // the end-of-text token or another stop token, or a stop string
	FinishLength = "length" // max_tokens, or the context is full
)

// Result is what is known about a text when it has ended.
type Result struct {
	Prompt      []Token // the prompt's tokens
	Tokens      int     // tokens generated, those of a stop string among them
	Finish      string  // FinishStop or FinishLength; "" where the text was broken off
	StopString  string  // the one that was reached
	MeanDepth   float64 // of the generated tokens
	PromptDepth float64 // mean depth of the prompt's tokens
	Prefill     time.Duration
	Decode      time.Duration
	CacheBytes  int64 // keys and values held at the end
}

// prefillChunk is how many prompt tokens run at once, and how far a cancelled prompt goes on.
const prefillChunk = 256

// Session writes one text at a time with a model and its tokenizer, and reuses its memory from text to text. Like the model's CPU it is not
// safe for concurrent use.
type Session struct {
	m       *model.Model
	tok     *token.Tokenizer
	seq     *Sequence
	sampler *Sampler
	eot     int32 // -1 where the tokenizer has none
	decoder *token.Decoder
	pending int // bytes of the last token that are the beginning of a character
	outlet  outlet
	next    [1]int32
	raw     []float32 // [v] logits as the model gave them
	depth   int       // sum over the generated tokens
	result  Result
}

// NewSession returns a session. A tokenizer with more tokens than the model's vocabulary is refused.
func NewSession(m *model.Model, tok *token.Tokenizer) (*Session, error) {
	if tok.VocabSize() > m.Config.VocabSize {
		return nil, fmt.Errorf("tokenizer: %d tokens, the model has %d (vocab_size): this is not the model's tokenizer", tok.VocabSize(), m.Config.VocabSize)
	}
	s := &Session{m: m, tok: tok, seq: NewSequence(m), sampler: NewSampler(m.Config.VocabSize), eot: -1}
	if eot, ok := tok.EOT(); ok {
		s.eot = eot
	}
	return s, nil
}

// Encode returns the tokens of a prompt, behind those that the tokenizer puts before every text. An empty prompt is the end-of-text token, behind
// which a new text begins.
func (s *Session) Encode(prompt string) ([]int32, error) {
	tokens := append(s.tok.Prefix(), s.tok.Encode(prompt)...)
	if len(tokens) > 0 {
		return tokens, nil
	}
	if s.eot < 0 {
		return nil, fmt.Errorf("prompt: empty, and the tokenizer has no end-of-text token to begin with: give some text")
	}
	return []int32{s.eot}, nil
}

// Generate continues a prompt and yields each token once its text is final: behind the model's reading of it, because only then is its
// depth known, and never while it may be the beginning of a stop string. An error, the context's among them, is yielded last. Result
// tells how the text ended. The weights may have changed since the last text.
func (s *Session) Generate(ctx context.Context, prompt []int32, o Options) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		err := s.begin(ctx, prompt, o)
		for err == nil && s.result.Finish == "" {
			if err = ctx.Err(); err != nil {
				break
			}
			if err = s.step(&o); err != nil {
				break
			}
			for _, t := range s.outlet.out {
				if !yield(t, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(Token{}, err)
		}
	}
}

// Result describes the last text.
func (s *Session) Result() *Result {
	s.result.CacheBytes = s.seq.CacheBytes()
	return &s.result
}

// begin checks the options and reads the prompt.
func (s *Session) begin(ctx context.Context, prompt []int32, o Options) error {
	s.result, s.depth, s.pending = Result{}, 0, 0
	if err := o.Validate(); err != nil {
		return err
	}
	limit := s.m.Config.MaxPositionEmbeddings
	if len(prompt) == 0 {
		return fmt.Errorf("prompt: empty: give at least one token")
	}
	if len(prompt) >= limit {
		return fmt.Errorf("prompt: %d tokens: the model was made for %d (max_position_embeddings), with what it writes; shorten the prompt", len(prompt), limit)
	}
	if err := s.sampler.Reset(o.Sampling, 0); err != nil {
		return err
	}
	s.outlet.reset(o.Stop)
	s.seq.Reset(o.MaxRecursion, o.RouterThreshold)
	started := time.Now()
	for at := 0; at < len(prompt); at += prefillChunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.seq.Append(prompt[at:min(at+prefillChunk, len(prompt))]); err != nil {
			return err
		}
	}
	s.result.Prefill = time.Since(started)
	s.sampler.Observe(prompt...)
	s.describePrompt(prompt)
	s.decoder = s.tok.NewDecoder()
	return nil
}

// describePrompt records the prompt's tokens with their depths.
func (s *Session) describePrompt(prompt []int32) {
	r, d := &s.result, s.tok.NewDecoder()
	for i, id := range prompt {
		t := Token{ID: id, Text: d.Write(id), Depth: int(s.seq.Depth[i])}
		r.Prompt = append(r.Prompt, t)
		r.PromptDepth += float64(t.Depth) / float64(len(prompt))
	}
	r.Prompt[len(prompt)-1].Text += d.Flush()
}

// step generates one token, runs it, and fills the outlet with what can be delivered.
func (s *Session) step(o *Options) error {
	started := time.Now()
	defer func() { s.result.Decode += time.Since(started) }()
	s.outlet.out = s.outlet.out[:0]
	t, err := s.sample(o)
	if err != nil {
		return err
	}
	if t.ID == s.eot || slices.Contains(o.StopTokens, t.ID) {
		s.end(FinishStop)
		return nil
	}
	s.next[0] = t.ID
	if err := s.seq.Append(s.next[:]); err != nil {
		return err
	}
	r := &s.result
	t.Depth = int(s.seq.Depth[len(s.seq.Depth)-1])
	s.depth += t.Depth
	r.Tokens++
	r.MeanDepth = float64(s.depth) / float64(r.Tokens)
	s.sampler.Observe(t.ID)
	t.Text = s.decoder.Write(t.ID)
	s.pending += len(s.tok.TokenBytes(t.ID)) - len(t.Text)
	if stop, stopped := s.outlet.add(t, s.pending > 0); stopped {
		r.Finish, r.StopString = FinishStop, stop
	} else if r.Tokens == o.MaxTokens || len(s.seq.Tokens) == s.m.Config.MaxPositionEmbeddings {
		s.end(FinishLength)
	}
	return nil
}

// sample draws the next token.
func (s *Session) sample(o *Options) (Token, error) {
	logits := s.seq.Logits()
	if o.LogProbs {
		s.raw = append(s.raw[:0], logits...)
	}
	id, err := s.sampler.Sample(logits)
	if err != nil || !o.LogProbs {
		return Token{ID: id}, err
	}
	top, sum := s.raw[id], 0.0
	for _, v := range s.raw {
		top = max(top, v)
	}
	for _, v := range s.raw {
		sum += expNegative(float64(v - top))
	}
	return Token{ID: id, LogProb: float64(s.raw[id]-top) - math.Log(sum)}, nil
}

// end lets out the rest of the text.
func (s *Session) end(why string) {
	s.result.Finish = why
	s.outlet.finish(s.decoder.Flush())
}
