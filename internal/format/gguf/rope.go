package gguf

import (
	"fmt"
	"math"
	"slices"

	"mor/internal/model"
)

// ropeFreqs holds factors of RoPE's frequencies, not weights.
const ropeFreqs = "rope_freqs.weight"

// ropeScaling reads how RoPE is stretched: linearly, by the metadata, or frequency by frequency, by a tensor.
func (g *File) ropeScaling(c *model.Config) error {
	kind, err := g.Meta.String("llama.rope.scaling.type", "none")
	if err != nil {
		return err
	}
	factor, err := g.Meta.Float("llama.rope.scaling.factor", g.oldFactor())
	if err != nil {
		return err
	}
	switch {
	case kind == "none" && factor == 1, kind == "linear" && factor == 1:
	case kind == "none", kind == "linear":
		c.RopeScaling = &model.RopeScaling{RopeType: model.RopeLinear, Factor: factor}
	default:
		return fmt.Errorf("metadata llama.rope.scaling.type: %q is not supported: expected none or linear", kind)
	}
	if t, ok := g.Tensor(ropeFreqs); ok {
		return g.ropeFactors(c, t)
	}
	return nil
}

// oldFactor is the linear factor under the key of older files.
func (g *File) oldFactor() float64 {
	f, err := g.Meta.Float("llama.rope.scale_linear", 1)
	if err != nil || f == 0 {
		return 1
	}
	return f
}

// ropeFactors finds the Llama 3 scaling that has the factors of a file: the file has these, not the scaling's parameters.
func (g *File) ropeFactors(c *model.Config, t *Tensor) error {
	if t.Len() != c.HeadDim/2 {
		return fmt.Errorf("tensor %q: %d values, expected %d", t.Name, t.Len(), c.HeadDim/2)
	}
	factors := make([]float32, t.Len())
	if err := g.Float32s(factors, t); err != nil {
		return err
	}
	if !slices.ContainsFunc(factors, func(f float32) bool { return f != 1 }) {
		return nil
	}
	if c.RopeScaling != nil {
		return fmt.Errorf("tensor %q stands beside rope.scaling.type linear: expected one of the two", t.Name)
	}
	plain := c.RopeFrequencies()
	for _, factor := range []float64{float64(slices.Max(factors)), 8, 32, 16, 4, 2} {
		for _, s := range llama3Scalings(plain, factors, factor) {
			try := *c
			try.RopeScaling = &s
			if try.Validate() == nil && sameFrequencies(try.RopeFrequencies(), plain, factors) {
				c.RopeScaling = &s
				return nil
			}
		}
	}
	return fmt.Errorf("tensor %q: these are not the factors of Llama 3: convert the model from its Hugging Face folder", t.Name)
}

// sameFrequencies tells whether frequencies are the plain ones divided by factors.
func sameFrequencies(got, plain []float64, factors []float32) bool {
	for i, f := range got {
		if want := plain[i] / float64(factors[i]); !(math.Abs(f-want) <= 1e-5*want) {
			return false
		}
	}
	return true
}

// llama3Scalings lists what may have made the factors: Meta's own parameters, then others. A frequency keeps a share of itself that is linear in it, from 0 where it makes
// low_freq_factor turns in the context of pretraining to 1 where it makes high_freq_factor turns. Only the ratios of the three show.
func llama3Scalings(plain []float64, factors []float32, factor float64) []model.RopeScaling {
	var at, keep []float64 // frequencies that keep some of themselves
	below := 0.0           // the highest that keeps nothing
	for i, f := range factors {
		k := (factor/float64(f) - 1) / (factor - 1)
		if k < 1e-5 {
			below = max(below, plain[i])
		} else if k < 1-1e-5 {
			at, keep = append(at, plain[i]), append(keep, k)
		}
	}
	out := []model.RopeScaling{{RopeType: model.RopeLlama3, Factor: factor, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositionEmbeddings: 8192}}
	add := func(high, context float64) {
		for _, unit := range []float64{1, 1 << 12} { // the context is an integer: in larger units it is exact enough
			out = append(out, model.RopeScaling{RopeType: model.RopeLlama3, Factor: factor, LowFreqFactor: unit, HighFreqFactor: math.Round(unit*high*1e3) / 1e3,
				OriginalMaxPositionEmbeddings: int(math.Round(min(unit*context, math.MaxInt32)))})
		}
	}
	if n := len(at); n > 1 {
		slope := (keep[0] - keep[n-1]) / (at[0] - at[n-1])
		span := 1 / (slope*at[0] - keep[0]) // high - low
		add(1+span, 2*math.Pi*slope*span)
		return out
	}
	for _, high := range []float64{4, 2, 1.1, 1.01} { // one frequency between low and high, or none, does not tell them: any that hold it alone will do
		if len(at) == 1 {
			add(high, 2*math.Pi*(keep[0]*(high-1)+1)/at[0])
		} else {
			add(high, math.Floor(2*math.Pi/below))
		}
	}
	return out
}
