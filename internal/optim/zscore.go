package optim

import "math"

// ZScoreWindow is how many past values a value is compared with, llm.c's choice; zScoreMin is how many it takes at least.
const (
	ZScoreWindow = 128
	zScoreMin    = 16
)

// ZScore tells by how many standard deviations a value (a loss, a gradient norm) is off the mean of the values before it.
// The zero value is ready; as JSON it is stored in a checkpoint and goes on where it was.
type ZScore struct {
	Values []float64 `json:"values"` // the last ones, at most ZScoreWindow, oldest first
}

// Add takes the next value and returns its z-score. ok is false where there is none: with fewer than 16 values before
// it, or where they are all the same. A NaN or an infinity has none either, and is not kept.
func (z *ZScore) Add(x float64) (score float64, ok bool) {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0, false
	}
	score, ok = z.score(x)
	if n := len(z.Values); n >= ZScoreWindow {
		z.Values = z.Values[:copy(z.Values, z.Values[n-ZScoreWindow+1:])]
	}
	z.Values = append(z.Values, x)
	return score, ok
}

func (z *ZScore) score(x float64) (float64, bool) {
	if len(z.Values) < zScoreMin {
		return 0, false
	}
	n := float64(len(z.Values))
	var sum, squares float64
	for _, v := range z.Values {
		sum += v
	}
	mean := sum / n
	for _, v := range z.Values {
		squares += (v - mean) * (v - mean)
	}
	deviation := math.Sqrt(squares / n)
	if math.IsInf(deviation, 0) || deviation <= 1e-12*math.Abs(mean) { // the same up to rounding
		return 0, false
	}
	return (x - mean) / deviation, true
}
