package infer

import (
	"fmt"
	"strings"

	"mor/internal/model"
)

// OptionError is an option out of range: it names itself, what was found, and what was expected.
type OptionError struct {
	Name     string // as in a request: max_tokens, stop[0]
	Found    any
	Expected string
	err      error // the whole, where another package says it
}

func (e *OptionError) Error() string {
	if e.err != nil {
		return e.err.Error()
	}
	return fmt.Sprintf("%s: %v: expected %s", e.Name, e.Found, e.Expected)
}

// Options say how a text is continued.
type Options struct {
	Sampling
	MaxTokens         int      // at most so many tokens; 0: until the context is full
	MinTokens         int      // no end of text, and no stop, before so many tokens
	Stop              []string // the text ends before any of these
	StopTokens        []int32  // the text ends before any of these tokens
	Banned            []int32  // tokens that are never drawn
	N                 int      // texts behind the one prompt; 0 is 1
	MaxRecursion      int      // at most so many recursions a token; 0: all
	Speculate         int      // tokens that are guessed with one recursion and then read together; the text is the same without; 0: none
	RouterThreshold   float64  // expert-choice: a token goes on where the sigmoid of its score passes it; 0: 0.5, as in training
	LogProbs          bool     // fill Token.LogProb
	TopLogProbs       int      // so many of the best tokens beside each; implies LogProbs
	PromptLogProbs    bool     // fill LogProb of the prompt's tokens
	TopPromptLogProbs int      // so many of the best tokens beside each of these; implies PromptLogProbs
	RouterScores      bool     // fill Token.Scores
	Regexp            string   // the text matches this, as a whole, unless it is broken off; "": anything
	JSONSchema        []byte   // the text is JSON that this describes; nil: anything
}

// DefaultOptions continues by up to 256 tokens.
func DefaultOptions() Options { return Options{Sampling: DefaultSampling(), MaxTokens: 256} }

// maxSamples and maxTopLogProbs bound what one request can ask for.
const (
	maxSamples     = 128
	maxTopLogProbs = 100
)

// Validate names the first option that is out of range, as an OptionError. What depends on the model is checked when a request is submitted.
func (o *Options) Validate() error {
	if err := o.Sampling.Validate(); err != nil {
		return err
	}
	switch {
	case o.MaxTokens < 0:
		return &OptionError{Name: "max_tokens", Found: o.MaxTokens, Expected: "1 or more, or 0 to go on until the context is full"}
	case o.MinTokens < 0 || o.MaxTokens > 0 && o.MinTokens > o.MaxTokens:
		return &OptionError{Name: "min_tokens", Found: o.MinTokens, Expected: "0 to max_tokens"}
	case o.N < 0 || o.N > maxSamples:
		return &OptionError{Name: "n", Found: o.N, Expected: fmt.Sprintf("1 to %d", maxSamples)}
	case o.Speculate < 0 || o.Speculate > maxSpeculate:
		return &OptionError{Name: "speculate", Found: o.Speculate, Expected: fmt.Sprintf("1 to %d, or 0 for none", maxSpeculate)}
	case o.TopLogProbs < 0 || o.TopLogProbs > maxTopLogProbs:
		return &OptionError{Name: "top_logprobs", Found: o.TopLogProbs, Expected: fmt.Sprintf("0 to %d", maxTopLogProbs)}
	case o.TopPromptLogProbs < 0 || o.TopPromptLogProbs > maxTopLogProbs:
		return &OptionError{Name: "prompt_logprobs", Found: o.TopPromptLogProbs, Expected: fmt.Sprintf("0 to %d", maxTopLogProbs)}
	}
	if o.Regexp != "" && o.JSONSchema != nil {
		return &OptionError{Name: "regexp", Found: "beside a JSON schema", Expected: "one of the two"}
	}
	return validateStop(o.Stop)
}

// check refuses what the model has no meaning for.
func (o *Options) check(c *model.Config) error {
	if err := o.mode().Check(c); err != nil {
		name, _, _ := strings.Cut(err.Error(), ":")
		return &OptionError{Name: name, err: err}
	}
	if err := o.checkSpeculate(c); err != nil {
		return err
	}
	for _, list := range []struct {
		name string
		ids  []int32
	}{{"stop_token_ids", o.StopTokens}, {"banned", o.Banned}} {
		for i, id := range list.ids {
			if id < 0 || int(id) >= c.VocabSize {
				return &OptionError{Name: fmt.Sprintf("%s[%d]", list.name, i), Found: id, Expected: fmt.Sprintf("a token, 0 to %d", c.VocabSize-1)}
			}
		}
	}
	for id := range o.LogitBias {
		if id < 0 || int(id) >= c.VocabSize {
			return &OptionError{Name: "logit_bias", Found: id, Expected: fmt.Sprintf("tokens, 0 to %d", c.VocabSize-1)}
		}
	}
	return nil
}

func (o *Options) mode() model.Mode {
	return model.Mode{Routing: model.Causal, MaxRecursion: o.MaxRecursion, Threshold: o.RouterThreshold}
}

// scoresPrompt tells whether the prompt's tokens get their probabilities.
func (o *Options) scoresPrompt() bool { return o.PromptLogProbs || o.TopPromptLogProbs > 0 }

// samples is how many texts are asked for.
func (o *Options) samples() int { return max(o.N, 1) }
