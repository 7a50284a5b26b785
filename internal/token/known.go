package token

import "bytes"

// The patterns that have a scanner.
const (
	patternGPT2   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	patternLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternQwen2  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// knownPattern returns the scanner of a pattern that needs no regular expression, nil for any other.
func knownPattern(pattern string) *scanner {
	s := &scanner{plane: planeClasses()}
	switch pattern {
	case patternGPT2:
		s.next = (*scanner).nextGPT2
	case patternLlama3:
		s.next, s.maxNumbers = (*scanner).nextLlama3, 3
	case patternQwen2:
		s.next, s.maxNumbers = (*scanner).nextLlama3, 1
	default:
		return nil
	}
	return s
}

// nextLlama3 is patternLlama3 (which is also cl100k's) and patternQwen2, which differ in how many numbers stay together.
func (s *scanner) nextLlama3(text []byte, i int) int {
	if text[i] == '\'' {
		if n := anyCaseContraction(text[i:]); n > 0 {
			return i + n
		}
	}
	c, n := s.classAt(text, i)
	newline := text[i] == '\n' || text[i] == '\r'
	if c == letter {
		return s.run(text, i+n, letter)
	}
	if c == number {
		end := i + n
		for count := 1; count < s.maxNumbers && end < len(text); count++ {
			after, width := s.classAt(text, end)
			if after != number {
				break
			}
			end += width
		}
		return end
	}
	after, width := space, 0
	if i+n < len(text) {
		after, width = s.classAt(text, i+n)
	}
	if after == letter && !newline {
		return s.run(text, i+n+width, letter)
	}
	if c == other || text[i] == ' ' && after == other {
		end := s.run(text, i+n, other)
		for end < len(text) && (text[end] == '\n' || text[end] == '\r') {
			end++
		}
		return end
	}
	whole := s.run(text, i, space)
	if last := bytes.LastIndexAny(text[i:whole], "\r\n"); last >= 0 {
		return i + last + 1
	}
	return s.spaces(text, i)
}

// anyCaseContraction is contraction whatever the case; to Unicode, ſ is an s too.
func anyCaseContraction(text []byte) int {
	var lower [3]byte
	n := copy(lower[:], text)
	for i, b := range lower {
		if 'A' <= b && b <= 'Z' {
			lower[i] = b + 'a' - 'A'
		}
	}
	if bytes.HasPrefix(text[1:], []byte("ſ")) {
		return 1 + len("ſ")
	}
	return contraction(lower[:n])
}
