package model

import (
	"fmt"
	"math"
	"slices"

	"mor/internal/strict"
)

// Recompute says what a training pass does not keep for backward, which computes it again (Chen et al. 2016, arXiv:1604.06174). Losses and
// gradients are the same bits.
type Recompute int

// The steps of less memory and more time.
const (
	RecomputeNone  Recompute = iota // everything is kept
	RecomputeBlock                  // the input of every layer is kept: backward runs each layer once more
	RecomputeAll                    // the input of every √L-th of a segment's L layers is kept: backward runs most layers twice more
)

var recomputeNames = []string{"none", "block", "all"}

func (r Recompute) String() string { return recomputeNames[r] }

// Recomputes names them.
func Recomputes() []string { return slices.Clone(recomputeNames) }

// ParseRecompute finds one by its name.
func ParseRecompute(name string) (Recompute, error) {
	i := slices.Index(recomputeNames, name)
	if i < 0 {
		return 0, fmt.Errorf("recompute: %q: expected none, block or all%s", name, strict.Suggest(name, recomputeNames))
	}
	return Recompute(i), nil
}

// group is how many layers of a segment of so many share one kept input.
func (r Recompute) group(layers int) int {
	if r == RecomputeAll {
		return int(math.Ceil(math.Sqrt(float64(layers))))
	}
	return 1
}

// groups runs the layers of a segment on st.run and keeps the input of each group in its first layer's tape.
func (t *Tape) groups(s *Segment, st *segmentTape, x []float32) []float32 {
	size := t.Recompute.group(len(s.Layers))
	for lo := 0; lo < len(s.Layers); lo += size {
		x = t.group(s, st, lo, min(lo+size, len(s.Layers)), x)
	}
	return x
}

// group runs the layers [lo, hi) and keeps only their input x and their output.
func (t *Tape) group(s *Segment, st *segmentTape, lo, hi int, x []float32) []float32 {
	out := t.f.get(len(x))
	t.m.cpu.Copy(out, x)
	t.keep = false
	for i := lo; i < hi; i++ {
		t.layer(&s.Layers[i], &st.layers[i], &st.run, out)
	}
	t.keep = true
	st.layers[lo].x = x
	return out
}

// groups takes out, the gradient of a segment's output, back through the groups: it finds the inputs of a group's layers, then replays
// each layer, the last one first.
func (g *gradient) groups(s *Segment, st *segmentTape, out streamGradient) {
	t, size := g.t, g.t.Recompute.group(len(s.Layers))
	t.replaying = true
	for lo := (len(s.Layers) - 1) / size * size; lo >= 0; lo -= size {
		entry, entryInts := t.f.mark(), t.i.mark()
		hi, x := min(lo+size, len(s.Layers)), st.layers[lo].x
		for i := lo; i < hi-1; i++ {
			x = t.group(s, st, i, i+1, x)
			st.layers[i+1].x = x
		}
		for i := hi - 1; i >= lo; i-- {
			at, atInts, lt := t.f.mark(), t.i.mark(), &st.layers[i]
			*lt = layerTape{x: lt.x, moe: moeTape{expert: lt.moe.expert}}
			t.compute(&s.Layers[i], lt, &st.run, nil)
			g.layer(&s.Layers[i], lt, &st.run, out)
			t.f.release(at)
			t.i.release(atInts)
		}
		t.f.release(entry)
		t.i.release(entryInts)
	}
	t.replaying = false
}
