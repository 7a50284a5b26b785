package gguf

import (
	"fmt"
	"math"
	"strings"

	"mor/internal/token"
)

// More kinds of tokens, by llama.cpp's numbers.
const (
	tokenNormal = 1
	tokenUnused = 5
	tokenByte   = 6
)

// tokenizer writes the vocabulary, filled up to the rows of the embedding, and what belongs to it.
func (e *encoder) tokenizer(o *WriteOptions, rows int) error {
	tok := o.Tokenizer
	if tok.VocabSize() > rows {
		return fmt.Errorf("tokenizer: %d tokens, the model has %d (vocab_size)", tok.VocabSize(), rows)
	}
	if len(tok.Suffix()) > 0 || len(tok.Prefix()) > 1 {
		return fmt.Errorf("tokenizer: it puts %d tokens before a text and %d behind: a GGUF file has room for one before", len(tok.Prefix()), len(tok.Suffix()))
	}
	sentence, ok := tok.Sentence()
	if ok {
		e.putString("tokenizer.ggml.model", "llama")
		e.putString("tokenizer.ggml.pre", "default")
		e.tokens(sentence.Tokens, sentence.Added, sentence.Unknown, rows, true)
		e.putList("tokenizer.ggml.scores", kindFloat32, rows)
		for id := range rows {
			score := float32(0)
			if id < len(sentence.Scores) {
				score = sentence.Scores[id]
			}
			e.u32(math.Float32bits(score))
		}
		e.putBool("tokenizer.ggml.add_space_prefix", sentence.Prepend)
		if sentence.Unknown >= 0 {
			e.putUint("tokenizer.ggml.unknown_token_id", uint32(sentence.Unknown))
		}
	} else {
		v, err := tok.Vocab()
		if err != nil {
			return fmt.Errorf("tokenizer: %w", err)
		}
		e.putString("tokenizer.ggml.model", "gpt2")
		e.putString("tokenizer.ggml.pre", v.Pre)
		e.tokens(v.Tokens, v.Added, -1, rows, false)
		e.putList("tokenizer.ggml.merges", kindString, len(v.Merges))
		for _, m := range v.Merges {
			e.str(m)
		}
	}
	e.special(o)
	return nil
}

// tokens writes the texts and kinds of tokens.
func (e *encoder) tokens(texts []string, added []token.AddedToken, unknown int32, rows int, sentence bool) {
	kinds := make([]uint32, rows)
	e.putList("tokenizer.ggml.tokens", kindString, rows)
	for id := range rows {
		text := ""
		if id < len(texts) {
			text = texts[id]
		}
		switch {
		case text == "":
			text, kinds[id] = filler(id), tokenUnused
		case sentence && len(text) == 6 && strings.HasPrefix(text, "<0x"):
			kinds[id] = tokenByte
		default:
			kinds[id] = tokenNormal
		}
		e.str(text)
	}
	for _, a := range added {
		kinds[a.ID] = tokenUserDefined
		if a.Special {
			kinds[a.ID] = tokenControl
		}
	}
	if unknown >= 0 {
		kinds[unknown] = tokenUnknown
	}
	e.putList("tokenizer.ggml.token_type", kindInt32, rows)
	for _, k := range kinds {
		e.u32(k)
	}
}

// filler is the text of an id without a token: every row of the embedding has one in a file.
func filler(id int) string { return fmt.Sprintf("[PAD%d]", id) }

// special writes the special tokens and the chat template.
func (e *encoder) special(o *WriteOptions) {
	eos, hasEOS := o.Tokenizer.EOT()
	if len(o.Stops) > 0 {
		eos, hasEOS = o.Stops[0], true
	}
	prefix := o.Tokenizer.Prefix()
	if len(prefix) == 1 {
		e.putUint("tokenizer.ggml.bos_token_id", uint32(prefix[0]))
	} else if hasEOS {
		e.putUint("tokenizer.ggml.bos_token_id", uint32(eos))
	}
	if hasEOS {
		e.putUint("tokenizer.ggml.eos_token_id", uint32(eos))
	}
	if len(o.Stops) > 1 {
		e.putUint("tokenizer.ggml.eot_token_id", uint32(o.Stops[1]))
	}
	e.putBool("tokenizer.ggml.add_bos_token", len(prefix) == 1)
	e.putBool("tokenizer.ggml.add_eos_token", false)
	if o.ChatTemplate != "" {
		e.putString("tokenizer.chat_template", o.ChatTemplate)
	}
}
