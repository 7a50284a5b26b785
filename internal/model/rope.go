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

// rope is the cosines and sines of positions, up to the highest that has been asked for: contexts are longer than most texts.
type rope struct {
	rows        []float32 // [positions, e]: for each position e/2 cosines, then e/2 sines
	frequencies []float64 // [e/2]
	most        int       // positions
}

func newRope(c *Config) rope {
	return rope{frequencies: c.RopeFrequencies(), most: c.MaxPositionEmbeddings}
}

// ropeLeast is how many positions a table has at least, unless the context is shorter. It doubles as texts grow.
const ropeLeast = 256

// table has the rows of the positions, and of all below the highest.
func (r *rope) table(positions []int32) []float32 {
	highest, half := 0, len(r.frequencies)
	for _, pos := range positions {
		highest = max(highest, int(pos))
	}
	have := len(r.rows) / (2 * half)
	if highest < have {
		return r.rows
	}
	n := min(max(highest+1, 2*have, ropeLeast), r.most)
	rows := make([]float32, n*2*half)
	copy(rows, r.rows)
	for pos := have; pos < n; pos++ {
		row := rows[pos*2*half:]
		for i, freq := range r.frequencies {
			sin, cos := math.Sincos(float64(pos) * freq)
			row[i], row[half+i] = float32(cos), float32(sin)
		}
	}
	r.rows = rows
	return rows
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
