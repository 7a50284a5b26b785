package uptrain

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"mor/internal/model"
	"mor/internal/strict"
)

// Init says which source layers a shared layer is made from (METHOD.md §2). "Loop" are the source layers that take part: all, or with a middle
// strategy all but the first and the last, which are copied.
type Init string

// The ways to initialise.
const (
	Stepwise Init = "stepwise" // layers spread evenly over the loop
	Average  Init = "average"  // the mean of the layers that become one
	Lower    Init = "lower"    // the first layers of the loop
	Upper    Init = "upper"    // the last layers of the loop
	Random   Init = "random"   // drawn layers of the loop, in their order
)

// Inits names the ways to initialise.
func Inits() []string {
	return []string{string(Stepwise), string(Average), string(Lower), string(Upper), string(Random)}
}

// Origin says what a recursive model's layers come from.
type Origin struct {
	Kept   []int   // the source layer that each effective layer stands for
	Layers [][]int // for each unique layer the source layers that it is made from: their mean where there are several
}

// Layers plans the layers of a recursive model made from a vanilla one of depth layers. Where the loop does not divide by n, source layers are left
// out at even distances. The seed is for Random.
func Layers(depth int, sharing model.Sharing, n int, how Init, seed uint64) (*Origin, error) {
	edge := 0
	if sharing.Middle() {
		edge = 1
	}
	if n < 1 {
		return nil, fmt.Errorf("num_recursion: %d: expected 1 or more", n)
	}
	if depth-2*edge < n {
		return nil, fmt.Errorf("num_recursion: %d: the source has only %d layers for a %s loop", n, max(depth-2*edge, 0), sharing)
	}
	o := &Origin{Kept: kept(depth, edge, n)}
	lo, hi := edge, len(o.Kept)-1-edge
	groups := groups(lo, hi, n, sharing, how, seed)
	if groups == nil {
		return nil, fmt.Errorf("init: %q: expected one of %s%s", how, strings.Join(Inits(), ", "), strict.Suggest(string(how), Inits()))
	}
	if edge > 0 {
		groups = append(append([][]int{{0}}, groups...), []int{hi + 1})
	}
	for _, group := range groups {
		from := make([]int, len(group))
		for i, g := range group {
			from[i] = o.Kept[g]
		}
		o.Layers = append(o.Layers, from)
	}
	return o, nil
}

// groups lists, for each layer of the block, the layers of the loop [lo, hi] that it is made from; nothing for an unknown way.
func groups(lo, hi, n int, sharing model.Sharing, how Init, seed uint64) [][]int {
	span := hi - lo + 1
	block := span / n
	out := make([][]int, block)
	var picked []int
	switch how {
	case Average:
		for j := range out {
			for r := range n {
				at := j + r*block
				if !sharing.Cyclic() {
					at = j*n + r
				}
				out[j] = append(out[j], lo+at)
			}
		}
		return out
	case Stepwise: // rounded with the first layer counted in: halves go to even layers of the model
		picked = spread(lo, hi, block)
	case Lower:
		picked = spread(lo, lo+block-1, block)
	case Upper:
		picked = spread(hi-block+1, hi, block)
	case Random:
		for _, at := range rand.New(rand.NewPCG(seed, 0)).Perm(span)[:block] {
			picked = append(picked, lo+at)
		}
		slices.Sort(picked)
	default:
		return nil
	}
	for j, at := range picked {
		out[j] = []int{at}
	}
	return out
}

// kept is the source layers that take part: as many as divide by n, spread evenly, and with edge 1 the first and the last beside them.
func kept(depth, edge, n int) []int {
	span := depth - 2*edge
	if edge == 0 {
		return spread(0, depth-1, span/n*n)
	}
	out := append([]int{0}, spread(1, depth-2, span/n*n)...)
	return append(out, depth-1)
}

// spread is round(linspace(lo, hi, count)), halves to even.
func spread(lo, hi, count int) []int {
	if count == 1 {
		return []int{lo}
	}
	out := make([]int, count)
	step := float64(hi-lo) / float64(count-1)
	for i := range out {
		out[i] = int(math.RoundToEven(float64(lo) + float64(float64(i)*step))) // the conversion forbids a fused multiply-add
	}
	return out
}

// Dropped lists the source layers of [0, depth) that are left out.
func (o *Origin) Dropped(depth int) []int {
	var out []int
	for i := range depth {
		if !slices.Contains(o.Kept, i) {
			out = append(out, i)
		}
	}
	return out
}
