package train

import (
	"fmt"

	"mor/internal/kernel"
	"mor/internal/memory"
	"mor/internal/model"
)

// Footprint is the memory of a run by what it is for, in bytes: what is expected to be resident at most.
type Footprint struct {
	Weights   int64 `json:"weights"`
	Gradients int64 `json:"gradients"`
	Moments   int64 `json:"moments"`
	model.Footprint
	Kernels int64 `json:"kernels"` // operands laid out for products, partial sums of attention
	Process int64 `json:"process"` // the program, the tokenizer and the data
	Peak    int64 `json:"peak"`    // the sum
}

// programBytes is what the program takes by itself.
const programBytes = 24 << 20

// Measure computes the footprint of steps that compute so many sequences of context tokens at once on a CPU. process is what is resident beside it; 0 means
// the bare program. In a step of one pass gradients come where the tape was given up.
func Measure(c *model.Config, cpu *kernel.CPU, sequences, context int, onePass bool, recompute model.Recompute, dtype model.Dtype, bf16Moments bool, process int64) Footprint {
	size := int64(model.Count(c, context).Parameters.Total)
	f := Footprint{Weights: 4 * size, Gradients: 4 * size, Moments: 8 * size, Footprint: model.TrainingFootprint(c, sequences, context, recompute, dtype), Process: process}
	if bf16Moments {
		f.Moments = 4 * size
	}
	if process == 0 {
		f.Process = programBytes
	}
	f.Kernels = model.KernelBytes(c, cpu, sequences, context, dtype)
	if !onePass {
		f.Overlap = 0
	}
	f.Peak = f.needed() + f.Process
	return f
}

// Footprint of the run that the valid options describe, beside what the process holds already. The peak is that of the process so far where that is more.
func (o *Options) Footprint(cpu *kernel.CPU) Footprint {
	recompute, _ := model.ParseRecompute(o.Recompute)
	dtype, _ := model.ParseDtype(o.Dtype)
	f := Measure(o.Model, cpu, o.MicroBatch, o.Context, o.MicroBatch == o.Batch, recompute, dtype, o.OptimizerDtype == "bf16", memory.Resident())
	f.Peak = max(f.Peak, memory.Peak())
	return f
}

// needed is what the run takes beside the process as it is.
func (f *Footprint) needed() int64 {
	return f.Weights + f.Gradients + f.Moments + f.Tape + f.Backward + f.Kernels - f.Overlap
}

// Fits refuses a run that the memory does not suffice for. advice says what to do.
func (f *Footprint) Fits(advice string) error {
	free, _ := memory.Available()
	if need := f.needed(); !memory.Fits(need) {
		return fmt.Errorf("memory: expected to take %.2f GB more, %.2f GB are free (machine and control groups): %s", float64(need)/1e9, float64(free)/1e9, advice)
	}
	return nil
}
