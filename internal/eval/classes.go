package eval

import (
	"unicode"
	"unicode/utf8"

	"mor/internal/token"
)

// classNames are the kinds of token that depth is broken down by.
var classNames = [...]string{"white space", "punctuation", "digits", "word start", "word continuation", "special"}

const (
	whiteSpace = iota
	punctuation
	digits
	wordStart
	continuation
	special
)

// classesOf gives the class of each token of a vocabulary. A word starts behind a blank or with a capital.
func classesOf(t *token.Tokenizer) []uint8 {
	out := make([]uint8, t.VocabSize())
	for id := range out {
		out[id] = classOf(t.TokenBytes(int32(id)), t.IsSpecial(int32(id)))
	}
	return out
}

func classOf(text []byte, control bool) uint8 {
	if control || len(text) == 0 {
		return special
	}
	blank := false
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case unicode.IsSpace(r):
			blank = true
			text = text[n:]
			continue
		case unicode.IsDigit(r):
			return digits
		case unicode.IsLetter(r) && (blank || unicode.IsUpper(r)):
			return wordStart
		case unicode.IsLetter(r):
			return continuation
		}
		return punctuation
	}
	return whiteSpace
}
