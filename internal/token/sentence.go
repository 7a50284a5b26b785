package token

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// metaspace stands for a space in the vocabularies of SentencePiece.
const metaspace = '▁'

// sentenceSpec says that a vocabulary is SentencePiece's kind of BPE, as Llama 1 and 2 have it: the symbols that merge are characters, a space is written as ▁, and a
// character that the vocabulary lacks is spelled in byte tokens, <0x00> to <0xFF>.
type sentenceSpec struct {
	prepend bool // a text gets a space in front
	// scheme is Metaspace's prepend_scheme, where a pre-tokenizer of that name writes the spaces: a text that begins with one gets no other. "" where a normalizer does it.
	scheme string
}

// Metaspace's prepend_scheme.
const (
	prependFirst  = "first"  // the beginning of the text alone
	prependAlways = "always" // what follows an added token too
	prependNever  = "never"
)

// begins tells whether a piece of a text gets a space in front; start: it is the first piece.
func (s *sentenceSpec) begins(text []byte, start bool) bool {
	if s.scheme == "" || !s.prepend {
		return s.prepend
	}
	return (start || s.scheme == prependAlways) && text[0] != ' ' && !bytes.HasPrefix(text, []byte(string(metaspace)))
}

// Sentence is a vocabulary of SentencePiece's kind, as GGUF's metadata carries it.
type Sentence struct {
	Tokens  []string  // by id, with ▁ for a space; byte tokens as <0x00>
	Scores  []float32 // by id: of two merges, the one with the higher score comes first
	Added   []AddedToken
	Unknown int32   // id of the token for what has no token, -1: none
	Prefix  []int32 // tokens put before a text, such as <s>
	Prepend bool    // a text gets a space in front
}

// NewSentence returns the tokenizer of a vocabulary of SentencePiece's kind.
func NewSentence(v Sentence) (*Tokenizer, error) {
	if len(v.Scores) != len(v.Tokens) {
		return nil, fmt.Errorf("scores: %d for %d tokens: expected one each", len(v.Scores), len(v.Tokens))
	}
	s := spec{added: v.Added, sentence: &sentenceSpec{prepend: v.Prepend}, fuseUnk: true}
	ids := make(map[string]int32, len(v.Tokens))
	for id, text := range v.Tokens {
		if !utf8.ValidString(text) {
			return nil, fmt.Errorf("token %d: %q is not valid UTF-8", id, text)
		}
		if text != "" {
			s.vocab = append(s.vocab, vocabEntry{text, int32(id)})
			ids[text] = int32(id)
		}
	}
	if v.Unknown >= 0 {
		if int(v.Unknown) >= len(v.Tokens) {
			return nil, fmt.Errorf("unknown token: id %d is not in the vocabulary of %d", v.Unknown, len(v.Tokens))
		}
		text := v.Tokens[v.Unknown]
		s.unkToken = &text
	}
	s.merges = sentenceMerges(&v, ids)
	var err error
	if s.post, err = prefixTemplate(v.Prefix, v.Tokens); err != nil {
		return nil, err
	}
	return build(s)
}

// sentenceMerges lists the pairs of tokens that make a token, the highest score first.
func sentenceMerges(v *Sentence, ids map[string]int32) []mergePair {
	type merge struct {
		pair mergePair
		id   int
	}
	special := make(map[int32]bool, len(v.Added))
	for _, a := range v.Added {
		special[a.ID] = true
	}
	var merges []merge
	for id, text := range v.Tokens {
		if special[int32(id)] || int32(id) == v.Unknown {
			continue
		}
		for at := range text {
			if at == 0 {
				continue
			}
			_, left := ids[text[:at]]
			_, right := ids[text[at:]]
			if left && right {
				merges = append(merges, merge{mergePair{text[:at], text[at:]}, id})
			}
		}
	}
	slices.SortStableFunc(merges, func(a, b merge) int { return cmp.Compare(v.Scores[b.id], v.Scores[a.id]) })
	out := make([]mergePair, len(merges))
	for i, m := range merges {
		out[i] = m.pair
	}
	return out
}

// prefixTemplate is the post-processor that puts tokens before a text.
func prefixTemplate(prefix []int32, tokens []string) ([]postStep, error) {
	if len(prefix) == 0 {
		return nil, nil
	}
	t := templateJSON{Type: stepTemplate, SpecialTokens: map[string]templateSpecial{}}
	for _, id := range prefix {
		if id < 0 || int(id) >= len(tokens) {
			return nil, fmt.Errorf("token before a text: id %d is not in the vocabulary of %d", id, len(tokens))
		}
		text := tokens[id]
		t.Single = append(t.Single, templatePiece{SpecialToken: &templateRef{ID: text}})
		t.SpecialTokens[text] = templateSpecial{ID: text, IDs: []int32{id}, Tokens: []string{text}}
	}
	t.Pair = append(slices.Clone(t.Single), templatePiece{Sequence: &templateRef{ID: "A"}}, templatePiece{Sequence: &templateRef{ID: "B", TypeID: 1}})
	t.Single = append(t.Single, templatePiece{Sequence: &templateRef{ID: "A"}})
	return []postStep{{kind: stepTemplate, template: t}}, nil
}

// sentenceBytes appends the bytes that a token of such a vocabulary stands for. For a byte token single is its byte, otherwise -1.
func sentenceBytes(dst []byte, text string) (out []byte, single int) {
	var b byte
	if len(text) == 6 {
		if n, err := fmt.Sscanf(text, "<0x%02X>", &b); n == 1 && err == nil && text[5] == '>' {
			return append(dst, b), int(b)
		}
	}
	return append(dst, strings.ReplaceAll(text, string(metaspace), " ")...), -1
}

// appendSentence appends the tokens of a text without added tokens.
func (t *Tokenizer) appendSentence(e *encoder, dst []int32, text []byte) []int32 {
	start := len(dst)
	if t.spec.sentence.begins(text, e.start) {
		dst = t.appendRune(dst, metaspace, []byte(" "))
	}
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == ' ' {
			r = metaspace
		}
		dst = t.appendRune(dst, r, text[i:i+n])
		i += n
	}
	symbols := dst[start:]
	if len(symbols) > shortPiece {
		return dst[:start+e.mergeLong(&t.merges, symbols)]
	}
	return dst[:start+mergeShort(&t.merges, symbols)]
}

// appendRune appends the token of a character, or those of its bytes.
func (t *Tokenizer) appendRune(dst []int32, r rune, raw []byte) []int32 {
	if id, ok := t.runes[r]; ok && (r != utf8.RuneError || len(raw) > 1) {
		return append(dst, id)
	}
	for _, b := range raw {
		if id := t.byteIDs[b]; id >= 0 {
			dst = append(dst, id)
		} else if t.unk >= 0 {
			return append(dst, t.unk)
		}
	}
	return dst
}

// stripped is what a token stands for at the beginning of a text, where the space that encoding put in front is taken away.
func stripped(text []byte) []byte { return bytes.TrimPrefix(text, []byte{' '}) }
