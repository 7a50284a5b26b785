package model

import (
	"fmt"
	"slices"

	"mor/internal/kernel"
	"mor/internal/strict"
)

// Dtype is the type of the operands of a model's large products and of attention, forward and backward. Sums, weights, gradients, norms, softmax, routers and losses are
// float32 with either.
type Dtype int

// The types.
const (
	FP32 Dtype = iota
	BF16       // where the CPU has units for it; elsewhere products of it would be no faster, and are computed in float32
)

var dtypeNames = []string{"fp32", "bf16"}

func (d Dtype) String() string { return dtypeNames[d] }

// Dtypes names them.
func Dtypes() []string { return slices.Clone(dtypeNames) }

// ParseDtype finds one by its name.
func ParseDtype(name string) (Dtype, error) {
	i := slices.Index(dtypeNames, name)
	if i < 0 {
		return 0, fmt.Errorf("dtype: %q: expected fp32 or bf16%s", name, strict.Suggest(name, dtypeNames))
	}
	return Dtype(i), nil
}

// SetDtype chooses the type of the products of a model of New.
func (m *Model) SetDtype(d Dtype) {
	m.dtype = FP32
	if m.cpu.HasBF16() {
		m.dtype = d
	}
	m.layouts = newLayouts(m.Config, m.Plan, m.Layout)
}

// Dtype is the type that products compute with.
func (m *Model) Dtype() Dtype { return m.dtype }

// WeightsChanged is to be called where the weights of a model with bfloat16 products changed behind its first pass.
func (m *Model) WeightsChanged() { m.layouts.version++ }

// operand is rows that products read: of float32, or of bfloat16 where they were rounded ahead.
type operand struct {
	rows []float32
	half bool
}

// from is the rows of d values from the i-th on.
func (x operand) from(i, d int) operand {
	if x.half {
		d = kernel.Words(d)
	}
	return operand{x.rows[i*d:], x.half}
}

// rounds tells whether activations are rounded ahead of the products, once for all that read them: where nothing else does.
func (m *Model) rounds() bool { return m.Config.rounds(m.Dtype()) }

func (c *Config) rounds(d Dtype) bool {
	return d == BF16 && c.MoE == nil && (c.Recursion == nil || c.Recursion.LoRA == nil)
}

// chains tells whether kernels that work by rows follow one another on few rows at a time: where nothing between them needs all rows.
func (m *Model) chains() bool {
	return m.products == nil && (m.dtype == FP32 || m.rounds()) && (m.Config.Recursion == nil || m.Config.Recursion.LoRA == nil)
}

// beginChain starts a chain of n rows, where there are chains. What it reads and writes must stay in its place on the tape until endChain.
func (m *Model) beginChain(n int) {
	if m.chains() {
		m.cpu.BeginChain(n)
	}
}

func (m *Model) endChain() {
	if m.cpu.Chained() {
		m.cpu.EndChain()
	}
}

// beginTogether has the gradients of weights wait for attention backward, where there are chains, so that one does not wait for the other. What they read must stay in
// its place on the tape until then.
func (m *Model) beginTogether() {
	if m.chains() {
		m.cpu.BeginTogether()
	}
}

// normed is the RMSNorm of x[n,d] as an operand on the tape.
func (t *Tape) normed(rstd, x []float32, w span, n int) operand {
	m, d, eps := t.m, t.m.Config.HiddenSize, float32(t.m.Config.RMSNormEps)
	if m.rounds() {
		h := t.f.get(n * kernel.Words(d))
		m.cpu.RMSNormBF16(h, rstd, x, w.of(m.W), n, d, eps)
		return operand{h, true}
	}
	h := t.f.get(n * d)
	m.cpu.RMSNorm(h, rstd, x, w.of(m.W), n, d, eps)
	return operand{h, false}
}

// operand is x[n,d] as an operand, which takes memory of the tape where it is rounded.
func (t *Tape) operand(x []float32, n, d int) operand {
	if !t.m.rounds() {
		return operand{x, false}
	}
	h := t.f.get(n * kernel.Words(d))
	t.m.cpu.RoundRows(h, x, n, d)
	return operand{h, true}
}

// linear is y = x·wᵀ (added to y when acc is set) with a matrix of the model.
func (m *Model) linear(y []float32, x operand, w span, n, in, out int, acc bool) {
	switch ws := m.products[w]; {
	case ws != nil:
		m.cpu.Project(y, x.rows, ws, n, acc)
	case x.half:
		m.cpu.LinearBF16Rows(y, x.rows, m.packForward(w, in, out), n, acc)
	case m.dtype == BF16:
		m.cpu.LinearBF16(y, x.rows, m.packForward(w, in, out), n, acc)
	case m.cpu.Chained():
		m.cpu.LinearPacked(y, x.rows, m.packForward(w, in, out), n, acc)
	default:
		m.cpu.Linear(y, x.rows, w.of(m.W), n, in, out, acc)
	}
}

// linearBackwardInput is dx = dy·w with a matrix of the model.
func (m *Model) linearBackwardInput(dx []float32, dy operand, w span, n, in, out int) {
	switch {
	case dy.half:
		m.cpu.LinearBackwardInputBF16Rows(dx, dy.rows, m.packBackward(w, in, out), n, false)
	case m.dtype == BF16:
		m.cpu.LinearBackwardInputBF16(dx, dy.rows, m.packBackward(w, in, out), n, false)
	case m.cpu.Chained():
		m.cpu.LinearBackwardInputPacked(dx, dy.rows, m.packBackward(w, in, out), n, false)
	default:
		m.cpu.LinearBackwardInput(dx, dy.rows, w.of(m.W), n, in, out, false)
	}
}

// linearBackwardWeight adds dyᵀ·x to the gradient of a matrix of the model; grads is a slab. Both operands are rounded, or neither is.
func (m *Model) linearBackwardWeight(grads []float32, dy, x operand, w span, n, in, out int) {
	switch {
	case dy.half:
		m.cpu.LinearBackwardWeightBF16Rows(w.of(grads), dy.rows, x.rows, n, in, out)
	case m.dtype == BF16:
		m.cpu.LinearBackwardWeightBF16(w.of(grads), dy.rows, x.rows, n, in, out)
	default:
		m.cpu.LinearBackwardWeight(w.of(grads), dy.rows, x.rows, n, in, out)
	}
}

// attention computes o and lse of queries whose rows lie width apart.
func (m *Model) attention(o, lse, q []float32, width int, view *KeyView) {
	attend := m.cpu.Attention
	if m.dtype == BF16 {
		attend = m.cpu.AttentionBF16
	}
	attend(o, lse, q, view.K, view.V, width, view.Stride, m.heads(), view.Span)
}

// attentionBackward runs what waits for it, sets dq, whose rows lie width apart, and adds to dk and dv, whose rows lie stride apart, the gradients of a layer's attention.
func (m *Model) attentionBackward(dq, dk, dv, do []float32, lt *layerTape, width, stride int) {
	attend := m.cpu.AttentionBackward
	if m.dtype == BF16 {
		attend = m.cpu.AttentionBackwardBF16
	}
	attend(dq, dk, dv, do, lt.o, lt.lse, lt.qkv, lt.view.K, lt.view.V, width, stride, width, lt.view.Stride, m.heads(), lt.view.Span)
	m.cpu.EndTogether()
}
