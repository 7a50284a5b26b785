package token

import (
	"fmt"
	"strings"
)

// Vocab is a vocabulary as GPT-2's two files and GGUF's metadata carry it.
type Vocab struct {
	Tokens []string     // by id, in the byte-level alphabet; "" for an id without a token
	Merges []string     // "left right", in order of rank
	Added  []AddedToken // their contents may or may not be among Tokens
	Pre    string       // name of the pre-tokenizer, see PreTokenizers
}

// New returns the tokenizer of a vocabulary.
func New(v Vocab) (*Tokenizer, error) {
	pre, err := preByName(v.Pre)
	if err != nil {
		return nil, err
	}
	s := spec{added: v.Added, pre: pre, decoder: newByteLevel(true), ignoreMerges: v.Pre == "llama-bpe"}
	for id, text := range v.Tokens {
		if text != "" {
			s.vocab = append(s.vocab, vocabEntry{text, int32(id)})
		}
	}
	for i, text := range v.Merges {
		m, ok := splitMerge(text)
		if !ok {
			return nil, fmt.Errorf("merge %d: expected \"left right\", found %q", i, text)
		}
		s.merges = append(s.merges, m)
	}
	return build(s)
}

// ParseGPT2 returns the tokenizer of GPT-2's encoder.json and vocab.bpe.
func ParseGPT2(encoder, merges []byte) (*Tokenizer, error) {
	var fields map[string]int32
	if err := strictJSON(encoder, "encoder.json", &fields); err != nil {
		return nil, err
	}
	v := Vocab{Tokens: make([]string, len(fields)), Pre: "gpt-2"}
	for text, id := range fields {
		if id < 0 || int(id) >= len(fields) {
			return nil, fmt.Errorf("encoder.json: token %q has id %d: expected ids below %d", text, id, len(fields))
		}
		v.Tokens[id] = text
	}
	if id, ok := fields["<|endoftext|>"]; ok {
		v.Added = []AddedToken{{ID: id, Content: "<|endoftext|>", Special: true}}
	}
	lines := strings.FieldsFunc(string(merges), func(r rune) bool { return r == '\n' || r == '\r' })
	if len(lines) > 0 && strings.HasPrefix(lines[0], "#version") {
		lines = lines[1:]
	}
	v.Merges = lines
	return New(v)
}

// newByteLevel returns a ByteLevel step without a prefix space.
func newByteLevel(useRegex bool) byteLevelJSON {
	return byteLevelJSON{Type: stepByteLevel, TrimOffsets: true, UseRegex: useRegex}
}

// PreTokenizers are the names that New and Train take, which are llama.cpp's: gpt-2; smollm and starcoder, which are gpt-2 with every digit
// for itself; llama-bpe; qwen2.
func PreTokenizers() []string { return []string{"gpt-2", "smollm", "starcoder"} }

// preByName returns the steps of a named pre-tokenizer.
func preByName(name string) ([]preStep, error) {
	byteLevel := preStep{kind: stepByteLevel, byteLevel: newByteLevel(true)}
	switch name {
	case "gpt-2":
		return []preStep{byteLevel}, nil
	case "smollm", "starcoder":
		return []preStep{{kind: stepDigits, digits: digitsJSON{Type: stepDigits, IndividualDigits: true}}, byteLevel}, nil
	}
	return nil, fmt.Errorf("pre-tokenizer %q is unknown: expected %s", name, strings.Join(PreTokenizers(), ", "))
}
