package grammar

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
)

// Grammar is a compiled pattern. It finds its states as texts come to them, and may be used by any number of goroutines.
type Grammar struct {
	trie *Trie

	mu     sync.Mutex
	nfa    *nfa
	states []dfaState
	ids    map[string]int32
	seen   []bool // scratch of closure
}

// dfaState is a set of states of the nfa.
type dfaState struct {
	set    []int32
	accept bool
	next   [256]int32 // 0: not known yet; -1: nothing matches any more
	mask   []uint64   // tokens that may follow, a bit each; nil: not known yet
}

// State is a place in a text under way. A text begins at Start.
type State int32

// Start is where every text begins.
const Start State = 1

// Regexp compiles a pattern of Go's syntax, which the whole text has to match, for the tokens of a trie.
func Regexp(pattern string, t *Trie) (*Grammar, error) {
	n, start, err := compile(pattern)
	if err != nil {
		return nil, err
	}
	g := &Grammar{trie: t, nfa: n, states: make([]dfaState, 1), ids: map[string]int32{}, seen: make([]bool, len(n.states))}
	_, err = g.state([]int32{start})
	return g, err
}

// state finds or makes the state of a set of states of the nfa.
func (g *Grammar) state(from []int32) (int32, error) {
	set := g.closure(from)
	if len(set) == 0 {
		return -1, nil
	}
	key := make([]byte, 0, 4*len(set))
	for _, s := range set {
		key = binary.LittleEndian.AppendUint32(key, uint32(s))
	}
	if id, ok := g.ids[string(key)]; ok {
		return id, nil
	}
	if len(g.states) > maxDFAStates {
		return 0, fmt.Errorf("the pattern came to more than %d states: make it simpler", maxDFAStates)
	}
	id := int32(len(g.states))
	g.states = append(g.states, dfaState{set: set, accept: set[0] == 0})
	g.ids[string(key)] = id
	return id, nil
}

// closure is all states that are reached without reading, ascending, without those that only lead to others.
func (g *Grammar) closure(from []int32) []int32 {
	clear(g.seen)
	stack, set := slices.Clone(from), []int32{}
	for len(stack) > 0 {
		s := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if g.seen[s] {
			continue
		}
		g.seen[s] = true
		if n := &g.nfa.states[s]; s == 0 || n.lo <= n.hi {
			set = append(set, s)
		}
		stack = append(stack, g.nfa.states[s].empty...)
	}
	slices.Sort(set)
	return set
}

// step reads a byte.
func (g *Grammar) step(s int32, b byte) (int32, error) {
	if next := g.states[s].next[b]; next != 0 {
		return next, nil
	}
	var to []int32
	for _, i := range g.states[s].set {
		if n := &g.nfa.states[i]; i != 0 && n.lo <= b && b <= n.hi {
			to = append(to, n.next)
		}
	}
	next, err := g.state(to)
	if err == nil {
		g.states[s].next[b] = next
	}
	return next, err
}

// Allowed returns the tokens that may follow, a bit each, and whether the text may end here.
func (g *Grammar) Allowed(at State) (mask []uint64, end bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.states[at].mask == nil {
		mask := make([]uint64, (g.trie.vocab+63)/64)
		if err := g.walk(mask, 0, int32(at)); err != nil {
			return nil, false, err
		}
		g.states[at].mask = mask
	}
	return g.states[at].mask, g.states[at].accept, nil
}

// walk sets the bits of the tokens below a node that the state allows.
func (g *Grammar) walk(mask []uint64, node, s int32) error {
	for _, id := range g.trie.nodes[node].tokens {
		mask[id/64] |= 1 << (id % 64)
	}
	for _, e := range g.trie.nodes[node].edges {
		next, err := g.step(s, e.b)
		if err != nil {
			return err
		}
		if next < 0 {
			continue
		}
		if err := g.walk(mask, e.to, next); err != nil {
			return err
		}
	}
	return nil
}

// Advance reads the bytes of a token that is allowed.
func (g *Grammar) Advance(at State, text []byte) (State, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := int32(at)
	for _, b := range text {
		var err error
		if s, err = g.step(s, b); err != nil {
			return 0, err
		}
		if s < 0 {
			return 0, fmt.Errorf("%q cannot follow", text)
		}
	}
	return State(s), nil
}

// Trie is the tokens of a vocabulary by their bytes.
type Trie struct {
	vocab int
	nodes []trieNode
}

type trieNode struct {
	tokens []int32 // that end here
	edges  []trieEdge
}

type trieEdge struct {
	b  byte
	to int32
}

// NewTrie places the tokens [0, vocab) that have bytes.
func NewTrie(vocab int, bytes func(id int32) []byte) *Trie {
	t := &Trie{vocab: vocab, nodes: make([]trieNode, 1)}
	for id := range int32(vocab) {
		node, text := int32(0), bytes(id)
		if len(text) == 0 {
			continue
		}
		for _, b := range text {
			node = t.child(node, b)
		}
		t.nodes[node].tokens = append(t.nodes[node].tokens, id)
	}
	return t
}

func (t *Trie) child(node int32, b byte) int32 {
	for _, e := range t.nodes[node].edges {
		if e.b == b {
			return e.to
		}
	}
	to := int32(len(t.nodes))
	t.nodes = append(t.nodes, trieNode{})
	t.nodes[node].edges = append(t.nodes[node].edges, trieEdge{b, to})
	return to
}
