package infer

import "fmt"

// Sampling says how the next token is drawn. The order is: logit bias, penalties, temperature, top-k, typical-p, top-p, min-p.
type Sampling struct {
	Temperature       float64           // divides the logits; 0 takes the best token
	TopK              int               // only the best k tokens; 0: all
	TypicalP          float64           // only the tokens whose surprise is nearest to the mean surprise, that together have at least this probability; 1 or 0: all
	TopP              float64           // only the best tokens that together have at least this probability; 1: all
	MinP              float64           // only tokens with at least this share of the best token's probability; 0: all
	RepetitionPenalty float64           // divides positive logits of tokens that occurred, multiplies negative ones; 1: none
	PresencePenalty   float64           // is taken off the logits of tokens that were generated; 0: none
	FrequencyPenalty  float64           // the same for each time that they were generated; 0: none
	LogitBias         map[int32]float32 // is added to the logits of these tokens
	Seed              uint64
}

// DefaultSampling is moderately free.
func DefaultSampling() Sampling {
	return Sampling{Temperature: 0.8, TopP: 0.95, TypicalP: 1, RepetitionPenalty: 1}
}

// Validate names the first option that is out of range, as an OptionError.
func (o *Sampling) Validate() error {
	for _, f := range []struct {
		name   string
		value  float64
		ok     bool
		expect string
	}{
		{"temperature", o.Temperature, o.Temperature >= 0 && o.Temperature <= 100, "0 (take the best token) to 100"},
		{"top_k", float64(o.TopK), o.TopK >= 0, "1 or more, or 0 for all tokens"},
		{"typical_p", o.TypicalP, o.TypicalP >= 0 && o.TypicalP <= 1, "above 0, up to 1 (all tokens)"},
		{"top_p", o.TopP, o.TopP > 0 && o.TopP <= 1, "above 0, up to 1 (all tokens)"},
		{"min_p", o.MinP, o.MinP >= 0 && o.MinP <= 1, "0 (all tokens) to 1"},
		{"repetition_penalty", o.RepetitionPenalty, o.RepetitionPenalty > 0 && o.RepetitionPenalty <= 100, "above 0, up to 100; 1 is none"},
		{"presence_penalty", o.PresencePenalty, o.PresencePenalty >= -2 && o.PresencePenalty <= 2, "-2 to 2; 0 is none"},
		{"frequency_penalty", o.FrequencyPenalty, o.FrequencyPenalty >= -2 && o.FrequencyPenalty <= 2, "-2 to 2; 0 is none"},
	} {
		if !f.ok {
			return &OptionError{Name: f.name, Found: f.value, Expected: f.expect}
		}
	}
	for id, b := range o.LogitBias {
		if !(b >= -100 && b <= 100) {
			return &OptionError{Name: fmt.Sprintf("logit_bias[%d]", id), Found: b, Expected: "-100 to 100"}
		}
	}
	return nil
}
