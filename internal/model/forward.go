package model

import "fmt"

// Forward runs a batch: embedding, segments, final norm. With keep, Backward may follow on the same tape.
func (m *Model) Forward(t *Tape, b *Batch, mode Mode, keep bool) error {
	if err := b.check(m.Config); err != nil {
		return err
	}
	if keep && m.products != nil {
		return fmt.Errorf("this model was opened for inference: its weights cannot be trained")
	}
	return m.forward(t, b, mode, keep)
}

func (m *Model) forward(t *Tape, b *Batch, mode Mode, keep bool) error {
	if err := mode.Check(m.Config); err != nil {
		return err
	}
	n, d := b.Rows(), m.Config.HiddenSize
	if m.dtype == FP32 {
		m.layouts.version++ // they are cheap, and nobody has to say that weights changed
	}
	t.f.reset()
	t.i.reset()
	t.batch, t.mode, t.keep = b, mode, keep
	if keep && len(t.f.chunks) == 0 {
		f := TrainingFootprint(m.Config, 1, n, t.Recompute, m.Dtype())
		t.f.grow(int(f.Tape+f.Backward) / 4 * 9 / 8) // the choices of tokens may take more; memory that is never touched costs nothing
	}
	t.all, t.first, t.Depth = t.rows(n), t.i.get(n), t.i.get(n)
	clear(t.moe)
	t.moeRows = 0
	everyone(&t.all, t.first, b)
	for i := range t.Depth {
		t.Depth[i] = 1
		if m.Config.Recursion != nil {
			t.Depth[i] = 0
		}
	}
	x := t.f.get(n * d)
	m.lookUp(x, b.Tokens)
	t.out = t.segments(x)
	t.rstd, t.norm = t.f.get(n), t.f.get(n*d)
	m.cpu.RMSNorm(t.norm, t.rstd, t.out, m.Layout.norm.of(m.W), n, d, float32(m.Config.RMSNormEps))
	return nil
}

// segments walks the plan with the stream x[n,d] and returns the stream behind it.
func (t *Tape) segments(x []float32) []float32 {
	m := t.m
	limit := t.mode.recursions(m.Config)
	alive := &t.all
	var h []float32 // token-choice: the rows in the loop
	for i := range m.Plan.Segments {
		s, st := &m.Plan.Segments[i], &t.segs[i]
		layers := st.layers
		*st = segmentTape{layers: layers}
		if s.Recursion >= limit {
			continue
		}
		switch s.Gate {
		case GateExpert:
			alive = t.expert(s, st, alive, x)
		case GateFixed:
			alive = t.fixed(s, st, alive, x)
		case GateToken:
			if s.Recursion == 0 {
				t.chooseDepth(x)
				h = t.f.get(len(x))
				m.cpu.Copy(h, x)
			}
			if st.run = *alive; len(alive.Index) > 0 {
				alive, h = t.tokenSegment(s, st, h, x)
			}
		default:
			st.run = t.all
			x = t.block(s, st, x)
			if loop := s.Layers[len(s.Layers)-1].Recursion; loop >= 0 {
				for j := range t.Depth {
					t.Depth[j] = int32(loop + 1)
				}
			}
		}
	}
	return x
}

// Hidden is the output of the final norm, [n,d], of the last forward pass.
func (t *Tape) Hidden() []float32 { return t.norm }

// Logits computes logits[hi-lo, v] of the rows [lo, hi) of the last forward pass.
func (m *Model) Logits(logits []float32, t *Tape, lo, hi int) {
	d := m.Config.HiddenSize
	m.linear(logits, operand{t.norm[lo*d : hi*d], false}, m.Layout.head, hi-lo, d, m.Config.VocabSize, false)
}

// Routed is what the router of one recursion saw and did in the last forward pass, as rows of the batch.
type Routed struct {
	Candidates []int32   // the rows that arrived
	Logits     []float32 // expert-choice: the score of each candidate; token-choice: [n,N], recursion 0 only
	AuxLogits  []float32 // of the auxiliary router, where there is one
	Chosen     []int32   // the rows that went on
}

// Routed returns what happened at recursion r. The slices are valid until the next forward pass.
func (t *Tape) Routed(r int) Routed {
	for i := range t.m.Plan.Segments {
		s, st := &t.m.Plan.Segments[i], &t.segs[i]
		if s.Recursion != r {
			continue
		}
		switch s.Gate {
		case GateExpert:
			e := &st.expert
			return Routed{e.cand.Index, e.router.logit, e.aux.logit, e.picked.Index}
		case GateToken:
			out := Routed{Candidates: st.run.Index, Chosen: st.run.Index}
			if r == 0 {
				out.Logits = t.token.router.logit
			}
			return out
		}
		return Routed{st.run.Index, nil, nil, st.run.Index}
	}
	return Routed{}
}
