package bench

import (
	"fmt"
	"slices"
	"strings"

	"mor/internal/kernel"
	"mor/internal/memory"
	"mor/internal/model"
	"mor/internal/optim"
	"mor/internal/quant"
	"mor/internal/strict"
)

// The kernels besides products are measured at the sizes of the 135M model, for a batch of 1x2048.
const (
	benchRows   = 2048
	benchHidden = 576
	benchFFN    = 1536
	benchVocab  = 49152
	benchChunk  = 64 // rows of logits
)

var benchHeads = kernel.Heads{H: 9, K: 3, E: 64}

// group is a number of kernels that belong together; add is called with each.
type group struct {
	name  string
	cases func(k *Kernels, cpu *kernel.CPU, add func(kernelCase)) error
}

var groups = []group{
	{"products", products},
	{"attention", attention},
	{"pointwise", pointwise},
	{"rows", rows},
	{"optimizer", optimizer},
	{"quantised", quantised},
}

// Groups names the groups of kernels.
func Groups() []string {
	var out []string
	for _, g := range groups {
		out = append(out, g.name)
	}
	return out
}

// CheckGroup refuses a name that is none of Groups.
func CheckGroup(name string) error {
	if !slices.Contains(Groups(), name) {
		return fmt.Errorf("%q: expected some of %s%s", name, strings.Join(Groups(), ", "), strict.Suggest(name, Groups()))
	}
	return nil
}

func (k *Kernels) group(cpu *kernel.CPU, name string, add func(kernelCase)) error {
	i := slices.IndexFunc(groups, func(g group) bool { return g.name == name })
	return groups[i].cases(k, cpu, add)
}

// products are those of a training step, forward and backward; those of bfloat16 with weights laid out ahead.
func products(k *Kernels, cpu *kernel.CPU, add func(kernelCase)) error {
	for _, s := range k.Shapes {
		n, in, out := s[0], s[1], s[2]
		x, w, y := values(n*in), values(in*out), values(n*out)
		run := []func(){
			func() { cpu.Linear(y, x, w, n, in, out, false) },
			func() { cpu.LinearBackwardInput(x, y, w, n, in, out, false) },
			func() { cpu.LinearBackwardWeight(w, y, x, n, in, out) },
		}
		if k.Dtype == model.BF16 && cpu.HasBF16() {
			forward, backward := cpu.PackBF16(nil, w, in, out), cpu.PackTransposedBF16(nil, w, in, out)
			run = []func(){
				func() { cpu.LinearBF16(y, x, forward, n, false) },
				func() { cpu.LinearBackwardInputBF16(x, y, backward, n, false) },
				func() { cpu.LinearBackwardWeightBF16(w, y, x, n, in, out) },
			}
		}
		for i, name := range []string{"linear", "dx", "dw"} {
			add(kernelCase{name, k.Dtype.String(), s[:], run[i]})
		}
	}
	return nil
}

// attention is causal, of one sequence and of four.
func attention(_ *Kernels, cpu *kernel.CPU, add func(kernelCase)) error {
	const n = benchRows
	a := benchHeads
	q, kv := a.H*a.E, 2*a.K*a.E
	qkv, o, lse, do, dqkv := values(n*(q+kv)), values(n*q), values(n*a.H), values(n*q), values(n*(q+kv))
	for _, sequences := range []int{1, 4} {
		span := kernel.Range{Lo: make([]int32, n), Hi: make([]int32, n)}
		for i := range span.Lo {
			span.Lo[i], span.Hi[i] = int32(i/(n/sequences)*(n/sequences)), int32(i+1)
		}
		shape := []int{sequences, n / sequences}
		add(kernelCase{"attention", "fp32", shape, func() { cpu.Attention(o, lse, qkv, qkv[q:], qkv[q+kv/2:], q+kv, q+kv, a, span) }})
		add(kernelCase{"attention backward", "fp32", shape, func() {
			cpu.AttentionBackward(dqkv, dqkv[q:], dqkv[q+kv/2:], do, o, lse, qkv, qkv[q:], qkv[q+kv/2:], q+kv, q+kv, q+kv, q+kv, a, span)
		}})
	}
	return nil
}

func pointwise(_ *Kernels, cpu *kernel.CPU, add func(kernelCase)) error {
	const n, d, f, v = benchRows, benchHidden, benchFFN, benchVocab
	a := benchHeads
	x, y, dx, w, rstd := values(n*d), values(n*d), values(n*d), values(d), values(n)
	gu, h, dgu, logits := values(n*2*f), values(n*f), values(n*2*f), values(benchChunk*v)
	qkv, table, index := values(n*(a.H+2*a.K)*a.E), values(n*a.E), make([]int32, n)
	for i := range index {
		index[i] = int32(i)
	}
	for _, c := range []kernelCase{
		{"rmsnorm", "fp32", []int{n, d}, func() { cpu.RMSNorm(y, rstd, x, w, n, d, 1e-5) }},
		{"rmsnorm backward", "fp32", []int{n, d}, func() { cpu.RMSNormBackward(dx, w, nil, y, x, w, rstd, n, d) }},
		{"rope", "fp32", []int{n, (a.H + a.K) * a.E}, func() { cpu.RoPE(qkv, table, index, a.H+a.K, a.E, (a.H+2*a.K)*a.E, false) }},
		{"swiglu", "fp32", []int{n, f}, func() { cpu.SwiGLU(h, gu, n, f) }},
		{"swiglu backward", "fp32", []int{n, f}, func() { cpu.SwiGLUBackward(dgu, h, h, gu, n, f) }},
		{"cross-entropy", "fp32", []int{benchChunk, v}, func() { cpu.CrossEntropy(rstd, logits, index[:benchChunk], v, 1) }},
	} {
		add(c)
	}
	return nil
}

// rows are what moves rows between a batch and a recursion.
func rows(_ *Kernels, cpu *kernel.CPU, add func(kernelCase)) error {
	const n, d = benchRows, benchHidden
	x, y, g, table := values(n*d), values(n*d), values(n), values(benchVocab*d)
	index, tokens := make([]int32, n*2/3), make([]int32, n)
	for i := range index {
		index[i] = int32(i * 3 / 2)
	}
	for i := range tokens {
		tokens[i] = int32(i * 7919 % benchVocab)
	}
	shape := []int{len(index), d}
	for _, c := range []kernelCase{
		{"gather", "fp32", shape, func() { cpu.GatherRows(y, x, index, d) }},
		{"scatter", "fp32", shape, func() { cpu.ScatterAddScaled(y, x, g, index, d) }},
		{"dot rows", "fp32", []int{n, d}, func() { cpu.DotRows(g, x, y, n, d) }},
		{"add", "fp32", []int{n, d}, func() { cpu.Add(y, x) }},
		{"embedding backward", "fp32", []int{n, d}, func() { cpu.EmbedBackward(table, x, tokens, d) }},
	} {
		add(c)
	}
	return nil
}

// optimizer is one step of the optimizer on a slab, with moments of either type.
func optimizer(_ *Kernels, cpu *kernel.CPU, add func(kernelCase)) error {
	const n = 1 << 24
	params, grads := memory.Make[float32](n), values(n)
	for _, bf16 := range []bool{false, true} {
		dtype := "fp32"
		if bf16 {
			dtype = "bf16"
		}
		opt, err := optim.NewAdamW(optim.Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Clip: 1, BF16: bf16}, []optim.Segment{{Len: n, LRScale: 1}}, n)
		if err != nil {
			return err
		}
		norms, _ := opt.Norms(cpu, grads)
		if !bf16 {
			add(kernelCase{"gradient norm", dtype, []int{1, n}, func() { opt.Norms(cpu, grads) }})
		}
		add(kernelCase{"adamw", dtype, []int{1, n}, func() { opt.Update(cpu, params, grads, norms, 1e-3) }})
	}
	return nil
}

// quantised are products with stored weights, as inference uses them: of one row, of some, and of many.
func quantised(_ *Kernels, cpu *kernel.CPU, add func(kernelCase)) error {
	const in, out = benchHidden, 2 * benchFFN
	w := values(in * out)
	stored := make([]byte, out*in*4)
	quant.F32.Shrink(stored, w)
	for _, t := range []quant.Type{quant.F32, quant.BF16, quant.Q8_0, quant.Q4_1} {
		m, err := cpu.NewMatrix(new(memory.Arena), t, in, out)
		if err != nil {
			return err
		}
		cpu.SetRows(m, quant.F32, 0, stored, func(i int) int { return i })
		for _, n := range []int{1, 8, 32, 512} {
			x, y := values(n*in), values(n*out)
			add(kernelCase{"project", strings.ToLower(t.String()), []int{n, in, out}, func() { cpu.Project(y, x, []*kernel.Matrix{m}, n, false) }})
		}
	}
	return nil
}
