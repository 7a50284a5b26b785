package model

import (
	"slices"

	"mor/internal/kernel"
)

// Footprint is what the passes of a training step hold beside weights, gradients and moments, in bytes.
type Footprint struct {
	Tape     int64 `json:"tape"`     // what forward keeps for backward
	Overlap  int64 `json:"overlap"`  // gradients that come where layers of the tape were given up, in a step of one pass
	Backward int64 `json:"backward"` // what backward adds at most: logits of some rows, gradients of activations, layers computed again
}

// TrainingFootprint computes what a pass over sequences of so many tokens each holds on a tape, at the shares of Config.Shares; a warm-up of capacity
// or balance begins with all rows.
func TrainingFootprint(c *Config, sequences, context int, recompute Recompute, dtype Dtype) Footprint {
	f := footprint{c: c, n: float64(sequences * context), recompute: recompute, rounds: c.rounds(dtype), shares: c.Shares()}
	if r := c.Router; r != nil && (r.CapacityWarmupSteps > 0 || r.BalanceWarmupSteps > 0) {
		for i := range f.shares {
			f.shares[i] = 1
		}
	}
	d := float64(c.HiddenSize)
	f.tape = f.n * (2*d + 1) // embedding, final norm
	chunk, v := headRows(sequences*context, c.VocabSize), float64(c.VocabSize)
	f.deepest = float64(logitRows(chunk, c.VocabSize, f.rounds))*v + float64(chunk)*(1+f.rounded(v+d))
	f.later = f.n * 2 * d // dnorm, dx
	if c.KVSharing() {
		f.keys = f.n * 2 * float64(c.KVDim()*c.BlockDepth()) // gradients of shared keys
	}
	for _, s := range NewPlan(c).Segments {
		f.segment(&s)
	}
	return Footprint{Tape: int64(4 * f.tape), Overlap: int64(4 * f.overlap()), Backward: int64(4 * (f.later + f.deepest + f.keys))}
}

// KernelBytes is what the kernels of a pass over sequences of so many tokens each lay out on a CPU, and the matrices that the model keeps laid out.
func KernelBytes(c *Config, cpu *kernel.CPU, sequences, context int, dtype Dtype) int64 {
	n, d, ffn := sequences*context, c.HiddenSize, c.IntermediateSize
	rows := n // of an FFN
	if c.MoE != nil {
		rows = n * c.MoE.ExpertsPerToken / c.MoE.NumExperts
	}
	bf16 := dtype == BF16 && cpu.HasBF16()
	operands := kernel.FloatOperands
	switch {
	case bf16 && c.rounds(dtype):
		operands = kernel.RowOperands
	case bf16:
		operands = kernel.RoundedOperands
	}
	size := cpu.Scratch(operands, kernel.Shape{N: headRows(n, c.VocabSize), In: d, Out: c.VocabSize}, kernel.Shape{N: rows, In: d, Out: 2 * ffn}, kernel.Shape{N: rows, In: ffn, Out: d},
		kernel.Shape{N: n, In: d, Out: c.QueryDim() + 2*c.KVDim()}, kernel.Shape{N: n, In: c.QueryDim(), Out: d})
	if bf16 {
		dtype = BF16
	} else {
		dtype = FP32
	}
	size += layoutBytes(c, dtype)
	return size + cpu.AttentionScratch(bf16, sequences, context, kernel.Heads{H: c.NumAttentionHeads, K: c.NumKeyValueHeads, E: c.HeadDim})
}

// footprint sums up values as forward and backward take them from the tape.
type footprint struct {
	c              *Config
	n              float64 // rows
	recompute      Recompute
	rounds         bool // activations to bfloat16
	shares         []float64
	tape           float64
	later          float64 // taken by backward and held to its end
	deepest        float64 // the most that one part of backward takes on top
	keys           float64
	layers         []layerUse
	before, passed float64 // rows that arrived at the recursion at hand, rows that ran it
}

// layerUse is an effective layer: whose weights, and how many values of the tape.
type layerUse struct {
	unique int
	tape   float64
}

// overlap is how many values of the layers' gradients need no memory of their own: backward gives up the tape of a layer before it comes to the gradients of
// the next.
func (f *footprint) overlap() float64 {
	if f.recompute != RecomputeNone {
		return 0
	}
	each := float64(countParameters(f.c).Layer)
	total, grown, given, most := 0.0, 0.0, 0.0, 0.0
	seen := map[int]bool{}
	for _, l := range slices.Backward(f.layers) {
		if !seen[l.unique] {
			seen[l.unique] = true
			total += each
			grown += each
		}
		most = max(most, grown-given)
		given += max(0, l.tape-hugePageValues) // pages at the ends are shared with the neighbours
	}
	return total - most
}

// hugePageValues is how many values of a layer's tape share pages with its neighbours.
const hugePageValues = 1 << 19

func (f *footprint) segment(s *Segment) {
	d, m := float64(f.c.HiddenSize), f.n
	scratch := 0.0
	if s.Recursion >= 0 {
		f.before = f.n
		if s.Recursion > 0 {
			f.before = f.passed
		}
		f.passed = f.shares[s.Recursion] * f.n
		m = f.passed
		scratch = f.gate(s, &m)
	}
	layer := 0.0
	for i := range s.Layers {
		l := &s.Layers[i]
		tape := m * f.layerTape(l)
		if l.KV == KVUpdate {
			tape += f.n * 2 * float64(f.c.KVDim())
		}
		f.layers = append(f.layers, layerUse{l.Unique, tape})
		if f.recompute == RecomputeNone {
			f.tape += tape
			tape = 0
		} else if f.c.KVSharing() && l.Recursion == 0 {
			f.tape += m * f.width(l)
		}
		layer = max(layer, tape+f.layerBackward(l, m))
	}
	if f.recompute != RecomputeNone {
		size := f.recompute.group(len(s.Layers))
		f.tape += float64((len(s.Layers)+size-1)/size) * m * d
		layer += float64(size-1) * m * d
		if f.c.KVSharing() && s.Recursion == 0 {
			layer += float64(size-1) * m * f.width(&s.Layers[0])
		}
	}
	f.deepest = max(f.deepest, scratch+layer)
}

// gate adds what the gate before a recursion keeps, and returns what its backward takes; m becomes the rows that run the layers.
func (f *footprint) gate(s *Segment, m *float64) (scratch float64) {
	c, d, picked := f.c, float64(f.c.HiddenSize), *m
	all := c.KVSharing() && s.Recursion == 0
	switch s.Gate {
	case GateExpert:
		routers := 1.0
		if c.Router.Balancing == "aux_router" {
			routers = 2
		}
		f.tape += f.before * (d + routers)
		if c.Router.Kind == "mlp" {
			f.tape += f.before * routers * 4 * d
		}
		scratch = picked*(d+1) + 2*f.before
	case GateToken:
		if s.Recursion == 0 {
			f.tape += f.n * (2*d + float64(2*c.Recursion.NumRecursion))
			f.later += f.n * float64(2*c.Recursion.NumRecursion)
			if c.Router.Kind == "mlp" {
				f.tape += f.n * 4 * d
			}
		}
		f.tape += picked * (d + 1)
		f.later += picked * (d + 2)
		return 0
	case GateFixed:
		scratch = picked * d
	default:
		return 0
	}
	if all {
		*m = f.n
		scratch += f.n * d
		if s.Gate == GateExpert {
			f.tape += picked * d
		}
	}
	f.tape += *m*d + 2*picked
	return scratch
}

// rounded is what so many values take in bfloat16, if they are rounded at all.
func (f *footprint) rounded(values float64) float64 {
	if f.rounds {
		return values / 2
	}
	return 0
}

func (f *footprint) width(l *Layer) float64 {
	if l.KV == KVRead {
		return float64(f.c.QueryDim())
	}
	return float64(f.c.QueryDim() + 2*f.c.KVDim())
}

// layerTape is what one row keeps in a layer.
func (f *footprint) layerTape(l *Layer) float64 {
	c, d, ffn := f.c, float64(f.c.HiddenSize), float64(f.c.IntermediateSize)
	v := d + f.width(l) + float64(c.QueryDim()+c.NumAttentionHeads) + 2
	if f.recompute == RecomputeNone {
		v += d // the output
	}
	if l.Encoding >= 0 {
		v += d
	}
	if c.MoE == nil {
		if f.rounds {
			return v + ffn
		}
		return v + 2*ffn
	}
	experts, k := float64(c.MoE.NumExperts), float64(c.MoE.ExpertsPerToken)
	return v + d + 2*experts + k + k*(2*d+3*ffn+1)
}

// layerBackward is what the backward of a layer of m rows takes for itself, or the end of its forward, if that is more.
func (f *footprint) layerBackward(l *Layer, m float64) float64 {
	c, d, ffn, q, width := f.c, float64(f.c.HiddenSize), float64(f.c.IntermediateSize), float64(f.c.QueryDim()), f.width(l)
	kept, normed := func(n float64) float64 { return n - f.rounded(n) }, 2*d-f.rounded(d)
	stream := d + 2*f.rounded(d) // the gradient before the FFN, and both rounded
	dense, forward := kept(ffn)+normed, kept(d)+kept(ffn)
	if f.rounds {
		dense += ffn
		forward += q/2 + 2*ffn
	}
	if c.MoE != nil {
		experts, k := float64(c.MoE.NumExperts), float64(c.MoE.ExpertsPerToken)
		stream, forward = 0, 0
		dense = 2*d + k + 2*experts + k*(3*d+ffn+2)/experts
	}
	held := stream + q + width // with what attention backward begins and ends with
	projected, updated := f.rounded(width)+normed, 0.0
	if l.KV == KVUpdate {
		updated = f.n * 2 * float64(c.KVDim())
	}
	most := max(m*forward, m*(held+dense+f.rounded(q))+updated, m*(held+projected))
	if l.Recursion >= 0 && c.Recursion.LoRA != nil {
		// What is there, with the input computed again.
		beside := map[string]float64{"o_proj": dense, "down_proj": dense + ffn, "gate_proj": dense + d, "up_proj": dense + d}
		for _, target := range c.Recursion.LoRA.Targets {
			there, ok := beside[target]
			if !ok {
				there = projected + d
			}
			_, out := c.projection(target)
			most = max(most, m*(held+there+float64(2*c.Recursion.LoRA.Rank+out))+updated)
		}
	}
	return most
}
