package model

import (
	"math"
	"slices"

	"mor/internal/kernel"
)

// expertTape is what the gate of one recursion did (METHOD.md §3).
type expertTape struct {
	cand   Rows // the rows that arrived
	router routerTape
	aux    routerTape
	chosen []int32 // indices into cand, ascending
	picked Rows    // the rows that went on
	g, dg  []float32
	y      []float32 // [m,d] the block's output for the picked rows
}

// expert runs one recursion under expert-choice: score the rows that are alive, pick, run the block on the picked, add the gated result
// to x[n,d]. It returns the rows that are alive behind it.
func (t *Tape) expert(s *Segment, st *segmentTape, alive *Rows, x []float32) *Rows {
	m, c, d := t.m, len(alive.Index), t.m.Config.HiddenSize
	e, router := &st.expert, t.m.Config.Router
	e.cand = *alive
	in := t.f.get(c * d)
	m.cpu.GatherRows(in, x, alive.Index, d)
	t.route(&e.router, &m.Layout.routers[s.Recursion], in, c, router.Temperature)
	if router.Balancing == "aux_router" {
		t.route(&e.aux, &m.Layout.auxRouters[s.Recursion], in, c, 1)
	}
	e.chosen = t.i.get(c)[:0]
	if t.mode.Routing == TopK {
		t.chooseTopK(s.Recursion, e)
	} else {
		t.chooseCausal(s.Recursion, e)
	}
	e.picked = t.rows(len(e.chosen))
	subset(&e.picked, alive, e.chosen, t.first)
	t.runPicked(s, st, &e.picked, x)
	if st.y == nil {
		return &e.picked
	}
	e.y = st.y
	if len(st.run.Index) != len(e.picked.Index) { // KV sharing: the block ran for every row
		e.y = t.f.get(len(e.picked.Index) * d)
		m.cpu.GatherRows(e.y, st.y, e.picked.Index, d)
	}
	if router.Gating == "additive" {
		m.cpu.ScatterAddRows(x, e.y, e.picked.Index, d)
		return &e.picked
	}
	e.g, e.dg = t.f.get(len(e.chosen)), t.f.get(len(e.chosen))
	for i, j := range e.chosen {
		e.g[i], e.dg[i] = router.gateOf(e.router.logit[j])
	}
	m.cpu.ScatterAddScaled(x, e.y, e.g, e.picked.Index, d)
	return &e.picked
}

// runPicked runs the block of a recursion on copies of the picked rows; on all rows at the first recursion under KV sharing, because
// later recursions read everyone's keys. Leaves st.y nil where there is no row to run.
func (t *Tape) runPicked(s *Segment, st *segmentTape, picked *Rows, x []float32) {
	d := t.m.Config.HiddenSize
	st.run, st.y = *picked, nil
	if t.m.Config.KVSharing() && s.Recursion == 0 {
		st.run = t.all
	}
	m := len(st.run.Index)
	for _, row := range picked.Index {
		t.Depth[row] = int32(s.Recursion + 1)
	}
	if m == 0 {
		return
	}
	st.x = t.f.get(m * d)
	t.m.cpu.GatherRows(st.x, x, st.run.Index, d)
	st.y = t.block(s, st, st.x)
}

// block runs the layers of a segment on st.run.
func (t *Tape) block(s *Segment, st *segmentTape, x []float32) []float32 {
	if t.keep && t.Recompute != RecomputeNone {
		return t.groups(s, st, x)
	}
	for i := range s.Layers {
		x = t.layer(&s.Layers[i], &st.layers[i], &st.run, x)
	}
	return x
}

// chooseTopK picks the best k candidates of each sequence; equal scores go to the earlier one.
func (t *Tape) chooseTopK(r int, e *expertTape) {
	score := e.router.logit
	if t.m.Config.Router.RandRouter {
		score = t.drawnScores(r, &e.cand)
	}
	at := t.f.mark()
	sorted := t.f.get(len(score))
	copy(sorted, score)
	for q := range t.batch.Sequences() {
		lo, hi := e.cand.Starts[q], e.cand.Starts[q+1]
		k := min(t.m.Config.Router.capacity(r, int(t.batch.Starts[q+1]-t.batch.Starts[q]), t.mode), int(hi-lo))
		if k == 0 {
			continue
		}
		slices.Sort(sorted[lo:hi])
		cut := sorted[int(hi)-k]
		above := 0
		for _, v := range score[lo:hi] {
			if v > cut {
				above++
			}
		}
		for i := lo; i < hi; i++ {
			switch equal := score[i] == cut; {
			case score[i] > cut:
				e.chosen = append(e.chosen, i)
			case equal && above < k:
				above++
				e.chosen = append(e.chosen, i)
			}
		}
	}
	t.f.release(at)
}

// chooseCausal picks the candidates whose score passes the threshold.
func (t *Tape) chooseCausal(r int, e *expertTape) {
	router := t.m.Config.Router
	score, cut := e.router.logit, t.m.Cut(r, t.mode)
	if router.Balancing == "aux_router" {
		score = e.aux.logit
	}
	if router.RandRouter { // as many on average as top-k would take
		share := router.share(r)
		for i, v := range t.drawnScores(r, &e.cand) {
			if float64(v) < share {
				e.chosen = append(e.chosen, int32(i))
			}
		}
		return
	}
	for i, v := range score {
		if v > cut {
			e.chosen = append(e.chosen, int32(i))
		}
	}
}

// share is the share of the candidates of recursion r that top-k takes.
func (r *Router) share(recursion int) float64 {
	if recursion == 0 {
		return r.Capacity[0]
	}
	return r.Capacity[recursion] / r.Capacity[recursion-1]
}

// Cut is the score that a candidate of recursion r must exceed to go on under causal routing.
func (m *Model) Cut(r int, mode Mode) float32 {
	cut := mode.cut()
	if m.Config.Router.ThresholdRate > 0 {
		cut += m.Layout.thresholds.of(m.W)[r]
	}
	return cut
}

func (t *Tape) drawnScores(r int, rows *Rows) []float32 {
	score := t.f.get(len(rows.Index))
	for i, row := range rows.Index {
		score[i] = drawn(t.mode.Step, r, rows.Pos[i], t.batch.Tokens[row])
	}
	return score
}

// golden is the fractional part of the golden ratio: its multiples spread evenly over [0,1).
const golden = 0.6180339887498949

// fixed runs one recursion under fixed depth: positions, not contents, decide, in the shares of capacity, and the picked rows are replaced by
// the block's output, as in a recursive model.
func (t *Tape) fixed(s *Segment, st *segmentTape, alive *Rows, x []float32) *Rows {
	d, capacity := t.m.Config.HiddenSize, t.m.Config.Router.Capacity[s.Recursion]
	chosen := t.i.get(len(alive.Index))[:0]
	for i, pos := range alive.Pos {
		if _, f := math.Modf(float64(pos) * golden); f < capacity {
			chosen = append(chosen, int32(i))
		}
	}
	st.expert.picked = t.rows(len(chosen))
	picked := &st.expert.picked
	subset(picked, alive, chosen, t.first)
	t.runPicked(s, st, picked, x)
	if st.y == nil {
		return picked
	}
	if len(st.run.Index) == len(picked.Index) {
		t.m.cpu.ScatterRows(x, st.y, picked.Index, d)
		return picked
	}
	for _, row := range picked.Index {
		copy(x[int(row)*d:(int(row)+1)*d], st.y[int(row)*d:])
	}
	return picked
}

// expert turns dx[n,d], the gradient of the stream behind a recursion, into that of the stream before it.
func (g *gradient) expert(s *Segment, st *segmentTape, dx []float32) {
	t, m, d := g.t, g.t.m, g.t.m.Config.HiddenSize
	e, router := &st.expert, g.t.m.Config.Router
	picked, c := len(e.picked.Index), len(e.cand.Index)
	entry := t.f.mark()
	dlogit, daux := g.expertLoss(e)
	if picked > 0 {
		dy := t.f.get(picked * d)
		m.cpu.GatherRows(dy, dx, e.picked.Index, d)
		if router.Gating == "weighted" {
			dg := t.f.get(picked)
			m.cpu.DotRows(dg, dy, e.y, picked, d)
			for i, j := range e.chosen {
				dlogit[j] += dg[i] * e.dg[i]
			}
			m.cpu.ScaleRows(dy, dy, e.g, picked, d)
		}
		g.picked(s, st, &e.picked, dx, dy)
	}
	din := t.cleared(c * d)
	g.router(&e.router, &m.Layout.routers[s.Recursion], din, dlogit, c, router.Temperature)
	if daux != nil {
		g.router(&e.aux, &m.Layout.auxRouters[s.Recursion], nil, daux, c, 1)
	}
	m.cpu.ScatterAddRows(dx, din, e.cand.Index, d)
	t.f.release(entry)
}

// picked takes dy, the gradient of the block's output at the picked rows, through the block and adds the result to dx.
func (g *gradient) picked(s *Segment, st *segmentTape, picked *Rows, dx, dy []float32) {
	t, d := g.t, g.t.m.Config.HiddenSize
	if len(st.run.Index) != len(picked.Index) {
		full := t.cleared(len(st.run.Index) * d)
		t.m.cpu.ScatterAddRows(full, dy, picked.Index, d)
		dy = full
	}
	g.block(s, st, dy)
	t.m.cpu.ScatterAddRows(dx, dy, st.run.Index, d)
}

// block takes dy[m,d] back through the layers of a segment.
func (g *gradient) block(s *Segment, st *segmentTape, dy []float32) {
	t, n, d := g.t, len(st.run.Index), g.t.m.Config.HiddenSize
	entry, out := t.f.mark(), streamGradient{dx: dy}
	if t.m.rounds() {
		out.half = t.f.get(n * kernel.Words(d))
		t.m.cpu.RoundRows(out.half, dy, n, d)
	}
	if t.Recompute != RecomputeNone {
		g.groups(s, st, out)
	} else {
		for i := len(s.Layers) - 1; i >= 0; i-- {
			g.layer(&s.Layers[i], &st.layers[i], &st.run, out)
			g.giveUp(&st.layers[i])
		}
	}
	t.f.release(entry)
}

// expertLoss returns the gradients of the router losses: of the router's logits and, where there is one, of the auxiliary router's.
func (g *gradient) expertLoss(e *expertTape) (dlogit, daux []float32) {
	t, router, c := g.t, g.t.m.Config.Router, len(e.cand.Index)
	dlogit = t.cleared(c)
	if router.ZCoef != 0 {
		f := g.norm.Share * router.ZCoef * 2 / float64(c)
		for i, v := range e.router.logit {
			dlogit[i] += float32(f * float64(v))
		}
	}
	to, logit := dlogit, e.router.logit
	switch router.Balancing {
	case "none":
		return dlogit, nil
	case "aux_router":
		daux = t.cleared(c)
		to, logit = daux, e.aux.logit
	}
	f := g.norm.Share * router.BalancingCoef / float64(c)
	for i, v := range logit {
		to[i] += float32(f * sigmoid(float64(v)))
	}
	for _, j := range e.chosen {
		to[j] -= float32(f)
	}
	return dlogit, daux
}

// fixedDepth is the backward of fixed: the picked rows of dx go through the block, the others stay.
func (g *gradient) fixedDepth(s *Segment, st *segmentTape, dx []float32) {
	t, d := g.t, g.t.m.Config.HiddenSize
	picked := &st.expert.picked
	if len(picked.Index) == 0 {
		return
	}
	entry := t.f.mark()
	dy := t.f.get(len(picked.Index) * d)
	t.m.cpu.GatherRows(dy, dx, picked.Index, d)
	for _, row := range picked.Index {
		clear(dx[int(row)*d : (int(row)+1)*d])
	}
	g.picked(s, st, picked, dx, dy)
	t.f.release(entry)
}
