package bench

import (
	"math/rand/v2"
	"runtime/debug"

	"mor/internal/kernel"
	"mor/internal/memory"
	"mor/internal/model"
	"mor/internal/optim"
	"mor/internal/train"
)

// Step is a training step on random tokens, measured.
type Step struct {
	Size        string          `json:"size"`
	Kind        string          `json:"kind"`
	Dtype       string          `json:"dtype"`
	Batch       int             `json:"batch"`
	Context     int             `json:"context"`
	Parameters  int             `json:"parameters"`
	Spread      Spread          `json:"time"`
	TokensPerS  float64         `json:"tokens_per_s"` // of the median
	FLOPs       float64         `json:"flops"`        // of a step, at the shares of tokens that ran each recursion
	FLOPS       float64         `json:"flops_per_s"`
	Share       float64         `json:"share_of_peak"` // of the peak of products of the type, measured between the steps
	ForwardTime float64         `json:"forward_s"`
	MeanDepth   float64         `json:"mean_depth"`
	Routing     string          `json:"routing,omitempty"` // of an expert-choice model: topk, as in training
	FLOPsSaved  float64         `json:"flops_saved"`       // share, against the first model measured
	TimeSaved   float64         `json:"time_saved"`        // share, both times in units of the peak at the time
	Expected    train.Footprint `json:"expected_memory"`
	PeakMemory  int64           `json:"peak_memory"` // bytes, of this step alone where the system can tell, otherwise of the process so far

	Kernels []KernelUse `json:"kernels"` // the roofline table
}

// Against fills in what a step saves against another.
func (s *Step) Against(base *Step) {
	s.FLOPsSaved = 1 - s.FLOPs/base.FLOPs
	s.TimeSaved = 1 - s.FLOPs/s.Share/(base.FLOPs/base.Share)
}

// Savings of memory and time that a step runs with.
type Savings struct {
	Dtype       model.Dtype
	Recompute   model.Recompute
	BF16Moments bool
}

// TrainStep measures forward, backward, clipping and AdamW of a model on batch sequences of context tokens, after one step to warm up. It refuses what
// the memory does not suffice for.
func TrainStep(c *model.Config, cpu *kernel.CPU, batch, context, repetitions int, save Savings) (Step, error) {
	top := peaks{0, 0, cpu.Bandwidth()}
	debug.FreeOSMemory() // what earlier measurements left
	memory.ResetPeak()
	expected := train.Measure(c, cpu, batch, context, true, save.Recompute, save.Dtype, save.BF16Moments, memory.Resident())
	if err := expected.Fits("lower --batch, or keep less with --recompute all or --optimizer-dtype bf16"); err != nil {
		return Step{}, err
	}
	m := model.New(c, cpu)
	m.Init(1)
	rng := rand.New(rand.NewPCG(1, 2))
	var rows [][]int32
	for range batch {
		s := make([]int32, context)
		for i := range s {
			s[i] = rng.Int32N(int32(c.VocabSize))
		}
		rows = append(rows, s)
	}
	b := model.NewBatch(rows...)
	b.Targets = append(b.Tokens[1:len(b.Tokens):len(b.Tokens)], -1)
	opt, err := optim.NewAdamW(optim.Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, Clip: 1, BF16: save.BF16Moments}, train.Segments(m.Layout), m.Layout.Size)
	if err != nil {
		return Step{}, err
	}
	s := &stepper{m: m, opt: opt, batch: b, tape: m.NewTape(), grads: memory.Make[float32](m.Layout.Size)}
	s.tape.Recompute = save.Recompute
	m.SetDtype(save.Dtype)
	var times, forwards, shares []float64
	var work, seconds float64
	defer cpu.Profile(false)
	for i := range repetitions + 1 {
		if i == 1 {
			cpu.Profile(true)
		}
		peak := peakOf(cpu, save.Dtype)
		forward := elapsed(s.forward)
		t := forward + elapsed(s.backward)
		if s.err != nil {
			return Step{}, s.err
		}
		if work, s.err = s.flops(context); s.err != nil {
			return Step{}, s.err
		}
		if i > 0 {
			peak = peak/2 + peakOf(cpu, save.Dtype)/2
			times, forwards, shares = append(times, t), append(forwards, forward), append(shares, work/t/peak)
			top.bf16 += peak / float64(repetitions)
			top.flops += cpu.Peak() / float64(repetitions)
			seconds += t
		}
	}
	sp := spread(times)
	out := Step{Dtype: save.Dtype.String(), Batch: batch, Context: context, Parameters: m.Layout.Size, Spread: sp, TokensPerS: float64(b.Rows()) / sp.Median, FLOPs: work,
		FLOPS: work / sp.Median, Share: spread(shares).Median, ForwardTime: spread(forwards).Median, MeanDepth: s.meanDepth(), PeakMemory: memory.Peak(), Expected: expected,
		Kernels: rooflines(c, cpu.Usages(), repetitions, seconds, top)}
	if c.Expert() {
		out.Routing = model.TopK.String()
	}
	return out, nil
}

// peakOf is the peak of the products of a type.
func peakOf(cpu *kernel.CPU, d model.Dtype) float64 {
	if d == model.BF16 {
		return cpu.PeakBF16()
	}
	return cpu.Peak()
}

type stepper struct {
	m      *model.Model
	opt    *optim.AdamW
	batch  *model.Batch
	tape   *model.Tape
	grads  []float32
	losses model.Losses
	step   int
	err    error
}

// meanDepth is the mean number of recursions of the last forward pass.
func (s *stepper) meanDepth() float64 {
	sum := 0
	for _, d := range s.tape.Depth {
		sum += int(d)
	}
	return float64(sum) / float64(len(s.tape.Depth))
}

// flops counts the last step by the share of tokens that ran each recursion.
func (s *stepper) flops(context int) (float64, error) {
	c := s.m.Config
	shares := make([]float64, len(c.Shares()))
	for r := range shares {
		for _, d := range s.tape.Depth {
			if int(d) > r {
				shares[r]++
			}
		}
		shares[r] /= float64(len(s.tape.Depth))
	}
	cost, err := model.CountShares(c, context, shares)
	if err != nil {
		return 0, err
	}
	return cost.TrainFLOPs * float64(len(s.tape.Depth)), nil
}

func (s *stepper) forward() {
	s.step++
	s.m.ClearGradients(s.tape, s.grads)
	s.err = s.m.Forward(s.tape, s.batch, model.Mode{Routing: model.TopK, Training: true, Step: s.step}, true)
}

func (s *stepper) backward() {
	if s.err != nil {
		return
	}
	cpu := s.m.CPU()
	s.m.Backward(s.tape, s.grads, model.Norm{Targets: s.batch.Rows() - 1, Share: 1}, &s.losses)
	norms, _ := s.opt.Norms(cpu, s.grads)
	s.opt.Update(cpu, s.m.W, s.grads, norms, 1e-3)
	s.m.WeightsChanged()
}
