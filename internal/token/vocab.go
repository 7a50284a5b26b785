package token

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Vocab is a vocabulary as GPT-2's two files and GGUF's metadata carry it.
type Vocab struct {
	Tokens []string     // by id, in the byte-level alphabet; "" for an id without a token
	Merges []string     // "left right", in order of rank
	Added  []AddedToken // their contents may or may not be among Tokens
	Pre    string       // name of the pre-tokenizer, see PreTokenizers
	Prefix []int32      // tokens put before a text
}

// New returns the tokenizer of a vocabulary.
func New(v Vocab) (*Tokenizer, error) {
	s := spec{added: v.Added}
	for id, text := range v.Tokens {
		if !utf8.ValidString(text) {
			return nil, fmt.Errorf("token %d: %q is not valid UTF-8", id, text)
		}
		if text != "" {
			s.vocab = append(s.vocab, vocabEntry{text, int32(id)})
		}
	}
	for _, a := range v.Added {
		if !utf8.ValidString(a.Content) {
			return nil, fmt.Errorf("added token %d: %q is not valid UTF-8", a.ID, a.Content)
		}
	}
	var err error
	if s.post, err = prefixTemplate(v.Prefix, v.Tokens); err != nil {
		return nil, err
	}
	return buildNamed(s, v.Merges, v.Pre)
}

// ParseGPT2 returns the tokenizer of GPT-2's encoder.json and vocab.bpe.
func ParseGPT2(encoder, merges []byte) (*Tokenizer, error) {
	if err := validJSON(encoder); err != nil {
		return nil, fmt.Errorf("encoder.json: %w", err)
	}
	var s spec
	var err error
	if s.vocab, err = parseVocab(strings.TrimSpace(string(encoder)), "encoder.json"); err != nil {
		return nil, err
	}
	for _, v := range s.vocab {
		if v.text == "<|endoftext|>" {
			s.added = []AddedToken{{ID: v.id, Content: v.text, Special: true}}
		}
	}
	lines := strings.FieldsFunc(string(merges), func(r rune) bool { return r == '\n' || r == '\r' })
	if len(lines) > 0 && strings.HasPrefix(lines[0], "#version") {
		lines = lines[1:]
	}
	return buildNamed(s, lines, "gpt-2")
}

// buildNamed completes a spec with merges as "left right" and a pre-tokenizer by name.
func buildNamed(s spec, merges []string, pre string) (*Tokenizer, error) {
	named, err := preByName(pre)
	if err != nil {
		return nil, err
	}
	s.pre, s.decoder, s.ignoreMerges = named.steps(), newByteLevel(true), named.ignoreMerges
	for i, text := range merges {
		m, ok := splitMerge(text)
		if !ok {
			return nil, fmt.Errorf("merge %d: expected \"left right\", found %q", i, text)
		}
		s.merges = append(s.merges, m)
	}
	return build(s)
}

// newByteLevel returns a ByteLevel step without a prefix space.
func newByteLevel(useRegex bool) byteLevelJSON {
	return byteLevelJSON{Type: stepByteLevel, TrimOffsets: true, UseRegex: useRegex}
}
