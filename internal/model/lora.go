package model

// loraOf finds the low-rank correction of a projection of an effective layer (METHOD.md §6).
func (m *Model) loraOf(l *Layer, target string) (s loraSpans, in, out, rank int, scale float32, ok bool) {
	if l.Recursion < 0 || m.Config.Recursion.LoRA == nil {
		return
	}
	lora := m.Config.Recursion.LoRA
	s, ok = m.Layout.loras[loraKey{l.Recursion, l.Block, target}]
	in, out = m.Config.projection(target)
	return s, in, out, lora.Rank, float32(lora.Alpha / float64(lora.Rank)), ok
}

// loraForward adds scale·B(A x) to the columns [col, col+out) of y[n,stride], with x[n,in].
func (t *Tape) loraForward(l *Layer, target string, y, x []float32, n, stride, col int) {
	s, in, out, rank, scale, ok := t.m.loraOf(l, target)
	if !ok {
		return
	}
	at := t.f.mark()
	low, full := t.f.get(n*rank), t.f.get(n*out)
	t.m.cpu.Linear(low, x, s.a.of(t.m.W), n, in, rank, false)
	t.m.cpu.Scale(low, scale)
	t.m.cpu.Linear(full, low, s.b.of(t.m.W), n, rank, out, false)
	for i := range n {
		row := y[i*stride+col : i*stride+col+out]
		for p, v := range full[i*out : (i+1)*out] {
			row[p] += v
		}
	}
	t.f.release(at)
}

// lora adds to dx[n,in] and to the gradients of A and B what the columns [col, col+out) of dy[n,stride] say.
func (g *gradient) lora(l *Layer, target string, dx, dy, x []float32, n, stride, col int) {
	t, m := g.t, g.t.m
	s, in, out, rank, scale, ok := m.loraOf(l, target)
	if !ok {
		return
	}
	at := t.f.mark()
	low, dlow, full := t.f.get(n*rank), t.f.get(n*rank), t.f.get(n*out)
	for i := range n {
		copy(full[i*out:(i+1)*out], dy[i*stride+col:])
	}
	m.cpu.Linear(low, x, s.a.of(m.W), n, in, rank, false)
	m.cpu.Scale(low, scale)
	m.cpu.LinearBackwardInput(dlow, full, s.b.of(m.W), n, rank, out, false)
	m.cpu.Scale(dlow, scale)
	m.cpu.LinearBackwardWeight(s.b.of(g.w), full, low, n, rank, out)
	m.cpu.LinearBackwardWeight(s.a.of(g.w), dlow, x, n, in, rank)
	m.cpu.LinearBackwardInput(dx, dlow, s.a.of(m.W), n, in, rank, true)
	t.f.release(at)
}

// loraOfNormed is lora for the projections of what was normed, which is computed again for it.
func (g *gradient) loraOfNormed(l *Layer, p *normedProduct, dh, dy []float32, n int) {
	if l.Recursion < 0 || g.t.m.Config.Recursion.LoRA == nil {
		return
	}
	at := g.t.f.mark()
	h := g.t.normed(p.rstd, p.x, p.norm, n)
	for _, c := range p.corrected {
		g.lora(l, c.target, dh, dy, h.rows, n, p.width, c.col)
	}
	g.t.f.release(at)
}

// loraOfDown is lora for down_proj, whose input is computed again for it.
func (g *gradient) loraOfDown(l *Layer, lt *layerTape, dact, dx []float32, n int) {
	t, c := g.t, g.t.m.Config
	if _, _, _, _, _, ok := t.m.loraOf(l, "down_proj"); !ok {
		return
	}
	at := t.f.mark()
	act := t.f.get(n * c.IntermediateSize)
	t.m.cpu.SwiGLU(act, lt.gu, n, c.IntermediateSize)
	g.lora(l, "down_proj", dact, dx, act, n, c.HiddenSize, 0)
	t.f.release(at)
}
