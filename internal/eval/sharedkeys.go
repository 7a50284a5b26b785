package eval

import (
	"mor/internal/kernel"
	"mor/internal/model"
)

// sharedKeys is the model.KeyStore of a batch whose sequences may begin alike: what several begin with is computed once. The keys of every
// sequence are laid out whole, one sequence behind the other, so that a row sees the same keys in the same order as if its sequence were alone.
type sharedKeys struct {
	keep  bool // later recursions read the keys of the first
	width int  // k·e, values of a key
	// The batch.
	paths []int32 // the batch's row of each token of each sequence, one sequence behind the other
	seqs  []sharedSequence
	// The layouts.
	slots   []layout // [slots] of the layers whose keys are kept, nil elsewhere
	scratch layout
	at      []int32 // [rows of the batch] index among the rows at hand, −1 for the others
	span    kernel.Range
}

// sharedSequence is paths[lo:hi]. Its tokens from own on are its own rows, at least one; the rows before it has from the sequences in front.
type sharedSequence struct{ lo, hi, own int32 }

// layout is keys and values of m entries.
type layout struct{ k, v []float32 } // [m, k·e]

func newSharedKeys(m *model.Model) *sharedKeys {
	return &sharedKeys{keep: m.Config.KVSharing(), width: m.Config.KVDim(), slots: make([]layout, m.Plan.Slots)}
}

// Keys implements model.KeyStore.
func (s *sharedKeys) Keys(l *model.Layer, rows *model.Rows, k, v []float32, stride int) model.KeyView {
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
	case model.KVOwn:
		to = &s.scratch
		if s.keep && l.Recursion == 0 {
			to = &s.slots[l.Slot]
		}
		s.own(to, k, v, stride)
	case model.KVUpdate:
		to = &s.scratch
		s.update(to, &s.slots[l.Source], k, v, stride)
	default:
		to = &s.slots[l.Source]
	}
	if l.KV != model.KVOwn {
		s.everyPosition()
	}
	return model.KeyView{K: to.k, V: to.v, Stride: s.width, Span: s.span}
}

// own lays out the keys of the rows at hand: of each sequence with own rows among them, those of its tokens that are at hand.
func (s *sharedKeys) own(to *layout, k, v []float32, stride int) {
	to.resize(len(s.paths) * s.width)
	end := int32(0)
	for _, q := range s.seqs {
		if !s.present(q) {
			continue
		}
		start := end
		for p := q.lo; p < q.hi; p++ {
			i := s.at[s.paths[p]]
			if i < 0 {
				continue
			}
			to.set(int(end), k[int(i)*stride:], v[int(i)*stride:], s.width)
			end++
			if p >= q.own {
				s.span.Lo[i], s.span.Hi[i] = start, end
			}
		}
	}
}

// present tells whether any row of the sequence's own is at hand.
func (s *sharedKeys) present(q sharedSequence) bool {
	for _, row := range s.paths[q.own:q.hi] {
		if s.at[row] >= 0 {
			return true
		}
	}
	return false
}

// update lays out the entries of source, with those of the rows at hand in their place.
func (s *sharedKeys) update(to, source *layout, k, v []float32, stride int) {
	to.resize(len(s.paths) * s.width)
	copy(to.k, source.k)
	copy(to.v, source.v)
	for p, row := range s.paths {
		if i := s.at[row]; i >= 0 {
			to.set(p, k[int(i)*stride:], v[int(i)*stride:], s.width)
		}
	}
}

// everyPosition sets the span of the rows at hand where every token has an entry.
func (s *sharedKeys) everyPosition() {
	for _, q := range s.seqs {
		for p := q.own; p < q.hi; p++ {
			if i := s.at[s.paths[p]]; i >= 0 {
				s.span.Lo[i], s.span.Hi[i] = q.lo, p+1
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
