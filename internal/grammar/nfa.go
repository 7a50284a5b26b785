// Package grammar tells which tokens may follow, so that a text matches a regular expression or a JSON schema.
package grammar

import (
	"fmt"
	"regexp/syntax"
	"unicode"
	"unicode/utf8"
)

// Bounds on what a pattern can ask for.
const (
	maxPattern   = 1 << 16 // bytes
	maxNFAStates = 1 << 17
	maxDFAStates = 1 << 12
)

// nfa is an automaton over bytes. State 0 accepts.
type nfa struct {
	states []nfaState
	err    error
}

// nfaState goes to next on the bytes [lo, hi], or without reading anything to all of empty.
type nfaState struct {
	lo, hi byte
	next   int32
	empty  []int32
}

// compile makes the automaton of a pattern that the whole text has to match, and returns its start.
func compile(pattern string) (*nfa, int32, error) {
	if len(pattern) > maxPattern {
		return nil, 0, fmt.Errorf("%d bytes: expected at most %d", len(pattern), maxPattern)
	}
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, 0, err
	}
	n := &nfa{states: make([]nfaState, 1)}
	start := n.build(unanchored(re.Simplify()), 0)
	return n, start, n.err
}

// unanchored drops anchors at the ends of a pattern: it is matched as a whole anyway.
func unanchored(re *syntax.Regexp) *syntax.Regexp {
	switch {
	case re.Op == syntax.OpBeginText || re.Op == syntax.OpEndText:
		return &syntax.Regexp{Op: syntax.OpEmptyMatch}
	case re.Op == syntax.OpConcat:
		sub := re.Sub
		if len(sub) > 0 && sub[0].Op == syntax.OpBeginText {
			sub = sub[1:]
		}
		if len(sub) > 0 && sub[len(sub)-1].Op == syntax.OpEndText {
			sub = sub[:len(sub)-1]
		}
		return &syntax.Regexp{Op: syntax.OpConcat, Sub: sub}
	}
	return re
}

// add appends a state.
func (n *nfa) add(s nfaState) int32 {
	if len(n.states) >= maxNFAStates {
		n.err = fmt.Errorf("the pattern needs more than %d states: make it shorter, or its repetitions smaller", maxNFAStates)
		return 0
	}
	n.states = append(n.states, s)
	return int32(len(n.states) - 1)
}

// build adds the states of an expression that goes on to next, and returns its start.
func (n *nfa) build(re *syntax.Regexp, next int32) int32 {
	if n.err != nil {
		return 0
	}
	switch re.Op {
	case syntax.OpEmptyMatch:
		return next
	case syntax.OpNoMatch:
		return n.add(nfaState{lo: 1})
	case syntax.OpLiteral:
		for i := len(re.Rune) - 1; i >= 0; i-- {
			next = n.literal(re.Rune[i], re.Flags&syntax.FoldCase != 0, next)
		}
		return next
	case syntax.OpCharClass:
		return n.class(re.Rune, next)
	case syntax.OpAnyChar:
		return n.class([]rune{0, unicode.MaxRune}, next)
	case syntax.OpAnyCharNotNL:
		return n.class([]rune{0, '\n' - 1, '\n' + 1, unicode.MaxRune}, next)
	case syntax.OpCapture:
		return n.build(re.Sub[0], next)
	case syntax.OpConcat:
		for i := len(re.Sub) - 1; i >= 0; i-- {
			next = n.build(re.Sub[i], next)
		}
		return next
	case syntax.OpAlternate:
		var starts []int32
		for _, sub := range re.Sub {
			starts = append(starts, n.build(sub, next))
		}
		return n.add(nfaState{lo: 1, empty: starts})
	case syntax.OpQuest:
		return n.add(nfaState{lo: 1, empty: []int32{n.build(re.Sub[0], next), next}})
	case syntax.OpStar, syntax.OpPlus:
		loop := n.add(nfaState{lo: 1})
		start := n.build(re.Sub[0], loop)
		n.states[loop].empty = []int32{start, next}
		if re.Op == syntax.OpPlus {
			return start
		}
		return loop
	}
	n.err = fmt.Errorf("%q: anchors inside a pattern, and word boundaries, are not supported: the whole text has to match", re.String())
	return 0
}

// literal adds one character, in either case with fold.
func (n *nfa) literal(r rune, fold bool, next int32) int32 {
	if !fold {
		return n.class([]rune{r, r}, next)
	}
	set := []rune{r, r}
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		set = append(set, f, f)
	}
	return n.class(set, next)
}

// class adds a set of characters, given as pairs of a first and a last one.
func (n *nfa) class(set []rune, next int32) int32 {
	var starts []int32
	for i := 0; i+1 < len(set); i += 2 {
		lo, hi := set[i], min(set[i+1], unicode.MaxRune)
		for _, part := range [][2]rune{{lo, min(hi, 0xD7FF)}, {max(lo, 0xE000), hi}} { // surrogates have no UTF-8
			if part[0] <= part[1] {
				starts = n.runes(part[0], part[1], next, starts)
			}
		}
	}
	if len(starts) == 1 {
		return starts[0]
	}
	return n.add(nfaState{lo: 1, empty: starts}) // nothing, for an empty set
}

// runes adds the UTF-8 of the characters [lo, hi], cut where the encodings do not have the same length and the same leading bytes.
func (n *nfa) runes(lo, hi rune, next int32, starts []int32) []int32 {
	for _, last := range []rune{0x7F, 0x7FF, 0xFFFF} {
		if lo <= last && last < hi {
			return n.runes(last+1, hi, next, n.runes(lo, last, next, starts))
		}
	}
	if hi < utf8.RuneSelf {
		return append(starts, n.add(nfaState{lo: byte(lo), hi: byte(hi), next: next}))
	}
	for bits := 6; bits < 6*utf8.RuneLen(hi); bits += 6 { // whole ranges of the trailing bytes
		mask := rune(1)<<bits - 1
		if lo&^mask == hi&^mask {
			continue
		}
		if lo&mask != 0 {
			return n.runes((lo|mask)+1, hi, next, n.runes(lo, lo|mask, next, starts))
		}
		if hi&mask != mask {
			return n.runes(hi&^mask, hi, next, n.runes(lo, hi&^mask-1, next, starts))
		}
	}
	var a, b [utf8.UTFMax]byte
	size := utf8.EncodeRune(a[:], lo)
	utf8.EncodeRune(b[:], hi)
	for i := size - 1; i >= 0; i-- {
		next = n.add(nfaState{lo: a[i], hi: b[i], next: next})
	}
	return append(starts, next)
}
