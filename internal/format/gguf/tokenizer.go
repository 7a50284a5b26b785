package gguf

import (
	"fmt"
	"slices"

	"mor/internal/token"
)

// The kinds of tokens, by llama.cpp's numbers.
const (
	tokenUnknown     = 2
	tokenControl     = 3
	tokenUserDefined = 4
)

// Tokenizer builds the tokenizer that the metadata describe.
func (g *File) Tokenizer() (*token.Tokenizer, error) {
	t, err := g.tokenizer()
	if err != nil {
		return nil, fmt.Errorf("%s: tokenizer: %w", g.path, err)
	}
	return t, nil
}

// vocabulary is what both kinds of tokenizer have.
type vocabulary struct {
	tokens  []string
	types   []int64
	added   []token.AddedToken
	unknown int32
	prefix  []int32
}

func (g *File) tokenizer() (*token.Tokenizer, error) {
	kind, err := g.Meta.String("tokenizer.ggml.model", "")
	if err != nil {
		return nil, err
	}
	if kind != "gpt2" && kind != "llama" {
		return nil, fmt.Errorf("tokenizer.ggml.model: %q is not supported: expected gpt2 or llama", kind)
	}
	if kind == "llama" {
		v, err := g.vocabulary(true, defaultIDs)
		if err != nil {
			return nil, err
		}
		return g.sentence(v)
	}
	pre, err := g.Meta.String("tokenizer.ggml.pre", token.DefaultPre)
	if err != nil {
		return nil, err
	}
	v, err := g.vocabulary(token.BeginsWithBOS(pre), specialIDs{bos: -1, unknown: -1})
	if err != nil {
		return nil, err
	}
	merges, err := g.Meta.Strings("tokenizer.ggml.merges")
	if err != nil {
		return nil, err
	}
	return token.New(token.Vocab{Tokens: v.tokens, Merges: merges, Added: v.added, Pre: pre, Prefix: v.prefix})
}

// specialIDs are the ids of special tokens, -1 for none.
type specialIDs struct{ bos, unknown int }

// defaultIDs are those of a vocabulary of SentencePiece's kind where the metadata lack them.
var defaultIDs = specialIDs{bos: 1, unknown: 0}

// vocabulary reads what both kinds have. begins tells whether a text begins with BOS where the file does not say.
func (g *File) vocabulary(begins bool, ids specialIDs) (*vocabulary, error) {
	v := &vocabulary{unknown: -1}
	var err error
	if v.tokens, err = g.Meta.Strings("tokenizer.ggml.tokens"); err != nil {
		return nil, err
	}
	if v.types, err = g.Meta.Ints("tokenizer.ggml.token_type"); err != nil {
		return nil, err
	}
	if v.types == nil {
		v.types = make([]int64, len(v.tokens))
	}
	if len(v.types) != len(v.tokens) {
		return nil, fmt.Errorf("tokenizer.ggml.token_type: %d values for %d tokens", len(v.types), len(v.tokens))
	}
	for id, kind := range v.types {
		switch {
		case kind == tokenUnused && v.tokens[id] == filler(id):
			v.tokens[id] = "" // no token, but a row of the embedding
		case kind == tokenControl || kind == tokenUserDefined || kind == tokenUnknown:
			v.added = append(v.added, token.AddedToken{ID: int32(id), Content: v.tokens[id], Special: kind != tokenUserDefined})
		}
	}
	unknown, err := g.Meta.Int("tokenizer.ggml.unknown_token_id", ids.unknown)
	if err != nil {
		return nil, err
	}
	if unknown >= 0 && unknown < len(v.tokens) {
		v.unknown = int32(unknown)
	}
	bos, err := g.Meta.Bool("tokenizer.ggml.add_bos_token", begins)
	if err != nil || !bos {
		return v, err
	}
	id, err := g.Meta.Int("tokenizer.ggml.bos_token_id", ids.bos)
	if err != nil {
		return nil, err
	}
	if id < 0 || id >= len(v.tokens) {
		return nil, fmt.Errorf("tokenizer.ggml.bos_token_id: %d is not in the vocabulary of %d, and add_bos_token asks for it", id, len(v.tokens))
	}
	v.prefix = []int32{int32(id)}
	return v, nil
}

func (g *File) sentence(v *vocabulary) (*token.Tokenizer, error) {
	scores, err := g.Meta.Floats("tokenizer.ggml.scores")
	if err != nil {
		return nil, err
	}
	prepend, err := g.Meta.Bool("tokenizer.ggml.add_space_prefix", true)
	if err != nil {
		return nil, err
	}
	s := token.Sentence{Tokens: v.tokens, Added: v.added, Unknown: v.unknown, Prefix: v.prefix, Prepend: prepend}
	for _, x := range scores {
		s.Scores = append(s.Scores, float32(x))
	}
	return token.NewSentence(s)
}

// endings are control tokens that end a text whatever the metadata say: older files name only one end.
var endings = []string{"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>"}

// StopTokens lists the tokens that end a text: end of sequence, of turn, of message.
func (g *File) StopTokens() ([]int32, error) {
	var out []int32
	add := func(id int32) {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	for _, key := range []string{"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"} {
		id, err := g.Meta.Int(key, -1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", g.path, err)
		}
		if id >= 0 {
			add(int32(id))
		}
	}
	v, err := g.vocabulary(false, specialIDs{bos: -1, unknown: -1})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", g.path, err)
	}
	for _, a := range v.added {
		if a.Special && slices.Contains(endings, a.Content) {
			add(a.ID)
		}
	}
	return out, nil
}

// DropTokenizer lets go of the lists that Tokenizer and StopTokens read, which must not be asked for any more.
func (g *File) DropTokenizer() {
	for _, list := range []string{"tokens", "token_type", "merges", "scores"} {
		delete(g.Meta.values, "tokenizer.ggml."+list)
	}
}

// ChatTemplate is the Jinja text that turns a conversation into a prompt, "" where there is none.
func (g *File) ChatTemplate() (string, error) { return g.Meta.String("tokenizer.chat_template", "") }
