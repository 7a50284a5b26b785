package uptrain

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"mor/internal/model"
)

// correct sets every LoRA pair so that shared + (alpha/rank)·B·A is as near to the layer that it stands for as its rank allows: A holds the right
// singular vectors of the difference, B the left ones times their values. Directions beyond the difference's rank keep a drawn A and a zero B, from
// which they can learn.
func correct(dst, src *model.Model, origin *Origin) []Correction {
	lora := dst.Config.Recursion.LoRA
	var out []Correction
	at := 0
	for _, s := range dst.Plan.Segments {
		for _, l := range s.Layers {
			for _, target := range lora.Targets {
				if l.Recursion < 0 {
					break
				}
				out = append(out, correctOne(dst, src, l, target, origin.Kept[at]))
			}
			at++
		}
	}
	// Plan order is that of execution; sequence sharing runs the recursions of a layer one behind the other.
	slices.SortStableFunc(out, func(a, b Correction) int { return cmp.Or(a.Recursion-b.Recursion, a.Block-b.Block) })
	return out
}

// correctOne sets the pair of one projection of the effective layer l, which stands for a source layer.
func correctOne(dst, src *model.Model, l model.Layer, target string, layer int) Correction {
	lora := dst.Config.Recursion.LoRA
	part := "self_attn." + target + ".weight"
	if _, ok := src.Layout.Tensor(layerName(layer, part)); !ok {
		part = "mlp." + target + ".weight"
	}
	original, shared := tensor(src, layerName(layer, part)), tensor(dst, layerName(l.Unique, part))
	base := fmt.Sprintf("model.loras.%d.%d.%s", l.Recursion, l.Block, target)
	a, b := tensor(dst, base+".A"), tensor(dst, base+".B")
	rank, in := lora.Rank, len(a)/lora.Rank
	out := len(b) / rank
	diff := make([]float32, len(original))
	norm, whole := 0.0, 0.0
	for i, v := range original {
		diff[i] = v - shared[i]
		norm += float64(v) * float64(v)
		whole += float64(diff[i]) * float64(diff[i])
	}
	low := truncate(dst.CPU(), diff, out, in, rank, base)
	unscale := float64(rank) / lora.Alpha
	for i, s := range low.value {
		if s <= 1e-6*math.Sqrt(norm) { // nothing but rounding
			continue
		}
		for j, v := range low.right[i] {
			a[i*in+j] = float32(v)
		}
		for j, v := range low.left[i] {
			b[j*rank+i] = float32(v * s * unscale)
		}
	}
	return Correction{l.Recursion, l.Block, target, ratio(whole, norm), ratio(rest(diff, a, b, out, in, rank, lora.Alpha), norm)}
}

func tensor(m *model.Model, name string) []float32 {
	t, _ := m.Layout.Tensor(name) // both layouts come from the same configuration
	return t.Of(m.W)
}

// rest is the squared norm of diff[out,in] − (alpha/rank)·b[out,rank]·a[rank,in].
func rest(diff, a, b []float32, out, in, rank int, alpha float64) float64 {
	sum, row := 0.0, make([]float64, in)
	scale := alpha / float64(rank)
	for j := range out {
		for i, v := range diff[j*in : (j+1)*in] {
			row[i] = float64(v)
		}
		for p := range rank {
			w := scale * float64(b[j*rank+p])
			for i, v := range a[p*in : (p+1)*in] {
				row[i] -= w * float64(v)
			}
		}
		sum += dot(row, row)
	}
	return sum
}

// ratio is √(a/b), and 0 where both are.
func ratio(a, b float64) float64 {
	if a == 0 {
		return 0
	}
	return math.Sqrt(a / b)
}
