package token

import (
	"fmt"
	"reflect"
	"strings"
)

// Vocab is the inverse of New: the vocabulary of a byte-level tokenizer whose pre-tokenizer has one of llama.cpp's names.
func (t *Tokenizer) Vocab() (Vocab, error) {
	v := Vocab{Tokens: t.textsByID(), Added: t.AddedTokens(), Prefix: t.Prefix()}
	if t.spec.sentence != nil {
		return v, fmt.Errorf("a vocabulary of SentencePiece's kind is not byte-level")
	}
	for i := range namedPres {
		if p := &namedPres[i]; v.Pre == "" && samePre(p.steps(), t.spec.pre) && t.spec.ignoreMerges == p.ignoreMerges {
			v.Pre = p.names[0]
		}
	}
	if v.Pre == "" {
		return v, fmt.Errorf("this pre-tokenizer has no name in llama.cpp: expected that of %s, or one like them", strings.Join(PreTokenizers(), ", "))
	}
	for _, m := range t.mergeTexts() {
		v.Merges = append(v.Merges, m[0]+" "+m[1])
	}
	return v, nil
}

// samePre compares pre-tokenizers but for what concerns offsets.
func samePre(a, b []preStep) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := a[i], b[i]
		x.byteLevel.TrimOffsets, y.byteLevel.TrimOffsets = false, false
		if !reflect.DeepEqual(x, y) {
			return false
		}
	}
	return true
}

// Sentence is the inverse of NewSentence, where the vocabulary is of SentencePiece's kind. The scores are new ones that order the merges alike.
func (t *Tokenizer) Sentence() (Sentence, bool) {
	if t.spec.sentence == nil {
		return Sentence{}, false
	}
	v := Sentence{Tokens: t.textsByID(), Added: t.AddedTokens(), Unknown: t.unk, Prefix: t.Prefix(), Prepend: t.spec.sentence.prepend}
	v.Scores = make([]float32, len(v.Tokens))
	ids := make(map[string]int, len(v.Tokens))
	for id, text := range v.Tokens {
		ids[text] = id
	}
	for rank, m := range t.mergeTexts() {
		if id, ok := ids[m[0]+m[1]]; ok && v.Scores[id] == 0 {
			v.Scores[id] = -float32(rank + 1)
		}
	}
	return v, true
}

// textsByID lists the tokens by id as the vocabulary writes them, "" for an id without one.
func (t *Tokenizer) textsByID() []string {
	out := make([]string, t.VocabSize())
	for _, a := range t.spec.added {
		out[a.ID] = a.Content
	}
	for id, text := range t.texts.all {
		out[id] = text
	}
	return out
}
