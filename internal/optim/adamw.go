// Package optim turns gradients into steps: AdamW with norm clipping on one flat slab of parameters, learning-rate
// schedules, and a z-score that tells an outlying loss from an ordinary one.
package optim

import (
	"fmt"
	"math"

	"mor/internal/kernel"
	"mor/internal/memory"
)

// Config holds the settings that all parameters share. The names in errors are those of a configuration file.
type Config struct {
	Beta1, Beta2 float64 // decay of the first and second moment, in [0, 1)
	Eps          float64 // added to the root of the second moment, above 0
	WeightDecay  float64 // decoupled: a step shrinks decayed parameters by the factor 1 - lr*WeightDecay
	Clip         float64 // largest gradient norm of a clip group; 0 never clips
	BF16         bool    // moments are kept in bfloat16, rounded stochastically: each value is right on average
	Seed         uint64  // of the rounding
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
// Steps are all of its state (with bfloat16 moments M16 and V16 take their place): a checkpoint saves them and a resumed run sets them. It is not
// safe for concurrent use.
type AdamW struct {
	M, V     []float32 // first and second moment, as long as the slab
	M16, V16 []uint16  // the same in bfloat16
	Steps    int       // updates done

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
	a := &AdamW{config: c, segments: segments}
	if c.BF16 {
		a.M16, a.V16 = memory.Make[uint16](size), memory.Make[uint16](size)
	} else {
		a.M, a.V = memory.Make[float32](size), memory.Make[float32](size)
	}
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
	a.update = updateTask{blocks: a.blocks, coefficients: make([]kernel.AdamW, len(segments))}
	return a, nil
}

// Norms returns the Euclidean norm of the gradients of each clip group, before clipping, and the index of the first segment
// with a NaN or an infinity in it, -1 where there is none. grads has the slab's length; the returned slice is overwritten
// by the next call. The result does not depend on the number of workers.
func (a *AdamW) Norms(cpu *kernel.CPU, grads []float32) (norms []float64, nonFinite int) {
	defer cpu.Done(cpu.Start(), kernel.Work{Kernel: "gradient norm", Bytes: 4 * float64(len(grads))})
	a.norm.grads, a.norm.level = grads, cpu.Level()
	cpu.Pool().Run(len(a.blocks), blocksPerTask, &a.norm)
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
func (a *AdamW) Update(cpu *kernel.CPU, params, grads []float32, norms []float64, lr float64) {
	defer cpu.Done(cpu.Start(), a.work(len(params)))
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
		a.update.coefficients[i] = kernel.AdamW{
			GradScale: float32(clipScale(c.Clip, norms[s.ClipGroup])),
			Keep:      float32(keep),
			Beta2:     float32(c.Beta2),
			Rate1:     float32(1 - c.Beta1),
			Rate2:     float32(1 - c.Beta2),
			RootScale: float32(1 / math.Sqrt(correction2)),
			Eps:       float32(c.Eps),
			Step:      float32(segmentLR / correction1),
		}
	}
	u := &a.update
	u.params, u.grads, u.m, u.v = params, grads, a.M, a.V
	u.wide.m, u.wide.v, u.wide.key = a.M16, a.V16, roundingKey(c.Seed, a.Steps)
	if n := cpu.Pool().Workers(); c.BF16 && len(u.wide.scratch) < n {
		u.wide.scratch = make([][2][blockLen]float32, n)
	}
	a.update.level = cpu.Level()
	cpu.Pool().Run(len(a.blocks), blocksPerTask, &a.update)
}

// work is a step over n parameters: they and both moments are read and written, gradients read.
func (a *AdamW) work(n int) kernel.Work {
	moment := 4
	if a.config.BF16 {
		moment = 2
	}
	return kernel.Work{Kernel: "adamw", Bytes: float64(n) * float64(3*4+4*moment)}
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
	level  kernel.Level
}

func (t *normTask) Do(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		b := t.blocks[i]
		t.sums[i] = kernel.SumSquares(t.level, t.grads[b.lo:b.hi])
	}
}

type updateTask struct {
	blocks              []block
	coefficients        []kernel.AdamW // [segment]
	params, grads, m, v []float32
	level               kernel.Level
	wide                widening
}

func (t *updateTask) Do(worker, lo, hi int) {
	for _, b := range t.blocks[lo:hi] {
		c := &t.coefficients[b.segment]
		if t.wide.m != nil {
			t.wide.update(c, t.level, worker, t.params, t.grads, b)
			continue
		}
		c.Update(t.level, t.params[b.lo:b.hi], t.m[b.lo:b.hi], t.v[b.lo:b.hi], t.grads[b.lo:b.hi])
	}
}
