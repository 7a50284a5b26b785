// Package optim turns gradients into steps: AdamW with norm clipping on one flat slab of parameters, learning-rate
// schedules, and a z-score that tells an outlying loss from an ordinary one.
package optim

import (
	"fmt"
	"math"

	"mor/internal/parallel"
)

// Config holds the settings that all parameters share. The names in errors are those of a configuration file.
type Config struct {
	Beta1, Beta2 float64 // decay of the first and second moment, in [0, 1)
	Eps          float64 // added to the root of the second moment, above 0
	WeightDecay  float64 // decoupled: a step shrinks decayed parameters by the factor 1 - lr*WeightDecay
	Clip         float64 // largest gradient norm of a clip group; 0 never clips
}

// Validate names the first setting that makes no sense.
func (c Config) Validate() error {
	for _, s := range []struct {
		name, expected string
		value          float64
		ok             bool
	}{
		{"beta1", "at least 0 and below 1", c.Beta1, c.Beta1 >= 0 && c.Beta1 < 1},
		{"beta2", "at least 0 and below 1", c.Beta2, c.Beta2 >= 0 && c.Beta2 < 1},
		{"eps", "above 0", c.Eps, c.Eps > 0},
		{"weight_decay", "at least 0", c.WeightDecay, c.WeightDecay >= 0},
		{"clip", "at least 0", c.Clip, c.Clip >= 0},
	} {
		if !s.ok || math.IsInf(s.value, 0) {
			return fmt.Errorf("%s is %v, expected %s", s.name, s.value, s.expected)
		}
	}
	return nil
}

// Segment is a range of the slab whose parameters are treated alike, as a rule one tensor.
type Segment struct {
	Offset, Len int
	Decay       bool    // weight decay applies: matrices yes, norms no
	LRScale     float32 // multiplies the learning rate, above 0
	ClipGroup   int     // segments of one group share a norm and are clipped together; groups count from 0
}

// blockLen is how many elements are reduced and updated together. It is part of the result: a norm is the sum of block
// sums in the order of blocks, whoever computes them.
const blockLen = 4096

// blocksPerTask keeps what a worker claims at once near 0.1 ms of work.
const blocksPerTask = 8

// block is a range of the slab inside one segment.
type block struct{ lo, hi, segment int }

// AdamW is the optimizer of Loshchilov & Hutter (2019), arXiv:1711.05101, as torch.optim.AdamW computes it. M, V and
// Steps are all of its state: a checkpoint saves them and a resumed run sets them. It is not safe for concurrent use.
type AdamW struct {
	M, V  []float32 // first and second moment, as long as the slab
	Steps int       // updates done

	config   Config
	segments []Segment
	blocks   []block
	norms    []float64 // [clip group]
	norm     normTask
	update   updateTask
}

// NewAdamW makes an optimizer for a slab of size parameters. The segments must be in the order of their offsets and must
// not overlap; parameters between them are left alone.
func NewAdamW(c Config, segments []Segment, size int) (*AdamW, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	a := &AdamW{M: make([]float32, size), V: make([]float32, size), config: c, segments: segments}
	end, groups := 0, 0
	for i, s := range segments {
		if s.Offset < end || s.Len < 0 || s.Len > size-s.Offset {
			return nil, fmt.Errorf("segment %d is [%d, %d+%d), expected it inside [%d, %d)", i, s.Offset, s.Offset, s.Len, end, size)
		}
		if !(s.LRScale > 0) || math.IsInf(float64(s.LRScale), 0) {
			return nil, fmt.Errorf("segment %d: LRScale is %v, expected above 0", i, s.LRScale)
		}
		if s.ClipGroup < 0 || s.ClipGroup >= len(segments) {
			return nil, fmt.Errorf("segment %d: ClipGroup is %d, expected from 0 to %d", i, s.ClipGroup, len(segments)-1)
		}
		groups = max(groups, s.ClipGroup+1)
		end = s.Offset + s.Len
		for lo := s.Offset; lo < end; lo += blockLen {
			a.blocks = append(a.blocks, block{lo, min(lo+blockLen, end), i})
		}
	}
	a.norms = make([]float64, groups)
	a.norm = normTask{blocks: a.blocks, sums: make([]float64, len(a.blocks))}
	a.update = updateTask{blocks: a.blocks, coefficients: make([]coefficients, len(segments))}
	return a, nil
}

// Norms returns the Euclidean norm of the gradients of each clip group, before clipping, and the index of the first segment
// with a NaN or an infinity in it, -1 where there is none. grads has the slab's length; the returned slice is overwritten
// by the next call. The result does not depend on the number of workers.
func (a *AdamW) Norms(pool *parallel.Pool, grads []float32) (norms []float64, nonFinite int) {
	a.norm.grads = grads
	pool.Run(len(a.blocks), blocksPerTask, &a.norm)
	clear(a.norms)
	nonFinite = -1
	for i, b := range a.blocks {
		sum := a.norm.sums[i]
		if nonFinite < 0 && (math.IsNaN(sum) || math.IsInf(sum, 0)) {
			nonFinite = b.segment
		}
		a.norms[a.segments[b.segment].ClipGroup] += sum
	}
	for i, sum := range a.norms {
		a.norms[i] = math.Sqrt(sum)
	}
	return a.norms, nonFinite
}

// Update does one step: it clips each group by its norm, as Norms returned them for the same gradients, updates the moments
// and moves params. lr is the learning rate of this step. params and grads have the slab's length; grads stay as they are.
// The result does not depend on the number of workers.
func (a *AdamW) Update(pool *parallel.Pool, params, grads []float32, norms []float64, lr float64) {
	a.Steps++
	c := a.config
	correction1 := 1 - math.Pow(c.Beta1, float64(a.Steps))
	correction2 := 1 - math.Pow(c.Beta2, float64(a.Steps))
	for i, s := range a.segments {
		segmentLR := lr * float64(s.LRScale)
		keep := 1.0
		if s.Decay {
			keep = 1 - segmentLR*c.WeightDecay
		}
		a.update.coefficients[i] = coefficients{
			gradScale: float32(clipScale(c.Clip, norms[s.ClipGroup])),
			keep:      float32(keep),
			beta2:     float32(c.Beta2),
			rate1:     float32(1 - c.Beta1),
			rate2:     float32(1 - c.Beta2),
			rootScale: float32(1 / math.Sqrt(correction2)),
			eps:       float32(c.Eps),
			step:      float32(segmentLR / correction1),
		}
	}
	a.update.params, a.update.grads, a.update.m, a.update.v = params, grads, a.M, a.V
	pool.Run(len(a.blocks), blocksPerTask, &a.update)
}

// clipScale is the factor of torch.nn.utils.clip_grad_norm_.
func clipScale(clip, norm float64) float64 {
	if clip == 0 {
		return 1
	}
	return min(1, clip/(norm+1e-6))
}

type normTask struct {
	blocks []block
	grads  []float32
	sums   []float64 // [block]
}

func (t *normTask) Do(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		b := t.blocks[i]
		t.sums[i] = sumSquares(t.grads[b.lo:b.hi])
	}
}

// sumSquares adds in four lanes, so that additions need not wait for one another. A square of a float32 is exact and
// finite in float64, so the sum is finite exactly if every element is.
func sumSquares(x []float32) float64 {
	var s0, s1, s2, s3 float64
	for ; len(x) >= 4; x = x[4:] {
		a, b, c, d := float64(x[0]), float64(x[1]), float64(x[2]), float64(x[3])
		s0 += a * a
		s1 += b * b
		s2 += c * c
		s3 += d * d
	}
	for _, x := range x {
		s0 += float64(x) * float64(x)
	}
	return (s0 + s1) + (s2 + s3)
}

type updateTask struct {
	blocks              []block
	coefficients        []coefficients // [segment]
	params, grads, m, v []float32
}

func (t *updateTask) Do(_, lo, hi int) {
	for _, b := range t.blocks[lo:hi] {
		adamw(t.params[b.lo:b.hi], t.m[b.lo:b.hi], t.v[b.lo:b.hi], t.grads[b.lo:b.hi], &t.coefficients[b.segment])
	}
}

// coefficients are what adamw needs to know of a segment in a step.
type coefficients struct {
	gradScale float32 // from clipping
	keep      float32 // 1 - lr*weight decay
	beta2     float32
	rate1     float32 // 1 - beta1
	rate2     float32 // 1 - beta2
	rootScale float32 // 1/sqrt(1 - beta2^t)
	eps       float32
	step      float32 // lr/(1 - beta1^t)
}

// adamw updates parameters and moments of equal length by their gradients. The conversions of products keep the compiler
// from fusing them into sums, so that every build computes the same.
func adamw(params, m, v, grads []float32, c *coefficients) {
	m, v, grads = m[:len(params)], v[:len(params)], grads[:len(params)]
	for i, p := range params {
		g := grads[i] * c.gradScale
		mi := m[i] + float32(c.rate1*(g-m[i]))
		vi := float32(c.beta2*v[i]) + float32(c.rate2*float32(g*g))
		m[i], v[i] = mi, vi
		root := float32(math.Sqrt(float64(vi)))
		params[i] = float32(p*c.keep) - float32(c.step*mi)/(float32(root*c.rootScale)+c.eps)
	}
}
