package token

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// matcher finds added tokens in a text: the leftmost, and of those the longest, by a trie.
type matcher struct {
	tokens []AddedToken
	edges  map[uint64]int32 // node<<8 | byte -> node; node 0 is the root
	ends   []int32          // [node] index of the token that ends here, -1 for none
	first  [256]bool        // bytes that a token begins with
	only   int              // the one such byte, -1 when there are several
}

// newMatcher returns a matcher of the tokens that keep selects.
func newMatcher(tokens []AddedToken, keep func(AddedToken) bool) matcher {
	m := matcher{edges: map[uint64]int32{}, ends: []int32{-1}, only: -1}
	for _, token := range tokens {
		if !keep(token) {
			continue
		}
		node := int32(0)
		for _, b := range []byte(token.Content) {
			edge := uint64(node)<<8 | uint64(b)
			next, ok := m.edges[edge]
			if !ok {
				next = int32(len(m.ends))
				m.edges[edge] = next
				m.ends = append(m.ends, -1)
			}
			node = next
		}
		m.ends[node] = int32(len(m.tokens))
		m.tokens = append(m.tokens, token)
		m.first[token.Content[0]] = true
	}
	for b, starts := range m.first {
		if starts && m.only >= 0 {
			m.only = -1
			break
		}
		if starts {
			m.only = b
		}
	}
	return m
}

// find returns the first token at or after from, as its bounds and index; index -1 when there is none.
func (m *matcher) find(text []byte, from int) (start, end, index int) {
	for i := from; i < len(text); i++ {
		if m.only >= 0 {
			skip := bytes.IndexByte(text[i:], byte(m.only))
			if skip < 0 {
				break
			}
			i += skip
		} else if !m.first[text[i]] {
			continue
		}
		if end, index := m.longest(text, i); index >= 0 {
			return i, end, index
		}
	}
	return len(text), len(text), -1
}

// longest returns the end and index of the longest token that begins at text[i].
func (m *matcher) longest(text []byte, i int) (end, index int) {
	index = -1
	node := int32(0)
	for ; i < len(text); i++ {
		next, ok := m.edges[uint64(node)<<8|uint64(text[i])]
		if !ok {
			break
		}
		node = next
		if m.ends[node] >= 0 {
			end, index = i+1, int(m.ends[node])
		}
	}
	return end, index
}

// appendPass cuts the added tokens of matchers[pass] out of text and hands the rest to the next pass, at last to the
// pre-tokenizer.
func (t *Tokenizer) appendPass(e *encoder, dst []int32, text []byte, matchers *[2]matcher, pass int) []int32 {
	if len(text) == 0 {
		return dst
	}
	if pass == len(matchers) {
		return t.appendText(e, dst, text)
	}
	m := &matchers[pass]
	if len(m.tokens) == 0 {
		return t.appendPass(e, dst, text, matchers, pass+1)
	}
	done := 0
	for from := 0; ; {
		start, end, index := m.find(text, from)
		if index < 0 {
			break
		}
		token := &m.tokens[index]
		from = end
		if token.SingleWord && (wordBefore(text[:start]) || wordAfter(text[end:])) {
			continue
		}
		if token.LStrip {
			start = max(done, len(bytes.TrimRightFunc(text[:start], unicode.IsSpace)))
		}
		if token.RStrip {
			end = len(text) - len(bytes.TrimLeftFunc(text[end:], unicode.IsSpace))
		}
		if done < start { // not so where the token before took this one's white space: Hugging Face then has both
			dst = t.appendPass(e, dst, text[done:start], matchers, pass+1)
		}
		dst = append(dst, token.ID)
		done, e.start = end, false
	}
	return t.appendPass(e, dst, text[done:], matchers, pass+1)
}

func wordBefore(text []byte) bool {
	r, _ := utf8.DecodeLastRune(text)
	return len(text) > 0 && isWord(r)
}

func wordAfter(text []byte) bool {
	r, _ := utf8.DecodeRune(text)
	return len(text) > 0 && isWord(r)
}

// isWord is \w of Unicode's regular expressions (UTS 18).
func isWord(r rune) bool {
	return unicode.In(r, unicode.L, unicode.Nl, unicode.Other_Alphabetic, unicode.M, unicode.Nd, unicode.Pc, unicode.Join_Control)
}
