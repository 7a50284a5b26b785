package eval

import (
	"math"
	"runtime"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"
)

// Record is what was measured of one item: a line of the JSONL.
type Record struct {
	Item     int       `json:"item"` // index in the task's file
	Subject  string    `json:"subject,omitempty"`
	Gold     int       `json:"gold"`
	LogProbs []float64 `json:"logprobs"` // of each choice
	Greedy   []bool    `json:"greedy"`   // each choice is what greedy decoding gives
	Acc      float64   `json:"acc"`      // 1 or 0
	AccNorm  *float64  `json:"acc_norm,omitempty"`
	AccBytes *float64  `json:"acc_bytes,omitempty"`
	Depths   []int64   `json:"depths"` // tokens read, of all choices, that took 0, 1, … recursions
}

// Metric is a score with its standard error, which one item alone does not have.
type Metric struct {
	Value  float64  `json:"value"`
	StdErr *float64 `json:"stderr"`
}

// MetricNames are the names of metrics, those of lm-evaluation-harness, in the order to print them in.
var MetricNames = []string{"acc", "acc_norm", "acc_bytes", "perplexity"}

// record judges an item. The choice of the largest log-probability wins; for acc_norm that for each character of the choice, for acc_bytes for
// each byte. Of equal ones the first wins.
func (t *Task) record(it Item, scores []Score) Record {
	r := Record{Item: it.Index, Subject: it.Subject, Gold: it.Gold}
	for _, s := range scores {
		r.LogProbs, r.Greedy = append(r.LogProbs, s.LogProb), append(r.Greedy, s.Greedy)
		for d, n := range s.Depths {
			if d == len(r.Depths) {
				r.Depths = append(r.Depths, 0)
			}
			r.Depths[d] += n
		}
	}
	if t.lastWord {
		r.Acc = one(scores[0].Greedy)
		return r
	}
	right := func(length func(choice string) int) float64 {
		best, top := 0, math.Inf(-1)
		for c, v := range r.LogProbs {
			if v /= float64(length(it.Continuation(c)[1:])); v > top {
				best, top = c, v
			}
		}
		return one(best == it.Gold)
	}
	r.Acc = right(func(string) int { return 1 })
	if t.norm {
		norm, bytes := right(utf8.RuneCountInString), right(func(s string) int { return len(s) })
		r.AccNorm, r.AccBytes = &norm, &bytes
	}
	return r
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// metrics are the scores of a task over its items. Where it has subjects, all items count alike and the standard errors are pooled.
func (t *Task) metrics(records []Record) map[string]Metric {
	out := map[string]Metric{}
	of := func(name string, value func(r *Record) float64) {
		var groups [][]float64
		index := map[string]int{}
		for i := range records {
			g, ok := index[records[i].Subject]
			if !ok {
				g = len(groups)
				index[records[i].Subject], groups = g, append(groups, nil)
			}
			groups[g] = append(groups[g], value(&records[i]))
		}
		out[name] = pooled(groups)
	}
	of("acc", func(r *Record) float64 { return r.Acc })
	if t.norm {
		of("acc_norm", func(r *Record) float64 { return *r.AccNorm })
		of("acc_bytes", func(r *Record) float64 { return *r.AccBytes })
	}
	if t.lastWord {
		logprobs := make([]float64, len(records))
		for i := range records {
			logprobs[i] = records[i].LogProbs[0]
		}
		out["perplexity"] = perplexity(logprobs)
	}
	return out
}

// pooled is the mean over all values, with the standard error √(Σ nᵢ(nᵢ−1)·seᵢ² / (n−k) / n) of k groups of nᵢ values, which for one group is its own:
// deviation/√n with Bessel's correction.
func pooled(groups [][]float64) Metric {
	n, sum, squares := 0, 0.0, 0.0
	for _, g := range groups {
		mean, square := meanSquares(g)
		n, sum, squares = n+len(g), sum+mean*float64(len(g)), squares+square
	}
	m := Metric{Value: sum / float64(n)}
	if n > len(groups) {
		err := math.Sqrt(squares / float64(n-len(groups)) / float64(n))
		m.StdErr = &err
	}
	return m
}

// meanSquares is the mean of x and the sum of the squared deviations from it.
func meanSquares(x []float64) (mean, squares float64) {
	for _, v := range x {
		mean += v
	}
	mean /= float64(len(x))
	for _, v := range x {
		squares += (v - mean) * (v - mean)
	}
	return mean, squares
}

// The harness estimates the standard error of a perplexity from so many resamples, in chunks of which each has its number for a seed.
const (
	resampleChunks = 100
	chunkResamples = 1000
)

// perplexity is exp(−mean) of the log-probabilities, with its bootstrap standard error.
func perplexity(logprobs []float64) Metric {
	mean, _ := meanSquares(logprobs)
	m := Metric{Value: math.Exp(-mean)}
	if len(logprobs) < 2 {
		return m
	}
	n := len(logprobs)
	samples := make([]float64, resampleChunks*chunkResamples)
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for c := range resampleChunks {
		group.Go(func() error {
			r := newPythonRandom(uint32(c))
			for i := range chunkResamples {
				sum := 0.0
				for range n {
					sum += logprobs[int(r.float()*float64(n))]
				}
				samples[c*chunkResamples+i] = math.Exp(-sum / float64(n))
			}
			return nil
		})
	}
	_ = group.Wait() // no part of it fails
	_, squares := meanSquares(samples)
	err := math.Sqrt(squares / float64(len(samples)-1))
	m.StdErr = &err
	return m
}
