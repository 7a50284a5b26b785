package model

import (
	"fmt"
	"math"
)

// The kinds of rope_scaling.
const (
	RopeLinear = "linear"
	RopeLlama3 = "llama3"
)

// ropeTable is the cosines and sines of each position: rows of e values, first the cosines.
func ropeTable(c *Config) []float32 {
	half := c.HeadDim / 2
	t := make([]float32, c.MaxPositionEmbeddings*c.HeadDim)
	for i, freq := range c.RopeFrequencies() {
		for pos := range c.MaxPositionEmbeddings {
			sin, cos := math.Sincos(float64(pos) * freq)
			t[pos*c.HeadDim+i], t[pos*c.HeadDim+half+i] = float32(cos), float32(sin)
		}
	}
	return t
}

// scale is the frequency, in radians a token, in place of freq.
func (s *RopeScaling) scale(freq float64) float64 {
	if s == nil {
		return freq
	}
	if s.RopeType == RopeLinear {
		return freq / s.Factor
	}
	turns := float64(s.OriginalMaxPositionEmbeddings) * freq / (2 * math.Pi) // over the context of pretraining
	keep := (turns - s.LowFreqFactor) / (s.HighFreqFactor - s.LowFreqFactor)
	keep = min(1, max(0, keep))
	return (1-keep)*freq/s.Factor + keep*freq
}

func (s *RopeScaling) validate() error {
	if s == nil {
		return nil
	}
	if !(s.Factor >= 1) || math.IsInf(s.Factor, 0) {
		return fmt.Errorf("rope_scaling.factor: %v: expected 1 or more", s.Factor)
	}
	switch s.RopeType {
	case RopeLinear:
		if s.LowFreqFactor != 0 || s.HighFreqFactor != 0 || s.OriginalMaxPositionEmbeddings != 0 {
			return fmt.Errorf("rope_scaling: rope_type linear has a factor only: leave out the other keys")
		}
	case RopeLlama3:
		switch {
		case !(s.LowFreqFactor > 0):
			return fmt.Errorf("rope_scaling.low_freq_factor: %v: expected a positive number, e.g. 1", s.LowFreqFactor)
		case !(s.HighFreqFactor > s.LowFreqFactor):
			return fmt.Errorf("rope_scaling.high_freq_factor: %v: expected more than low_freq_factor, e.g. 4", s.HighFreqFactor)
		case s.OriginalMaxPositionEmbeddings < 1:
			return fmt.Errorf("rope_scaling.original_max_position_embeddings: %d: expected the context of pretraining, e.g. 8192", s.OriginalMaxPositionEmbeddings)
		}
	default:
		return fmt.Errorf("rope_scaling.rope_type: %q: expected linear or llama3", s.RopeType)
	}
	return nil
}

// RopeFrequencies lists the e/2 frequencies that RoPE turns pairs by, in radians a token.
func (c *Config) RopeFrequencies() []float64 {
	half := c.HeadDim / 2
	out := make([]float64, half)
	for i := range out {
		out[i] = c.RopeScaling.scale(math.Pow(c.RopeTheta, -float64(i)/float64(half)))
	}
	return out
}
