package model

import "mor/internal/kernel"

// Tree says how the sequences of a batch begin alike: what several begin with is rows of the batch once.
type Tree struct {
	Paths    []int32  // the batch's row of each token of each sequence, one sequence behind the other
	Branches []Branch // the sequences, in the order of their own rows
}

// Branch is the sequence Paths[Lo:Hi]. Its tokens from Own on are its own rows, at least one; the rows before it has from the branches in front.
type Branch struct{ Lo, Hi, Own int32 }

// ForwardTree is Forward, without backward, for a batch whose rows are the branches of a tree. A row's result is the bits that its sequence alone gives; so
// routing must be causal.
func (m *Model) ForwardTree(t *Tape, b *Batch, tree *Tree, mode Mode) error {
	if err := b.check(m.Config); err != nil {
		return err
	}
	if t.tree == nil {
		t.tree = &treeKeys{keep: m.Config.KVSharing(), width: m.Config.KVDim(), slots: make([]layout, m.Plan.Slots)}
	}
	t.tree.Tree, t.tree.at = *tree, sized(t.tree.at, b.Rows())
	t.keys = t.tree
	err := m.forward(t, b, mode, false)
	t.keys = t.plain
	return err
}

// treeKeys lays out the keys of every branch whole, one branch behind the other, so that a row sees the same keys in the same order as if its sequence were alone.
type treeKeys struct {
	Tree
	keep    bool     // later recursions read the keys of the first
	width   int      // k·e, values of a key
	slots   []layout // [slots] of the layers whose keys are kept, empty elsewhere
	scratch layout
	at      []int32 // [rows of the batch] index among the rows at hand, −1 for the others
	span    kernel.Range
}

// layout is keys and values of m entries.
type layout struct{ k, v []float32 } // [m, k·e]

// view is what keyStore asks for.
func (s *treeKeys) view(l *Layer, rows *Rows, k, v []float32, stride int) KeyView {
	m := len(rows.Index)
	s.span.Lo, s.span.Hi = sized(s.span.Lo, m), sized(s.span.Hi, m)
	for i := range s.at {
		s.at[i] = -1
	}
	for i, row := range rows.Index {
		s.at[row] = int32(i)
	}
	var to *layout
	switch l.KV {
	case KVOwn:
		to = &s.scratch
		if s.keep && l.Recursion == 0 {
			to = &s.slots[l.Slot]
		}
		s.own(to, k, v, stride)
	case KVUpdate:
		to = &s.scratch
		s.update(to, &s.slots[l.Source], k, v, stride)
	default:
		to = &s.slots[l.Source]
	}
	if l.KV != KVOwn {
		s.everyPosition()
	}
	return KeyView{K: to.k, V: to.v, Stride: s.width, Span: s.span}
}

// own lays out the keys of the rows at hand: of each branch with own rows among them, those of its tokens that are at hand.
func (s *treeKeys) own(to *layout, k, v []float32, stride int) {
	to.resize(len(s.Paths) * s.width)
	end := int32(0)
	for _, q := range s.Branches {
		if !s.present(q) {
			continue
		}
		start := end
		for p := q.Lo; p < q.Hi; p++ {
			i := s.at[s.Paths[p]]
			if i < 0 {
				continue
			}
			to.set(int(end), k[int(i)*stride:], v[int(i)*stride:], s.width)
			end++
			if p >= q.Own {
				s.span.Lo[i], s.span.Hi[i] = start, end
			}
		}
	}
}

// present tells whether any of the branch's own rows is at hand.
func (s *treeKeys) present(q Branch) bool {
	for _, row := range s.Paths[q.Own:q.Hi] {
		if s.at[row] >= 0 {
			return true
		}
	}
	return false
}

// update lays out the entries of source, with those of the rows at hand in their place.
func (s *treeKeys) update(to, source *layout, k, v []float32, stride int) {
	to.resize(len(s.Paths) * s.width)
	copy(to.k, source.k)
	copy(to.v, source.v)
	for p, row := range s.Paths {
		if i := s.at[row]; i >= 0 {
			to.set(p, k[int(i)*stride:], v[int(i)*stride:], s.width)
		}
	}
}

// everyPosition sets the span of the rows at hand where every token has an entry.
func (s *treeKeys) everyPosition() {
	for _, q := range s.Branches {
		for p := q.Own; p < q.Hi; p++ {
			if i := s.at[s.Paths[p]]; i >= 0 {
				s.span.Lo[i], s.span.Hi[i] = q.Lo, p+1
			}
		}
	}
}

func (l *layout) resize(n int) { l.k, l.v = sized(l.k, n), sized(l.v, n) }

func (l *layout) set(i int, k, v []float32, width int) {
	copy(l.k[i*width:(i+1)*width], k)
	copy(l.v[i*width:(i+1)*width], v)
}

// sized is x with n elements, of no particular value.
func sized[T any](x []T, n int) []T {
	if cap(x) < n {
		return make([]T, n, n+n/4)
	}
	return x[:n]
}
