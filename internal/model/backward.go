package model

import "mor/internal/memory"

// gradient is one backward pass.
type gradient struct {
	t           *Tape
	w           []float32 // gradients of the weights, a slab
	norm        Norm
	shared      [][]float32 // by KV slot: gradient of the keys and values that later recursions read
	sharedArena *arena[float32]
	room        int // gradients of layers that lie below have not been begun
}

// gradient starts a backward pass.
func (t *Tape) gradient(grads []float32, norm Norm) *gradient {
	g := &t.back
	if g.shared == nil {
		g.shared, g.sharedArena = make([][]float32, t.m.Plan.Slots), &arena[float32]{}
	}
	clear(g.shared)
	g.sharedArena.reset()
	g.t, g.w, g.norm, g.room = t, grads, norm, 0
	if norm.Share == 1 && same(t.zeros, grads) {
		g.room = t.m.Layout.norm.off
	}
	t.zeros, t.loans = nil, t.loans[:0]
	return g
}

// begin is called before the gradients of a layer are added to.
func (g *gradient) begin(l *Layer) { g.room = min(g.room, g.t.m.Layout.layers[l.Unique].inputNorm.off) }

// giveUp moves the memory of a layer's tape, once its backward is done, to gradients that come next: where a step is one pass, the two are never resident
// together.
func (g *gradient) giveUp(lt *layerTape) {
	first, size := g.t.m.Layout.layers[0].inputNorm.off, memory.PageLen[float32]()
	pages, room := g.t.f.pages(lt.from, lt.to), memory.Whole(g.w[min(first, g.room):g.room])
	for ; len(pages) > 0 && len(room) > 0; pages = pages[size:] {
		to := room[len(room)-size:]
		if !memory.Move(to, pages[:size]) {
			return
		}
		g.t.m.cpu.Clear(to)
		room = room[:len(room)-size]
		g.room = cap(g.w) - cap(to)
		g.t.loans = append(g.t.loans, loan{pages[:size], g.room})
	}
}

// loan is a huge page of the tape that became one of the gradients, from value at on.
type loan struct {
	tape []float32
	at   int
}

// ClearGradients makes grads, a slab, all zeros before the passes of a step. What Backward moved there from the tape goes back to it: this must not come
// between a forward pass and its backward. Memory that nothing was written to is not touched.
func (m *Model) ClearGradients(t *Tape, grads []float32) {
	t.zeros = grads
	if !same(t.back.w, grads) {
		memory.Zero(grads) // perhaps new
		return
	}
	end := len(grads)
	for _, l := range t.loans {
		page := grads[l.at : l.at+len(l.tape)]
		memory.Move(l.tape, page)
		m.cpu.Clear(grads[l.at+len(page) : end])
		end = l.at
	}
	m.cpu.Clear(grads[:end])
	t.loans = t.loans[:0]
}

func same(a, b []float32) bool { return len(a) == len(b) && &a[0] == &b[0] }

// Backward adds to grads, a slab, the gradients of the loss of the last forward pass, which must have been run with keep and with targets, and
// fills l with the parts of that loss. A tape can go backward once.
func (m *Model) Backward(t *Tape, grads []float32, norm Norm, l *Losses) {
	n, d := t.batch.Rows(), m.Config.HiddenSize
	*l = Losses{AuxPerRecursion: l.AuxPerRecursion[:0], Load: l.Load[:0], Cuts: l.Cuts[:0]}
	dnorm, dx := t.f.get(n*d), t.cleared(n*d)
	sum, targets := t.head(dnorm, grads, float32(1/float64(norm.Targets)), nil)
	l.CE, l.Targets = sum/float64(norm.Targets), targets
	l.Total = l.CE
	t.routerLosses(l, norm)
	m.cpu.RMSNormBackward(dx, m.Layout.norm.of(grads), nil, dnorm, t.out, m.Layout.norm.of(m.W), t.rstd, n, d)
	g := t.gradient(grads, norm)
	g.segments(dx)
	m.cpu.EmbedBackward(m.Layout.embed.of(grads), dx, t.batch.Tokens, d)
}

// Loss fills l with the parts of the loss of the last forward pass, without gradients.
func (m *Model) Loss(t *Tape, norm Norm, l *Losses) {
	*l = Losses{AuxPerRecursion: l.AuxPerRecursion[:0], Load: l.Load[:0], Cuts: l.Cuts[:0]}
	sum, targets := t.head(nil, nil, 0, nil)
	l.CE, l.Targets = sum/float64(norm.Targets), targets
	l.Total = l.CE
	t.routerLosses(l, norm)
}

// segments walks the plan backward with dx[n,d].
func (g *gradient) segments(dx []float32) {
	t, m := g.t, g.t.m
	var dh, dp []float32 // token-choice: gradient of the rows in the loop, and of the weights
	for i := len(m.Plan.Segments) - 1; i >= 0; i-- {
		s, st := &m.Plan.Segments[i], &t.segs[i]
		switch s.Gate {
		case GateExpert:
			if len(st.expert.cand.Index) > 0 {
				g.expert(s, st, dx)
			}
		case GateFixed:
			g.fixedDepth(s, st, dx)
		case GateToken:
			if dp == nil {
				dp = t.cleared(len(t.token.p))
			}
			if len(st.run.Index) > 0 {
				dh = g.tokenSegment(s, st, dx, dh, dp)
			}
			if s.Recursion == 0 {
				m.cpu.Add(dx, dh)
				g.tokenRouter(dx, dp)
			}
		default:
			if len(st.run.Index) > 0 {
				g.block(s, st, dx)
			}
		}
	}
}
