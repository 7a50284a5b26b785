package model

// gradient is one backward pass.
type gradient struct {
	t           *Tape
	w           []float32 // gradients of the weights, a slab
	norm        Norm
	shared      [][]float32 // by KV slot: gradient of the keys and values that later recursions read
	sharedArena *arena[float32]
	surplus     int // values of the tape that may still be given up
}

// gradient starts a backward pass.
func (t *Tape) gradient(grads []float32, norm Norm) *gradient {
	g := &t.back
	if g.shared == nil {
		g.shared, g.sharedArena = make([][]float32, t.m.Plan.Slots), &arena[float32]{}
	}
	clear(g.shared)
	g.sharedArena.reset()
	g.t, g.w, g.norm, g.surplus = t, grads, norm, 0
	if norm.Share == 1 {
		g.surplus = t.m.Layout.inLayers()
	}
	return g
}

// giveUp returns the tape of a layer to the system once its backward is done, as much as the gradients of the layers take: where a step is one pass and
// its gradients were not resident before, the two are never resident together.
func (g *gradient) giveUp(lt *layerTape) {
	if g.surplus > 0 {
		g.surplus -= g.t.f.discard(lt.from, lt.to)
	}
}

// Backward adds to grads, a slab, the gradients of the loss of the last forward pass, which must have been run with keep and with targets, and
// fills l with the parts of that loss. A tape can go backward once.
func (m *Model) Backward(t *Tape, grads []float32, norm Norm, l *Losses) {
	n, d := t.batch.Rows(), m.Config.HiddenSize
	*l = Losses{AuxPerRecursion: l.AuxPerRecursion[:0], Load: l.Load[:0], Cuts: l.Cuts[:0]}
	dnorm, dx := t.f.get(n*d), t.f.zeros(n*d)
	sum, targets := t.head(dnorm, grads, float32(1/float64(norm.Targets)), nil)
	l.CE, l.Targets = sum/float64(norm.Targets), targets
	l.Total = l.CE
	t.routerLosses(l, norm)
	m.cpu.RMSNormBackward(dx, m.Layout.norm.of(grads), dnorm, t.out, m.Layout.norm.of(m.W), t.rstd, n, d)
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
				dp = t.f.zeros(len(t.token.p))
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
