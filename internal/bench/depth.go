package bench

import (
	"context"
	"fmt"
	"math"
	"slices"

	"mor/internal/infer"
	"mor/internal/model"
)

// calibration is how many texts the thresholds of a mean depth come from.
const calibration = 16

// SetDepth sets the thresholds of an expert-choice model with threshold_rate so that the mean depth of the texts of a load is about the given one. The
// shares that go on fall evenly from recursion to recursion. The model writes some texts for each recursion, whose scores give its threshold.
func SetDepth(ctx context.Context, m *model.Model, mean float64, l Load) error {
	n := m.Config.Recursions()
	thresholds, ok := m.Layout.Tensor("model.router_thresholds")
	if !ok || n < 2 || !(mean > 0 && mean <= float64(n)) {
		return fmt.Errorf("mean depth %v: expected above 0, up to %d, and an expert-choice model", mean, n)
	}
	shares := evenShares(mean, n)
	cut := thresholds.Of(m.W)
	for r := range cut {
		cut[r] = float32(math.Inf(1))
	}
	l.Requests, l.Batch, l.Deviation = calibration, calibration, 0
	for r := range n {
		if shares[r] == 1 {
			cut[r] = float32(math.Inf(-1))
			continue
		}
		scores, tokens, err := scoresOf(ctx, m, r, &l)
		if err != nil {
			return err
		}
		slices.Sort(scores)
		want := int(math.Round(shares[r] * float64(tokens))) // that go on
		if want >= len(scores) {
			cut[r] = float32(math.Inf(-1))
		} else if want > 0 {
			cut[r] = scores[len(scores)-want-1]
		}
	}
	return nil
}

// evenShares are the shares of tokens that run each of n recursions: they fall evenly from 1, or from the mean where that is less, down to 0 at least.
func evenShares(mean float64, n int) []float64 {
	shares := make([]float64, n)
	fall := func(step float64) (sum float64) {
		for r := range shares {
			shares[r] = max(min(mean, 1)-step*float64(r), 0)
			sum += shares[r]
		}
		return sum
	}
	low, high := 0.0, 1.0
	for range 50 {
		if middle := (low + high) / 2; fall(middle) > mean {
			low = middle
		} else {
			high = middle
		}
	}
	fall(high)
	return shares
}

// scoresOf lists the scores of the generated tokens that arrive at a recursion, and counts all tokens.
func scoresOf(ctx context.Context, m *model.Model, r int, l *Load) (scores []float32, tokens int, err error) {
	e, err := l.engine(m, infer.DepthWise)
	if err != nil {
		return nil, 0, err
	}
	defer e.Close()
	streams, err := l.submit(ctx, e, m.Config, true)
	for _, s := range streams {
		for t, e := range s.Tokens() {
			if e != nil {
				return nil, 0, e
			}
			if tokens++; len(t.Scores) > r {
				scores = append(scores, t.Scores[r])
			}
		}
	}
	return scores, tokens, err
}
