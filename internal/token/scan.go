package token

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// class is what the patterns of byte-level BPE ask about a character.
type class uint8

const (
	other  class = iota // [^\s\p{L}\p{N}], and bytes that are no UTF-8
	letter              // \p{L}
	number              // \p{N}
	space               // \s, Unicode's White_Space
)

// asciiClass gives the class of characters below 0x80; beyond ask classAt.
var asciiClass = func() (classes [128]class) {
	for r := range rune(128) {
		classes[r] = slowClass(r)
	}
	return classes
}()

func slowClass(r rune) class {
	switch {
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// planeClasses holds the classes of the characters below U+10000, four of them a byte.
var planeClasses = sync.OnceValue(func() *[1 << 14]uint8 {
	table := new([1 << 14]uint8)
	mark := func(ranges *unicode.RangeTable, c class) {
		for _, r16 := range ranges.R16 {
			for r := uint32(r16.Lo); r <= uint32(r16.Hi); r += uint32(r16.Stride) {
				table[r>>2] |= uint8(c) << (r & 3 * 2)
			}
		}
	}
	mark(unicode.L, letter)
	mark(unicode.N, number)
	mark(unicode.White_Space, space)
	return table
})

// scanner splits text at the borders that a known pattern gives, without a regular expression.
type scanner struct {
	next  func(s *scanner, text []byte, i int) int // the end of the pre-token that starts at i < len(text)
	plane *[1 << 14]uint8

	digits     digits // for nextGPT2
	maxNumbers int    // for nextLlama3
}

// digits says what a Digits step before the pattern does to numbers.
type digits uint8

const (
	digitsInPattern  digits = iota // no Digits step
	digitsIndividual               // every number character is a pre-token
	digitsContiguous               // every run of number characters is a pre-token
)

// classAt returns the class and the width in bytes of the character at text[i].
func (s *scanner) classAt(text []byte, i int) (class, int) {
	if b := text[i]; b < utf8.RuneSelf {
		return asciiClass[b], 1
	}
	r, n := utf8.DecodeRune(text[i:])
	if r < 0x10000 {
		return class(s.plane[r>>2] >> (r & 3 * 2) & 3), n
	}
	return slowClass(r), n
}

// run returns the end of the run of characters of class c from i on.
func (s *scanner) run(text []byte, i int, c class) int {
	for i < len(text) {
		if b := text[i]; b < utf8.RuneSelf {
			if asciiClass[b] != c {
				return i
			}
			i++
			continue
		}
		found, n := s.classAt(text, i)
		if found != c {
			return i
		}
		i += n
	}
	return i
}

// nextGPT2 is the pattern of GPT-2,
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// with, when a Digits step comes first, numbers cut out of the text that the pattern sees.
func (s *scanner) nextGPT2(text []byte, i int) int {
	if text[i] == '\'' {
		if n := contraction(text[i:]); n > 0 {
			return i + n
		}
	}
	c, n := s.classAt(text, i)
	if text[i] == ' ' && i+1 < len(text) {
		after, width := s.classAt(text, i+1)
		if after != space && (after != number || s.digits == digitsInPattern) {
			i, c, n = i+1, after, width
		}
	}
	switch {
	case c == space:
		return s.spaces(text, i)
	case c == number && s.digits == digitsIndividual:
		return i + n
	}
	return s.run(text, i+n, c)
}

// spaces is \s+(?!\S)|\s+: a run of white space leaves its last character to what follows.
func (s *scanner) spaces(text []byte, start int) int {
	last, end := start, start
	for end < len(text) {
		c, n := s.classAt(text, end)
		if c == number && s.digits != digitsInPattern {
			return end
		}
		if c != space {
			if last > start {
				return last
			}
			return end
		}
		last, end = end, end+n
	}
	return end
}

// contraction returns the length of the English contraction that text begins with: 's 't 'm 'd 're 've 'll.
func contraction(text []byte) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case 's', 't', 'm', 'd':
		return 2
	case 'r', 'v':
		if len(text) > 2 && text[2] == 'e' {
			return 3
		}
	case 'l':
		if len(text) > 2 && text[2] == 'l' {
			return 3
		}
	}
	return 0
}
