// Package token turns text into token ids and back with byte-level BPE, and with SentencePiece's BPE: it reads, writes and trains tokenizers in
// Hugging Face's tokenizer.json format.
package token

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Tokenizer is a BPE tokenizer. It does not change after construction and may be used by any number of
// goroutines at once.
type Tokenizer struct {
	spec spec

	slab    []byte     // the bytes of all tokens, in order of id
	offsets []int32    // [vocab+1] token id is slab[offsets[id]:offsets[id+1]]
	defined []bool     // [vocab] whether the id names a token
	special []bool     // [vocab]
	ids     idTable    // raw bytes of a token -> id
	texts   vocabTexts // of the model's vocabulary

	runes   map[rune]int32   // SentencePiece: token of each single character, else nil
	byteIDs [256]int32       // token of each single byte, -1 where the vocabulary lacks it
	unk     int32            // token of a byte that the vocabulary lacks, -1: dropped
	whole   map[string]int32 // raw bytes -> id of pre-tokens that skip the merges (ignore_merges), else nil
	merges  mergeTable
	pre     preTokenizer
	added   [2]matcher // all added tokens, in Hugging Face's two passes: not normalized, then normalized
	plain   [2]matcher // the same without the special ones
	prefix  []int32
	suffix  []int32

	pool sync.Pool // *encoder
	hash func() string
}

// AddedToken is a token that is found in the text before anything else happens to it.
type AddedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`     // the text itself, not in the byte-level alphabet
	SingleWord bool   `json:"single_word"` // only where no word character touches it
	LStrip     bool   `json:"lstrip"`      // takes the white space on its left with it
	RStrip     bool   `json:"rstrip"`      // takes the white space on its right with it
	Normalized bool   `json:"normalized"`  // looked for after those that are not normalized
	Special    bool   `json:"special"`     // a control token, such as <|endoftext|>
}

// spec is what a tokenizer file says, checked field by field; build makes a Tokenizer of it.
type spec struct {
	vocab        []vocabEntry // in order of id; a built Tokenizer has their texts alone
	merges       []mergePair  // in order of rank; a built Tokenizer has them by id
	added        []AddedToken // in order of the file
	pre          []preStep
	post         []postStep
	decoder      byteLevelJSON
	sentence     *sentenceSpec // SentencePiece's kind, which has neither pre nor decoder; nil: byte-level
	unkToken     *string
	fuseUnk      bool
	ignoreMerges bool
}

// vocabEntry is a token in the byte-level alphabet.
type vocabEntry struct {
	text string
	id   int32
}

// mergePair is two tokens, in the byte-level alphabet, that merge into one.
type mergePair [2]string

// build compiles a spec.
func build(s spec) (*Tokenizer, error) {
	t := &Tokenizer{spec: s, unk: -1}
	slices.SortFunc(t.spec.vocab, func(a, b vocabEntry) int { return int(a.id) - int(b.id) })
	size, err := vocabSize(&t.spec)
	if err != nil {
		return nil, err
	}
	texts := make(map[string]int32, len(s.vocab))
	for _, v := range t.spec.vocab {
		if old, ok := texts[v.text]; ok {
			return nil, fmt.Errorf("model.vocab: token %q has two ids, %d and %d", v.text, old, v.id)
		}
		texts[v.text] = v.id
	}
	if err := t.buildTokens(size, texts); err != nil {
		return nil, err
	}
	t.texts = packTexts(t.spec.vocab)
	if t.merges, err = newMergeTable(s.merges, texts); err != nil {
		return nil, err
	}
	t.spec.vocab, t.spec.merges = nil, nil // t.texts and t.merges have them
	if s.unkToken != nil {
		id, ok := texts[*s.unkToken]
		if !ok {
			return nil, fmt.Errorf("model.unk_token: %q is not in model.vocab", *s.unkToken)
		}
		t.unk = id
	}
	if s.sentence == nil {
		if t.pre, err = newPreTokenizer(s.pre); err != nil {
			return nil, err
		}
	}
	if t.prefix, t.suffix, err = templateTokens(s.post, size); err != nil {
		return nil, err
	}
	for i := range t.added {
		t.added[i] = newMatcher(s.added, func(a AddedToken) bool { return a.Normalized == (i == 1) })
		t.plain[i] = newMatcher(s.added, func(a AddedToken) bool { return a.Normalized == (i == 1) && !a.Special })
	}
	t.pool.New = func() any { return newEncoder() }
	t.hash = sync.OnceValue(func() string {
		sum := sha256.Sum256(t.appendJSON(nil))
		return hex.EncodeToString(sum[:])
	})
	return t, nil
}

// vocabSize returns the highest id + 1. Ids may have holes, but not so many that a small file asks for much memory.
func vocabSize(s *spec) (int, error) {
	highest := int32(-1)
	for _, v := range s.vocab {
		if v.id < 0 {
			return 0, fmt.Errorf("model.vocab: token %q has the negative id %d", v.text, v.id)
		}
		highest = max(highest, v.id)
	}
	for _, a := range s.added {
		if a.ID < 0 {
			return 0, fmt.Errorf("added_tokens: token %q has the negative id %d", a.Content, a.ID)
		}
		if a.Content == "" {
			return 0, fmt.Errorf("added_tokens: token %d is empty", a.ID)
		}
		highest = max(highest, a.ID)
	}
	n := len(s.vocab) + len(s.added)
	if n == 0 {
		return 0, fmt.Errorf("model.vocab: no tokens")
	}
	if limit := 2*n + 1024; int(highest) >= limit {
		return 0, fmt.Errorf("model.vocab: %d tokens have ids up to %d: expected ids below %d", n, highest, limit)
	}
	return int(highest) + 1, nil
}

// buildTokens fills the tables from id to bytes and back.
func (t *Tokenizer) buildTokens(size int, texts map[string]int32) error {
	added := make(map[int32]string, len(t.spec.added))
	t.special = make([]bool, size)
	for _, a := range t.spec.added {
		if old, ok := added[a.ID]; ok {
			return fmt.Errorf("added_tokens: id %d is given to %q and to %q", a.ID, old, a.Content)
		}
		added[a.ID] = a.Content
		t.special[a.ID] = a.Special
		if id, ok := texts[a.Content]; ok && id != a.ID {
			return fmt.Errorf("added_tokens: %q has id %d, in model.vocab it has id %d", a.Content, a.ID, id)
		}
	}
	for i := range t.byteIDs {
		t.byteIDs[i] = -1
	}
	t.offsets = make([]int32, 0, size+1)
	t.defined = make([]bool, size)
	if t.spec.ignoreMerges {
		t.whole = make(map[string]int32, size)
	}
	if t.spec.sentence != nil {
		t.runes = make(map[rune]int32, size)
	}
	next := t.spec.vocab
	for id := range int32(size) {
		t.offsets = append(t.offsets, int32(len(t.slab)))
		content, isAdded := added[id]
		if len(next) > 0 && next[0].id == id {
			if err := t.addVocab(next[0], content, isAdded); err != nil {
				return err
			}
			next = next[1:]
		} else if isAdded {
			t.slab = append(t.slab, content...)
			t.defined[id] = true
		}
	}
	if len(next) > 0 {
		return fmt.Errorf("model.vocab: tokens %q and another have the same id %d", next[0].text, next[0].id)
	}
	t.offsets = append(t.offsets, int32(len(t.slab)))
	t.buildIDs(added)
	return nil
}

// addVocab appends one token of the model's vocabulary to the slab. Tokens with characters outside the byte-level alphabet
// stand for themselves, as do added tokens.
func (t *Tokenizer) addVocab(v vocabEntry, content string, isAdded bool) error {
	if isAdded && content != v.text {
		return fmt.Errorf("added_tokens: id %d is %q, in model.vocab it is %q", v.id, content, v.text)
	}
	if v.text == "" {
		return fmt.Errorf("model.vocab: token %d is empty", v.id)
	}
	t.defined[v.id] = true
	start := len(t.slab)
	if t.runes != nil && !isAdded {
		t.addSentence(v)
		return nil
	}
	var ok bool
	t.slab, ok = appendByteLevel(t.slab, v.text)
	if ok {
		if raw := t.slab[start:]; len(raw) == 1 {
			t.byteIDs[raw[0]] = v.id
		}
		if t.whole != nil {
			t.whole[string(t.slab[start:])] = v.id
		}
	}
	if !ok || isAdded {
		t.slab = append(t.slab[:start], v.text...)
	}
	return nil
}

// addSentence appends a token of a vocabulary of SentencePiece's kind.
func (t *Tokenizer) addSentence(v vocabEntry) {
	var single int
	if t.slab, single = sentenceBytes(t.slab, v.text); single >= 0 {
		t.byteIDs[single] = v.id
	} else if r, n := utf8.DecodeRuneInString(v.text); n == len(v.text) {
		t.runes[r] = v.id
	}
}

// VocabSize returns the highest token id plus one: the rows that an embedding needs.
func (t *Tokenizer) VocabSize() int { return len(t.defined) }

// TokenBytes returns the bytes that a token stands for, nil for an id that names no token. The caller must not change them.
func (t *Tokenizer) TokenBytes(id int32) []byte {
	if id < 0 || int(id) >= len(t.defined) || !t.defined[id] {
		return nil
	}
	return t.slab[t.offsets[id]:t.offsets[id+1]:t.offsets[id+1]]
}

// ID returns the token that stands for exactly these bytes: ID(" the"), ID("<|endoftext|>").
func (t *Tokenizer) ID(token string) (int32, bool) {
	id := *t.slot(viewBytes(token))
	return max(id, 0), id != none
}

// IsSpecial reports whether the token is a control token, which is no part of the text itself.
func (t *Tokenizer) IsSpecial(id int32) bool {
	return id >= 0 && int(id) < len(t.special) && t.special[id]
}

// AddedTokens returns the tokens that are found in the text before the merges, in the order of the file.
func (t *Tokenizer) AddedTokens() []AddedToken { return slices.Clone(t.spec.added) }

// EOT returns the special token that separates documents: the first of <|endoftext|>, <|end_of_text|>, </s>, <eos> and <|eos|>
// that the tokenizer has.
func (t *Tokenizer) EOT() (int32, bool) {
	for _, name := range []string{"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|eos|>"} {
		if id, ok := t.ID(name); ok && t.special[id] {
			return id, true
		}
	}
	return 0, false
}

// Prefix returns the special tokens that the file's post-processor puts before a text (Hugging Face's
// add_special_tokens=True); Encode leaves them to the caller.
func (t *Tokenizer) Prefix() []int32 { return slices.Clone(t.prefix) }

// Suffix returns the special tokens that the file's post-processor puts after a text.
func (t *Tokenizer) Suffix() []int32 { return slices.Clone(t.suffix) }

// MissingBytes returns the bytes that the vocabulary has no token for. As in Hugging Face tokenizers they encode to the
// unknown token or, without one, to nothing: SmolLM2's vocabulary lacks 21 bytes, a trained one none.
func (t *Tokenizer) MissingBytes() []byte {
	var missing []byte
	for b, id := range t.byteIDs {
		if id < 0 {
			missing = append(missing, byte(b))
		}
	}
	return missing
}

// Hash returns the SHA-256 of the tokenizer's canonical JSON in hexadecimal: equal for tokenizers that encode alike because
// their files say the same, whatever the files' layout.
func (t *Tokenizer) Hash() string { return t.hash() }

// String describes the tokenizer in a few words.
func (t *Tokenizer) String() string {
	if t.spec.sentence != nil {
		return fmt.Sprintf("SentencePiece BPE, %d tokens, %d merges", t.VocabSize(), len(t.merges.pairs))
	}
	var steps []string
	for _, s := range t.spec.pre {
		steps = append(steps, s.kind)
	}
	return fmt.Sprintf("byte-level BPE, %d tokens, %d merges, %s", t.VocabSize(), len(t.merges.pairs), strings.Join(steps, "+"))
}
