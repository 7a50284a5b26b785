package infer

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"

	"mor/internal/kernel"
)

// errNotFinite means that the weights are no use.
var errNotFinite = errors.New("logits are not finite: the weights are damaged, or their training diverged; use an earlier checkpoint")

// Sampler draws tokens for one text at a time. The same seed, options and logits draw the same tokens on CPUs of one level; of equal logits the lower token
// comes first. It allocates only at the first token that it draws, and at the first that a penalty has to count.
type Sampler struct {
	*draft
	opt    Sampling
	scale  float64 // 1/temperature
	rng    rand.PCG
	place  []int32    // [v] place of a token in occurred, plus 1; 0: it did not occur
	listed []occurred // the tokens that occurred
	vocab  int
	marked int // listed tokens when mark was called
}

// occurred is a token of the text.
type occurred struct {
	id        int32
	generated int32 // how often it was generated
}

// draft is the memory of a draw. Samplers can share one as long as they draw one after the other.
type draft struct {
	cpu    *kernel.CPU
	heap   []candidate // room for every token
	popped int         // tokens that have been taken from the heap
	sum    []float64   // [v] running sums of probabilities
	shares []float32   // [v] probabilities as shares of the best one's
	blocks []float64   // sums of blocks of them
	raw    []float32   // [v] logits as the model gave them
}

// room makes room for a draw from a vocabulary, which taking the best token does without.
func (d *draft) room(vocab int) {
	if len(d.sum) < vocab {
		d.heap, d.sum = make([]candidate, 0, vocab), make([]float64, vocab)
	}
}

type candidate struct {
	logit float32
	id    int32
}

// before orders candidates: the higher logit, of equal ones the lower token.
func (a candidate) before(b candidate) bool {
	return a.logit > b.logit || a.logit == b.logit && a.id < b.id
}

// NewSampler returns a sampler for a vocabulary, whose draws are the caller's to compute. Reset must come before the first Sample.
func NewSampler(cpu *kernel.CPU, vocab int) *Sampler {
	return &Sampler{draft: &draft{cpu: cpu}, vocab: vocab}
}

// Reset starts another text. Texts with one seed but different streams are drawn independently.
func (s *Sampler) Reset(o Sampling, stream uint64) error {
	if err := o.Validate(); err != nil {
		return err
	}
	s.opt, s.scale = o, 1/max(o.Temperature, math.SmallestNonzeroFloat32)
	s.rng.Seed(o.Seed, stream)
	for _, t := range s.listed {
		s.place[t.id] = 0
	}
	s.listed = s.listed[:0]
	if s.counts() && s.place == nil {
		s.place = make([]int32, s.vocab)
	}
	return nil
}

// counts tells whether a penalty has to know which tokens occurred.
func (s *Sampler) counts() bool {
	return s.opt.RepetitionPenalty != 1 || s.opt.PresencePenalty != 0 || s.opt.FrequencyPenalty != 0
}

// Observe tells the penalties about tokens of the prompt.
func (s *Sampler) Observe(tokens ...int32) {
	for _, id := range tokens {
		s.observe(id, 0)
	}
}

// Generated tells the penalties about a token of the text.
func (s *Sampler) Generated(id int32) { s.observe(id, 1) }

// mark remembers which tokens occurred, for rewind.
func (s *Sampler) mark() { s.marked = len(s.listed) }

// rewind takes back the tokens that were generated since mark.
func (s *Sampler) rewind(tokens []int32) {
	if !s.counts() {
		return
	}
	for _, id := range tokens {
		s.listed[s.place[id]-1].generated--
	}
	for _, t := range s.listed[s.marked:] {
		s.place[t.id] = 0
	}
	s.listed = s.listed[:s.marked]
}

func (s *Sampler) observe(id, generated int32) {
	if !s.counts() {
		return
	}
	if s.place[id] == 0 {
		s.listed = append(s.listed, occurred{id: id})
		s.place[id] = int32(len(s.listed))
	}
	s.listed[s.place[id]-1].generated += generated
}

// Sample draws a token from logits[v], which it changes.
func (s *Sampler) Sample(logits []float32) (int32, error) {
	for id, b := range s.opt.LogitBias {
		logits[id] += b
	}
	s.penalize(logits)
	best, err := s.best(logits)
	if err != nil || s.opt.Temperature == 0 || s.opt.TopK == 1 {
		return best, err
	}
	s.room(len(logits))
	top := logits[best]
	if s.typical() {
		return s.drawTypical(logits, top), nil
	}
	if s.opt.TopP == 1 && (s.opt.TopK == 0 || s.opt.TopK >= len(logits)) {
		return s.drawAll(logits, top), nil
	}
	total := s.shortlist(logits, top)
	k := len(s.heap)
	if s.opt.TopK > 0 && s.opt.TopK < len(logits) {
		k = s.opt.TopK
		total = 0
		for i := range k { // the probabilities are those among the best k
			total += float64(s.shares[s.ranked(i).id])
		}
	}
	n, sum := 0, 0.0
	for ; n < k && sum < s.opt.TopP*total; n++ {
		w := float64(s.shares[s.ranked(n).id])
		if n > 0 && (w < s.opt.MinP || w == 0) {
			break
		}
		sum += w
		s.sum[n] = sum
	}
	return s.ranked(s.pick(n, sum)).id, nil
}

// pick draws one of n tokens whose shares add up to sum, by the running sums in s.sum.
func (s *Sampler) pick(n int, sum float64) int {
	u := s.uniform() * sum
	for i := range n - 1 {
		if u < s.sum[i] {
			return i
		}
	}
	return n - 1
}

// share is the probability of a logit as a share of the best token's.
func (s *Sampler) share(logit, top float32) float64 {
	return expNegative(float64(logit-top) * s.scale)
}

// penalize applies the penalties.
func (s *Sampler) penalize(logits []float32) {
	p, presence, frequency := float32(s.opt.RepetitionPenalty), float32(s.opt.PresencePenalty), float32(s.opt.FrequencyPenalty)
	for _, t := range s.listed {
		v := logits[t.id]
		if v > 0 {
			v /= p
		} else {
			v *= p
		}
		if t.generated > 0 {
			v -= presence + frequency*float32(t.generated)
		}
		logits[t.id] = v
	}
}

// best is the first index of the largest logit.
func (s *Sampler) best(logits []float32) (int32, error) {
	at, top := 0, float32(math.Inf(-1)) // of the block that has it
	for lo := 0; lo < len(logits); lo += blockLen {
		t, numbers := s.cpu.Top(logits[lo:min(lo+blockLen, len(logits))])
		if !numbers {
			return 0, errNotFinite
		}
		if t > top {
			at, top = lo, t
		}
	}
	if math.IsInf(float64(top), 0) {
		return 0, errNotFinite
	}
	return int32(at + slices.Index(logits[at:], top)), nil
}

// drawAll draws among all tokens that min-p leaves.
func (s *Sampler) drawAll(logits []float32, top float32) int32 {
	s.weigh(logits, top, s.scale)
	least := float32(s.opt.MinP)
	total := 0.0
	for b := range s.blocks {
		if least > 0 {
			s.blocks[b] = 0
			for _, w := range s.block(b) {
				if w >= least {
					s.blocks[b] += float64(w)
				}
			}
		}
		total += s.blocks[b]
	}
	u, last := s.uniform()*total, 0
	for b, sum := range s.blocks {
		if u >= sum {
			u -= sum
			continue
		}
		for i, w := range s.block(b) {
			if w == 0 || w < least {
				continue
			}
			if last = b*blockLen + i; u < float64(w) {
				return int32(last)
			}
			u -= float64(w)
		}
		break // the sum was rounded otherwise
	}
	return int32(last)
}

// blockLen is how many tokens are swept together.
const blockLen = 1024

// weigh computes the share e^((logit−top)·scale) of each token, and the sums of blocks of them, which together are returned.
func (d *draft) weigh(logits []float32, top float32, scale float64) (total float64) {
	if cap(d.shares) < len(logits) {
		d.shares, d.blocks = make([]float32, len(logits)), make([]float64, 0, (len(logits)+blockLen-1)/blockLen)
	}
	d.shares, d.blocks = d.shares[:len(logits)], d.blocks[:0]
	for at := 0; at < len(logits); at += blockLen {
		end := min(at+blockLen, len(logits))
		sum := d.cpu.Shares(d.shares[at:end], logits[at:end], top, float32(min(scale, 1e30)))
		d.blocks = append(d.blocks, sum)
		total += sum
	}
	return total
}

// block is the shares of a block.
func (s *Sampler) block(b int) []float32 {
	return s.shares[b*blockLen : min((b+1)*blockLen, len(s.shares))]
}

// uniform is in [0, 1).
func (s *Sampler) uniform() float64 { return float64(s.rng.Uint64()>>11) / (1 << 53) }

// shortlist makes a heap, its best at the root, of the tokens among which those that top-k leaves, or without it those that top-p leaves, surely are. It returns
// the sum of the shares of all tokens.
func (s *Sampler) shortlist(logits []float32, top float32) (total float64) {
	total = s.weigh(logits, top, s.scale)
	cut := s.cut(total)
	s.heap, s.popped = s.heap[:0], 0
	for i, w := range s.shares {
		if w >= cut {
			s.heap = append(s.heap, candidate{logits[i], int32(i)})
		}
	}
	for i := len(s.heap)/2 - 1; i >= 0; i-- {
		s.sift(i)
	}
	return total
}

// cut is the highest power of two at or above which there are as many shares as top-k leaves, or without it shares of as much as top-p leaves; 0 where there is none.
func (s *Sampler) cut(total float64) float32 {
	const lanes = 4 // neighbours often have one exponent, and adding to one sum after the other takes its time
	if s.opt.TopK > 0 && s.opt.TopK < len(s.shares) {
		var counts [lanes][256]int32 // by exponent
		for i, w := range s.shares {
			counts[i%lanes][math.Float32bits(w)>>23&255]++
		}
		n := int32(0)
		for e := 127; e > 0; e-- {
			if n += counts[0][e] + counts[1][e] + counts[2][e] + counts[3][e]; int(n) >= s.opt.TopK {
				return math.Float32frombits(uint32(e) << 23)
			}
		}
		return 0
	}
	var sums [lanes][256]float64
	for i, w := range s.shares {
		sums[i%lanes][math.Float32bits(w)>>23&255] += float64(w)
	}
	sum := 0.0
	for e := 127; e > 0; e-- {
		if sum += sums[0][e] + sums[1][e] + sums[2][e] + sums[3][e]; sum >= s.opt.TopP*total {
			return math.Float32frombits(uint32(e) << 23)
		}
	}
	return 0
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
