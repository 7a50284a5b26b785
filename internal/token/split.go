package token

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// splitter is a Digits or Split step: it finds matches and says what becomes of them.
type splitter struct {
	scanner  *scanner        // a known pattern
	regex    *regexp2.Regexp // any other pattern
	literal  []byte          // a string
	digits   *scanner        // single number characters
	behavior string
	invert   bool
	alone    bool // nothing but the pieces of scanner
}

// What becomes of a match, by Hugging Face's names.
const (
	isolated           = "Isolated"           // a piece
	removed            = "Removed"            // no piece
	mergedWithPrevious = "MergedWithPrevious" // the end of the piece before it
	mergedWithNext     = "MergedWithNext"     // the beginning of the piece after it
	contiguous         = "Contiguous"         // one piece with the matches beside it
)

// match is a stretch of text that matched, or one between two such.
type match struct {
	span
	matched bool
}

func digitSplitter(individual bool) splitter {
	s := splitter{digits: &scanner{plane: planeClasses()}, behavior: contiguous}
	if individual {
		s.behavior = isolated
	}
	return s
}

func newSplitter(c splitJSON) (splitter, error) {
	s := splitter{behavior: c.Behavior, invert: c.Invert}
	switch c.Behavior {
	case isolated, removed, mergedWithPrevious, mergedWithNext, contiguous:
	default:
		return s, fmt.Errorf("behavior %q is unknown: expected %s, %s, %s, %s or %s", c.Behavior,
			isolated, removed, mergedWithPrevious, mergedWithNext, contiguous)
	}
	if c.Pattern.String != nil {
		s.literal = []byte(*c.Pattern.String)
		return s, nil
	}
	pattern := *c.Pattern.Regex
	if s.scanner = knownPattern(pattern); s.scanner != nil {
		s.alone = c.Behavior == isolated || c.Behavior == removed && c.Invert
		return s, nil
	}
	if strings.Contains(pattern, "&&") {
		return s, fmt.Errorf("pattern %q: set intersections (&&) are not supported", pattern)
	}
	var err error
	s.regex, err = regexp2.Compile(pattern, regexp2.Multiline) // ^ and $ match at lines, as in Oniguruma's Ruby syntax
	if err != nil {
		return s, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return s, nil
}

// appendSpans appends the pieces of text[within.start:within.end].
func (s *splitter) appendSpans(e *encoder, spans []span, text []byte, within span) []span {
	e.matches = e.matches[:0]
	part := text[within.start:within.end]
	switch {
	case s.digits != nil:
		s.findDigits(e, part)
	case s.scanner != nil:
		for i := 0; i < len(part); {
			end := s.scanner.next(s.scanner, part, i)
			e.matches = append(e.matches, match{span{i, end}, true})
			i = end
		}
	case s.regex != nil:
		s.findRegex(e, part)
	default:
		s.findLiteral(e, part)
	}
	joinable := false
	for i, m := range e.matches {
		matched := m.matched != s.invert
		before := i > 0 && e.matches[i-1].matched != s.invert
		if m.start == m.end || s.behavior == removed && matched {
			continue
		}
		join := joinable && (s.behavior == contiguous && matched == before ||
			s.behavior == mergedWithPrevious && matched && !before ||
			s.behavior == mergedWithNext && !matched && before)
		if join {
			spans[len(spans)-1].end = within.start + m.end
			continue
		}
		spans = append(spans, span{within.start + m.start, within.start + m.end})
		joinable = true
	}
	return spans
}

// addMatch appends a match and the unmatched stretch before it.
func (e *encoder) addMatch(start, end int) {
	done := 0
	if n := len(e.matches); n > 0 {
		done = e.matches[n-1].end
	}
	if done < start {
		e.matches = append(e.matches, match{span{done, start}, false})
	}
	if start < end {
		e.matches = append(e.matches, match{span{start, end}, true})
	}
}

// endMatches appends the unmatched rest.
func (e *encoder) endMatches(text []byte) { e.addMatch(len(text), len(text)) }

func (s *splitter) findDigits(e *encoder, text []byte) {
	for i := 0; i < len(text); {
		c, n := s.digits.classAt(text, i)
		if c == number {
			e.addMatch(i, i+n)
		}
		i += n
	}
	e.endMatches(text)
}

func (s *splitter) findLiteral(e *encoder, text []byte) {
	for i := 0; len(s.literal) > 0; {
		at := bytes.Index(text[i:], s.literal)
		if at < 0 {
			break
		}
		e.addMatch(i+at, i+at+len(s.literal))
		i += at + len(s.literal)
	}
	e.endMatches(text)
}

// findRegex searches the characters of text; a byte that is no UTF-8 counts as U+FFFD.
func (s *splitter) findRegex(e *encoder, text []byte) {
	e.runes, e.offsets = e.runes[:0], e.offsets[:0]
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		e.runes, e.offsets = append(e.runes, r), append(e.offsets, i)
		i += n
	}
	e.offsets = append(e.offsets, len(text))
	m, err := s.regex.FindRunesMatch(e.runes)
	for ; m != nil && err == nil; m, err = s.regex.FindNextMatch(m) { // err is always nil: it only tells of a timeout, and none is set
		e.addMatch(e.offsets[m.Index], e.offsets[m.Index+m.Length])
	}
	e.endMatches(text)
}
