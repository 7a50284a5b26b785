package infer

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
)

// Sampling says how the next token is drawn. The order is: repetition penalty, temperature, top-k, top-p, min-p.
type Sampling struct {
	Temperature       float64 // divides the logits; 0 takes the best token
	TopK              int     // only the best k tokens; 0: all
	TopP              float64 // only the best tokens that together have at least this probability; 1: all
	MinP              float64 // only tokens with at least this share of the best token's probability; 0: all
	RepetitionPenalty float64 // divides positive logits of tokens that occurred, multiplies negative ones; 1: none
	Seed              uint64
}

// DefaultSampling is moderately free.
func DefaultSampling() Sampling {
	return Sampling{Temperature: 0.8, TopP: 0.95, RepetitionPenalty: 1}
}

// Validate names the first option that is out of range.
func (o *Sampling) Validate() error {
	for _, f := range []struct {
		name   string
		value  float64
		ok     bool
		expect string
	}{
		{"temperature", o.Temperature, o.Temperature >= 0 && o.Temperature <= 100, "0 (take the best token) to 100"},
		{"top_k", float64(o.TopK), o.TopK >= 0, "1 or more, or 0 for all tokens"},
		{"top_p", o.TopP, o.TopP > 0 && o.TopP <= 1, "above 0, up to 1 (all tokens)"},
		{"min_p", o.MinP, o.MinP >= 0 && o.MinP <= 1, "0 (all tokens) to 1"},
		{"repetition_penalty", o.RepetitionPenalty, o.RepetitionPenalty > 0 && o.RepetitionPenalty <= 100, "above 0, up to 100; 1 is none"},
	} {
		if !f.ok {
			return fmt.Errorf("%s: %v: expected %s", f.name, f.value, f.expect)
		}
	}
	return nil
}

// errNotFinite means that the weights are no use.
var errNotFinite = errors.New("logits are not finite: the weights are damaged, or their training diverged; use an earlier checkpoint")

// Sampler draws tokens for one text at a time. The same seed, options and logits draw the same tokens; of equal logits the lower token comes
// first. It allocates only when it is made.
type Sampler struct {
	opt    Sampling
	scale  float64 // 1/temperature
	rng    *rand.PCG
	heap   []candidate // room for every token
	popped int         // tokens that have been taken from the heap
	sum    []float64   // [v] running sums of probabilities
	seen   []bool      // [v] tokens that occurred
	listed []int32     // the same as a list
}

type candidate struct {
	logit float32
	id    int32
}

// before orders candidates: the higher logit, of equal ones the lower token.
func (a candidate) before(b candidate) bool {
	return a.logit > b.logit || a.logit == b.logit && a.id < b.id
}

// NewSampler returns a sampler for a vocabulary. Reset must come before the first Sample.
func NewSampler(vocab int) *Sampler {
	return &Sampler{rng: rand.NewPCG(0, 0), heap: make([]candidate, 0, vocab), sum: make([]float64, vocab), seen: make([]bool, vocab), listed: make([]int32, 0, vocab)}
}

// Reset starts another text. Texts with one seed but different streams are drawn independently.
func (s *Sampler) Reset(o Sampling, stream uint64) error {
	if err := o.Validate(); err != nil {
		return err
	}
	s.opt, s.scale = o, 1/max(o.Temperature, math.SmallestNonzeroFloat32)
	s.rng.Seed(o.Seed, stream)
	for _, id := range s.listed {
		s.seen[id] = false
	}
	s.listed = s.listed[:0]
	return nil
}

// Observe tells the repetition penalty about tokens of the text.
func (s *Sampler) Observe(tokens ...int32) {
	for _, id := range tokens {
		if !s.seen[id] {
			s.seen[id] = true
			s.listed = append(s.listed, id)
		}
	}
}

// Sample draws a token from logits[v], which it changes.
func (s *Sampler) Sample(logits []float32) (int32, error) {
	s.penalize(logits)
	best, err := bestOf(logits)
	if err != nil || s.opt.Temperature == 0 || s.opt.TopK == 1 {
		return best, err
	}
	top := logits[best]
	if s.opt.TopP == 1 && (s.opt.TopK == 0 || s.opt.TopK >= len(logits)) {
		return s.drawAll(logits, top), nil
	}
	total := s.shortlist(logits, top)
	k := len(s.heap)
	if s.opt.TopK > 0 && s.opt.TopK < len(logits) {
		k = s.opt.TopK
		total = 0
		for i := range k { // the probabilities are those among the best k
			total += s.share(s.ranked(i).logit, top)
		}
	}
	n, sum := 0, 0.0
	for ; n < k && sum < s.opt.TopP*total; n++ {
		w := s.share(s.ranked(n).logit, top)
		if n > 0 && w < s.opt.MinP {
			break
		}
		sum += w
		s.sum[n] = sum
	}
	u := s.uniform() * sum
	for i := range n - 1 {
		if u < s.sum[i] {
			return s.ranked(i).id, nil
		}
	}
	return s.ranked(n - 1).id, nil
}

// share is the probability of a logit as a share of the best token's.
func (s *Sampler) share(logit, top float32) float64 {
	return expNegative(float64(logit-top) * s.scale)
}

// penalize applies the repetition penalty.
func (s *Sampler) penalize(logits []float32) {
	p := float32(s.opt.RepetitionPenalty)
	if p == 1 {
		return
	}
	for _, id := range s.listed {
		if logits[id] > 0 {
			logits[id] /= p
		} else {
			logits[id] *= p
		}
	}
}

// bestOf is the first index of the largest logit.
func bestOf(logits []float32) (int32, error) {
	best, top := 0, float32(math.Inf(-1))
	for i, v := range logits {
		if !(v <= top) {
			if v != v {
				return 0, errNotFinite
			}
			best, top = i, v
		}
	}
	if math.IsInf(float64(top), 0) {
		return 0, errNotFinite
	}
	return int32(best), nil
}

// drawAll draws among all tokens that min-p leaves.
func (s *Sampler) drawAll(logits []float32, top float32) int32 {
	sum, last := 0.0, 0
	for i, v := range logits {
		if w := s.share(v, top); w > 0 && w >= s.opt.MinP {
			sum += w
			last = i
		}
		s.sum[i] = sum
	}
	u := s.uniform() * sum
	for i, below := range s.sum[:last] {
		if u < below {
			return int32(i)
		}
	}
	return int32(last)
}

// uniform is in [0, 1).
func (s *Sampler) uniform() float64 { return float64(s.rng.Uint64()>>11) / (1 << 53) }

// buckets divide the logits below the best one, an eighth each; the last one takes the rest.
const buckets = 256

func bucket(logit, top float32) int {
	if below := (top - logit) * 8; below < buckets-1 {
		return int(below)
	}
	return buckets - 1
}

// shortlist makes a heap, its best at the root, of the tokens among which those that top-k leaves, or without it those that top-p
// leaves, surely are. It returns the sum of the shares of all tokens unless top-k is on, when it has no need of it.
func (s *Sampler) shortlist(logits []float32, top float32) (total float64) {
	var held [buckets]float64 // tokens under top-k, otherwise shares
	need := float64(s.opt.TopK)
	if s.opt.TopK > 0 && s.opt.TopK < len(logits) {
		for _, v := range logits {
			held[bucket(v, top)]++
		}
	} else {
		for _, v := range logits {
			w := s.share(v, top)
			held[bucket(v, top)] += w
			total += w
		}
		need = s.opt.TopP * total
	}
	last := 0
	for sum := held[0]; sum < need && last < buckets-1; sum += held[last] {
		last++
	}
	s.heap, s.popped = s.heap[:0], 0
	for i, v := range logits {
		if bucket(v, top) <= last {
			s.heap = append(s.heap, candidate{v, int32(i)})
		}
	}
	for i := len(s.heap)/2 - 1; i >= 0; i-- {
		s.sift(i)
	}
	return total
}

// ranked is the i-th best token. Those that were asked for stand behind the heap, the best one last.
func (s *Sampler) ranked(i int) candidate {
	for s.popped <= i {
		last := len(s.heap) - 1
		s.heap[0], s.heap[last] = s.heap[last], s.heap[0]
		s.heap = s.heap[:last]
		s.sift(0)
		s.popped++
	}
	all := s.heap[:len(s.heap)+s.popped]
	return all[len(all)-1-i]
}

// sift moves the i-th entry of the heap down to its place.
func (s *Sampler) sift(i int) {
	h := s.heap
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1].before(h[child]) {
			child++
		}
		if !h[child].before(h[i]) {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// powers are 2^(i/256).
var powers = func() (p [256]float64) {
	for i := range p {
		p[i] = math.Exp2(float64(i) / 256)
	}
	return p
}()

// expNegative is e^x for x ≤ 0 to about nine digits, several times as fast as math.Exp: a vocabulary is long.
func expNegative(x float64) float64 {
	if !(x > -700) {
		return 0
	}
	n := int(x*(256/math.Ln2) - 0.5)
	r := x - float64(n)*(math.Ln2/256) // at most 0.0014
	power := math.Float64frombits(uint64(1023+n>>8) << 52)
	return power * powers[n&255] * (1 + r*(1+r*(0.5+r*(1.0/6))))
}
