package token

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// parser walks JSON that encoding/json has found valid. Vocabularies and merges are most of a file; by hand they are read once and
// without a copy, and what occurs twice is seen.
type parser struct {
	text string
	pos  int
}

// parseVocab reads an object from token to id.
func parseVocab(object, where string) ([]vocabEntry, error) {
	p := parser{text: object}
	if !p.accept('{') {
		return nil, fmt.Errorf("%s: expected an object from token to id", where)
	}
	var vocab []vocabEntry
	for !p.accept('}') {
		text := p.string()
		p.accept(':')
		number := p.value()
		id, err := strconv.ParseInt(number, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%s: token %q has the id %.40s: expected an integer below 2^31", where, text, number)
		}
		vocab = append(vocab, vocabEntry{text, int32(id)})
		p.accept(',')
	}
	return vocab, nil
}

// parseMerges reads model.merges: a list of "left right" or of ["left", "right"].
func parseMerges(list string) ([]mergePair, error) {
	p := parser{text: list}
	if !p.accept('[') {
		return nil, fmt.Errorf("model.merges: expected a list of merges")
	}
	var merges []mergePair
	for !p.accept(']') {
		var m mergePair
		ok := true
		if p.accept('[') {
			m, ok = p.pair()
		} else if p.peek() == '"' {
			m, ok = splitMerge(p.string())
		} else {
			ok = false
		}
		if !ok {
			return nil, fmt.Errorf("model.merges[%d]: expected \"left right\" or [\"left\", \"right\"]", len(merges))
		}
		merges = append(merges, m)
		p.accept(',')
	}
	return merges, nil
}

// pair reads two strings and the bracket after them.
func (p *parser) pair() (mergePair, bool) {
	var m mergePair
	for i := range m {
		if p.peek() != '"' {
			return m, false
		}
		m[i] = p.string()
		p.accept(',')
	}
	return m, p.accept(']')
}

// splitMerge splits "left right".
func splitMerge(text string) (mergePair, bool) {
	left, right, ok := strings.Cut(text, " ")
	return mergePair{left, right}, ok && !strings.Contains(right, " ")
}

// peek skips white space and returns the next byte, 0 at the end.
func (p *parser) peek() byte {
	for ; p.pos < len(p.text); p.pos++ {
		switch c := p.text[p.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

func (p *parser) accept(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.pos++
	return true
}

// string reads a string.
func (p *parser) string() string {
	start, escaped := p.skipString()
	if !escaped {
		return p.text[start+1 : p.pos-1]
	}
	var s string
	if err := json.Unmarshal([]byte(p.text[start:p.pos]), &s); err != nil {
		return p.text[start:p.pos]
	}
	return s
}

// skipString goes behind a string and tells where it starts and whether it has escapes.
func (p *parser) skipString() (start int, escaped bool) {
	p.peek()
	start = p.pos
	for p.pos++; p.text[p.pos] != '"'; p.pos++ {
		if p.text[p.pos] == '\\' {
			escaped = true
			p.pos++
		}
	}
	p.pos++
	return start, escaped
}

// value reads the text of any value.
func (p *parser) value() string {
	first := p.peek()
	start := p.pos
	switch first {
	case '"':
		p.skipString()
	case '{', '[':
		p.skipNested()
	default:
		for p.pos < len(p.text) && strings.IndexByte(",}] \t\r\n", p.text[p.pos]) < 0 {
			p.pos++
		}
	}
	return p.text[start:p.pos]
}

// skipNested goes behind an object or a list.
func (p *parser) skipNested() {
	for depth := 0; ; {
		switch p.text[p.pos] {
		case '"':
			p.skipString()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		p.pos++
		if depth == 0 {
			return
		}
	}
}
