package infer

import (
	"cmp"
	"math"
	"slices"
)

// typical tells whether typical-p leaves tokens out.
func (s *Sampler) typical() bool { return s.opt.TypicalP > 0 && s.opt.TypicalP < 1 }

// drawTypical draws from the tokens that top-k, typical-p, top-p and min-p leave, in this order (locally typical sampling, arXiv 2202.00666): of the
// tokens whose surprise −log p is nearest to the entropy, as many as together have the probability TypicalP.
func (s *Sampler) drawTypical(logits []float32, top float32) int32 {
	s.heap = s.heap[:0]
	for i, v := range logits {
		if s.share(v, top) > 0 {
			s.heap = append(s.heap, candidate{v, int32(i)})
		}
	}
	slices.SortFunc(s.heap, byLogit)
	if s.opt.TopK > 0 {
		s.heap = s.heap[:min(s.opt.TopK, len(s.heap))]
	}
	total, mean := 0.0, 0.0 // mean of the scaled logits
	for _, c := range s.heap {
		w := s.share(c.logit, top)
		total += w
		mean += w * float64(c.logit) * s.scale
	}
	// −log p is log(Σ) − the scaled logit, and the entropy is its mean: their difference is that of the logits.
	mean /= total
	slices.SortFunc(s.heap, func(a, b candidate) int {
		x, y := math.Abs(float64(a.logit)*s.scale-mean), math.Abs(float64(b.logit)*s.scale-mean)
		if c := cmp.Compare(x, y); c != 0 {
			return c
		}
		return byLogit(a, b)
	})
	n, sum := 0, 0.0
	for ; n < len(s.heap) && sum < s.opt.TypicalP*total; n++ {
		sum += s.share(s.heap[n].logit, top)
	}
	s.heap = s.heap[:n]
	slices.SortFunc(s.heap, byLogit)
	return s.drawRanked(sum)
}

// byLogit orders the better candidate first.
func byLogit(a, b candidate) int {
	if a.before(b) {
		return -1
	}
	return 1
}

// drawRanked draws from the heap, which is in order, what top-p and min-p leave; total is the sum of the shares.
func (s *Sampler) drawRanked(total float64) int32 {
	top, n, sum := s.heap[0].logit, 0, 0.0
	for ; n < len(s.heap) && sum < s.opt.TopP*total; n++ {
		w := s.share(s.heap[n].logit, top)
		if n == 0 {
			total = 0 // shares are now those of the best token that is left
			for _, c := range s.heap {
				total += s.share(c.logit, top)
			}
		} else if w < s.opt.MinP || w == 0 {
			break
		}
		sum += w
		s.sum[n] = sum
	}
	return s.heap[s.pick(n, sum)].id
}
