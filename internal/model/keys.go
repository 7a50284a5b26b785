package model

import "mor/internal/kernel"

// KeyView is the keys and values that some rows read: rows of k·e values, Stride apart, and the range of them that each query row sees.
type KeyView struct {
	K, V   []float32
	Stride int
	Span   kernel.Range
}

// keyStore finds the keys and values of a pass: where the layer computed them, or laid out for sequences that share rows.
type keyStore interface {
	// view takes the keys k and values v that layer l computed for the rows (nil for KVRead), and returns what these rows attend to.
	view(l *Layer, rows *Rows, k, v []float32, stride int) KeyView
}

// batchKeys is the keys and values of a pass over whole sequences: they stay where the layer computed them.
type batchKeys struct {
	t     *Tape
	slots []KeyView
}

// view is what keyStore asks for.
func (b *batchKeys) view(l *Layer, rows *Rows, k, v []float32, stride int) KeyView {
	if l.KV == KVOwn {
		view := KeyView{k, v, stride, rows.Span}
		b.slots[l.Slot] = view
		return view
	}
	view := b.slots[l.Source]
	view.Span = b.sharedSpan(rows)
	if l.KV == KVUpdate {
		view.K, view.V, view.Stride = b.updated(view, rows, k, v, stride)
	}
	return view
}

// sharedSpan is the range of batch rows that each row attends to when every position has an entry.
func (b *batchKeys) sharedSpan(rows *Rows) kernel.Range {
	m := len(rows.Index)
	span := kernel.Range{Lo: b.t.i.get(m), Hi: b.t.i.get(m)}
	for i, row := range rows.Index {
		span.Lo[i], span.Hi[i] = b.t.first[row], row+1
	}
	return span
}

// updated copies the shared entries with those of the rows at hand in their place.
func (b *batchKeys) updated(shared KeyView, rows *Rows, k, v []float32, stride int) (keys, values []float32, newStride int) {
	w, n := b.t.m.Config.KVDim(), b.t.batch.Rows()
	buf := b.t.f.get(n * 2 * w)
	for i := range n {
		copy(buf[i*2*w:i*2*w+w], shared.K[i*shared.Stride:])
		copy(buf[i*2*w+w:(i+1)*2*w], shared.V[i*shared.Stride:])
	}
	for i, row := range rows.Index {
		at := int(row) * 2 * w
		copy(buf[at:at+w], k[i*stride:])
		copy(buf[at+w:at+2*w], v[i*stride:])
	}
	return buf, buf[w:], 2 * w
}
