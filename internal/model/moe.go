package model

import "math"

// moeTape is what a mixture of experts did for the n rows of a layer.
type moeTape struct {
	logit  []float32 // [n,E]
	p      []float32 // [n,E] softmax over all experts
	index  []int32   // [n,K] the experts of each row, best first
	weight []float32 // [n,K] their renormalised shares
	expert []expertRows
}

// expertRows is the part of the rows that one expert computed.
type expertRows struct {
	row, slot []int32   // which row, and which of its K choices
	gu        []float32 // [m,2f]
	z         []float32 // [m,d] the expert's output
}

// moeTotals sums up one expert over all rows and layers of a pass, for the load-balancing loss: how often it was chosen, and its p.
type moeTotals struct{ share, p float64 }

// mixture adds the experts' outputs for lt.mid to out[n,d], unless that is nil: every row goes to its best K experts, none is dropped.
func (t *Tape) mixture(lt *layerTape, w *layerSpans, out []float32, n int) {
	m, c := t.m, t.m.Config
	d, f, experts, k := c.HiddenSize, c.IntermediateSize, c.MoE.NumExperts, c.MoE.ExpertsPerToken
	e := &lt.moe
	lt.rstd2 = t.f.get(n)
	e.logit, e.p, e.weight = t.f.get(n*experts), t.f.get(n*experts), t.f.get(n*k)
	e.index = t.i.get(n * k)
	h := t.f.get(n * d)
	m.cpu.RMSNorm(h, lt.rstd2, lt.mid, w.postNorm.of(m.W), n, d, float32(c.RMSNormEps))
	m.cpu.Linear(e.logit, h, w.router.of(m.W), n, d, experts, false)
	for i := range n {
		softmax(e.p[i*experts:(i+1)*experts], e.logit[i*experts:(i+1)*experts], 1)
		pickExperts(e.index[i*k:(i+1)*k], e.weight[i*k:(i+1)*k], e.p[i*experts:(i+1)*experts])
	}
	t.count(e, experts, n)
	if len(e.expert) != experts {
		e.expert = make([]expertRows, experts)
	}
	for x := range experts {
		rows := t.expertRows(e, int32(x), n, k)
		cnt := len(rows.row)
		in, act := t.f.get(cnt*d), t.f.get(cnt*f)
		rows.gu, rows.z = t.f.get(cnt*2*f), t.f.get(cnt*d)
		m.cpu.GatherRows(in, h, rows.row, d)
		m.linear(rows.gu, operand{in, false}, w.experts[x].gateUp, cnt, d, 2*f, false)
		m.cpu.SwiGLU(act, rows.gu, cnt, f)
		m.linear(rows.z, operand{act, false}, w.experts[x].down, cnt, f, d, false)
		if out != nil {
			m.cpu.ScatterAddScaled(out, rows.z, t.shares(e, rows, k), rows.row, d)
		}
	}
}

// expertRows lists the rows that chose expert x.
func (t *Tape) expertRows(e *moeTape, x int32, n, k int) *expertRows {
	r := &e.expert[x]
	r.row, r.slot = t.i.get(n)[:0], t.i.get(n)[:0]
	for i, v := range e.index {
		if v == x {
			r.row, r.slot = append(r.row, int32(i/k)), append(r.slot, int32(i%k))
		}
	}
	return r
}

// shares gathers the weight of each of an expert's rows.
func (t *Tape) shares(e *moeTape, r *expertRows, k int) []float32 {
	g := t.f.get(len(r.row))
	for i, row := range r.row {
		g[i] = e.weight[int(row)*k+int(r.slot[i])]
	}
	return g
}

// pickExperts finds the largest p, ties to the lower index, and renormalises them to sum to 1.
func pickExperts(index []int32, weight, p []float32) {
	sum := 0.0
	for s := range index {
		best, top := -1, float32(math.Inf(-1))
		for x, v := range p {
			taken := false
			for _, y := range index[:s] {
				taken = taken || int(y) == x
			}
			if !taken && (v > top || best < 0) {
				best, top = x, v
			}
		}
		index[s], weight[s] = int32(best), p[best]
		sum += float64(p[best])
	}
	for s := range weight {
		weight[s] = float32(float64(weight[s]) / sum)
	}
}

// count adds a layer's choices to the totals of the pass, once.
func (t *Tape) count(e *moeTape, experts, n int) {
	if t.replaying {
		return
	}
	t.moeRows += n
	for _, x := range e.index {
		t.moe[x].share++
	}
	for i := range n {
		for x, v := range e.p[i*experts : (i+1)*experts] {
			t.moe[x].p += float64(v)
		}
	}
}

// moeLosses adds the load-balancing loss: experts·Σ share·mean(p), over the gates of all layers.
func (t *Tape) moeLosses(l *Losses, norm Norm) {
	aux, rows := 0.0, float64(t.moeRows)
	for _, x := range t.moe {
		aux += float64(len(t.moe)) * (x.share / rows) * (x.p / rows)
	}
	l.Aux += norm.Share * aux
	l.Total += norm.Share * aux * t.m.Config.MoE.AuxCoef
}

// mixture adds to dx[n,d], the gradient of the layer's output, what flows back through the experts and their router.
func (g *gradient) mixture(lt *layerTape, w *layerSpans, dx []float32, n int) {
	t, m, c := g.t, g.t.m, g.t.m.Config
	d, experts, k, e := c.HiddenSize, c.MoE.NumExperts, c.MoE.ExpertsPerToken, &lt.moe
	h, dh, dweight := t.f.get(n*d), t.cleared(n*d), t.cleared(n*k)
	m.cpu.RMSNorm(h, lt.rstd2, lt.mid, w.postNorm.of(m.W), n, d, float32(c.RMSNormEps))
	for x := range experts {
		g.expertFFN(e, &e.expert[x], &w.experts[x], dx, dh, dweight, h)
	}
	dlogit := t.f.get(n * experts)
	for i := range n {
		g.mixtureGate(dlogit[i*experts:(i+1)*experts], e, dweight[i*k:(i+1)*k], i)
	}
	m.cpu.LinearBackwardWeight(w.router.of(g.w), dlogit, h, n, d, experts)
	m.cpu.LinearBackwardInput(dh, dlogit, w.router.of(m.W), n, d, experts, true)
	m.cpu.RMSNormBackward(dx, w.postNorm.of(g.w), nil, dh, lt.mid, w.postNorm.of(m.W), lt.rstd2, n, d)
}

// expertFFN takes the gradient dx of the layer's output through one expert, into dh and dweight.
func (g *gradient) expertFFN(e *moeTape, r *expertRows, w *expertSpans, dx, dh, dweight, h []float32) {
	t, m, c := g.t, g.t.m, g.t.m.Config
	d, f, k, cnt := c.HiddenSize, c.IntermediateSize, c.MoE.ExpertsPerToken, len(r.row)
	if cnt == 0 {
		return
	}
	at := t.f.mark()
	dz, in, din := t.f.get(cnt*d), t.f.get(cnt*d), t.f.get(cnt*d)
	dact, dot := t.f.get(cnt*f), t.f.get(cnt)
	m.cpu.GatherRows(dz, dx, r.row, d)
	m.cpu.DotRows(dot, dz, r.z, cnt, d)
	for i, row := range r.row {
		dweight[int(row)*k+int(r.slot[i])] = dot[i]
	}
	m.cpu.ScaleRows(dz, dz, t.shares(e, r, k), cnt, d)
	m.linearBackwardInput(dact, operand{dz, false}, w.down, cnt, f, d)
	act := dact // whose values are not needed again
	m.cpu.SwiGLUBackward(r.gu, act, dact, r.gu, cnt, f)
	m.linearBackwardWeight(g.w, operand{dz, false}, operand{act, false}, w.down, cnt, f, d)
	m.cpu.GatherRows(in, h, r.row, d)
	m.linearBackwardInput(din, operand{r.gu, false}, w.gateUp, cnt, d, 2*f)
	m.linearBackwardWeight(g.w, operand{r.gu, false}, operand{in, false}, w.gateUp, cnt, d, 2*f)
	m.cpu.ScatterAddRows(dh, din, r.row, d)
	t.f.release(at)
}

// mixtureGate computes the gradient of one row's gate logits from that of its weights and of the load-balancing loss.
func (g *gradient) mixtureGate(dlogit []float32, e *moeTape, dweight []float32, row int) {
	c := g.t.m.Config.MoE
	experts, k := c.NumExperts, c.ExpertsPerToken
	p, index, weight := e.p[row*experts:(row+1)*experts], e.index[row*k:(row+1)*k], e.weight[row*k:(row+1)*k]
	kept, mean := 0.0, 0.0 // sum of the kept p; Σ weight·dweight
	for s, x := range index {
		kept += float64(p[x])
		mean += float64(weight[s]) * float64(dweight[s])
	}
	balance := g.norm.Share * c.AuxCoef * float64(experts) / float64(g.t.moeRows)
	inner := 0.0 // Σ p·dp
	dp := g.t.f.get(experts)
	for x := range dp {
		dp[x] = float32(balance * g.t.moe[x].share / float64(g.t.moeRows))
	}
	for s, x := range index {
		dp[x] += float32((float64(dweight[s]) - mean) / kept)
	}
	for x, v := range dp {
		inner += float64(p[x]) * float64(v)
	}
	for x, v := range dp {
		dlogit[x] = float32(float64(p[x]) * (float64(v) - inner))
	}
}
