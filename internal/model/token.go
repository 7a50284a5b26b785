package model

import "math"

// tokenTape is what token-choice decided for the rows of a batch (METHOD.md §4).
type tokenTape struct {
	router routerTape
	p      []float32 // [n,N]
	choice []int32   // [n] the last recursion that each token takes
	load   []float64 // [N] share of the tokens that chose each depth
}

// chooseDepth routes every row once, on the stream x[n,d] that enters the loop.
func (t *Tape) chooseDepth(x []float32) {
	m, router, k := t.m, t.m.Config.Router, &t.token
	n, depths, d := len(t.all.Index), m.Config.Recursion.NumRecursion, m.Config.HiddenSize
	in := t.f.get(n * d)
	m.cpu.Copy(in, x)
	t.route(&k.router, &m.Layout.routers[0], in, n, router.Temperature)
	k.p, k.choice = t.f.get(n*depths), t.i.get(n)
	var bias []float32
	if router.Balancing == "loss_free" {
		bias = m.Layout.balanceBias.of(m.W)
	}
	all := t.mode.Training && t.mode.Step < router.BalanceWarmupSteps
	if len(k.load) != depths {
		k.load = make([]float64, depths)
	}
	clear(k.load)
	for i := range n {
		p := k.p[i*depths : (i+1)*depths]
		router.weights(p, k.router.logit[i*depths:(i+1)*depths])
		best := depths - 1
		if !all {
			best = argmax(p, bias)
		}
		best = min(best, t.mode.recursions(m.Config)-1)
		k.choice[i] = int32(best)
		k.load[best]++ // a count until all are in: shares must be exact, the loss-free bias looks at their signs
		t.Depth[i] = int32(best + 1)
	}
	for j := range k.load {
		k.load[j] /= float64(n)
	}
}

// weights is p = alpha·softmax(logit) or alpha·sigmoid(logit).
func (r *Router) weights(p, logit []float32) {
	if r.Gate == "sigmoid" {
		for j, v := range logit {
			p[j] = float32(r.Alpha * sigmoid(float64(v)))
		}
		return
	}
	softmax(p, logit, r.Alpha)
}

// softmax writes alpha·softmax(logit) and returns the logsumexp.
func softmax(p, logit []float32, alpha float64) float64 {
	top, sum := math.Inf(-1), 0.0
	for _, v := range logit {
		top = max(top, float64(v))
	}
	for _, v := range logit {
		sum += math.Exp(float64(v) - top)
	}
	for j, v := range logit {
		p[j] = float32(alpha * math.Exp(float64(v)-top) / sum)
	}
	return top + math.Log(sum)
}

// argmax is the first index of the largest p+bias.
func argmax(p, bias []float32) int {
	best, top := 0, float32(math.Inf(-1))
	for j, v := range p {
		if bias != nil {
			v += bias[j]
		}
		if v > top {
			best, top = j, v
		}
	}
	return best
}

// tokenSegment runs one recursion under token-choice on st.run with the rows h[m,d]: those whose last recursion this is leave, gated once, into
// x[n,d]; the others are returned with their set.
func (t *Tape) tokenSegment(s *Segment, st *segmentTape, h, x []float32) (*Rows, []float32) {
	d, r, n := t.m.Config.HiddenSize, int32(s.Recursion), t.m.Config.Recursion.NumRecursion
	st.y = t.block(s, st, h)
	m := len(st.run.Index)
	done, stay := t.i.get(m)[:0], t.i.get(m)[:0]
	g, rows := t.f.get(m)[:0], t.i.get(m)[:0]
	for i, row := range st.run.Index {
		if t.token.choice[row] > r {
			stay = append(stay, int32(i))
			continue
		}
		weight := float32(1)
		if t.m.Config.Router.Gating == "weighted" {
			weight = t.token.p[int(row)*n+int(r)]
		}
		done, rows, g = append(done, int32(i)), append(rows, row), append(g, weight)
	}
	out := t.f.get(len(done) * d)
	t.m.cpu.GatherRows(out, st.y, done, d)
	t.m.cpu.ScatterAddScaled(x, out, g, rows, d)
	next := t.rows(len(stay))
	subset(&next, &st.run, stay, t.first)
	rest := t.f.get(len(stay) * d)
	t.m.cpu.GatherRows(rest, st.y, stay, d)
	st.expert.picked, st.expert.chosen = next, stay
	return &st.expert.picked, rest
}

// tokenSegment is the backward of one recursion: dx[n,d] is the gradient of the stream behind the loop, dnext that of the rows that went on.
// It returns the gradient of the rows that came in, and adds to dp[n,N] that of the weights.
func (g *gradient) tokenSegment(s *Segment, st *segmentTape, dx, dnext, dp []float32) []float32 {
	t, d, n := g.t, g.t.m.Config.HiddenSize, g.t.m.Config.Recursion.NumRecursion
	m, r := len(st.run.Index), s.Recursion
	dy := t.f.get(m * d)
	t.m.cpu.GatherRows(dy, dx, st.run.Index, d)
	if t.m.Config.Router.Gating == "weighted" {
		dot, weight := t.f.get(m), t.f.get(m)
		t.m.cpu.DotRows(dot, dy, st.y, m, d)
		for i, row := range st.run.Index {
			at := int(row)*n + r
			weight[i] = t.token.p[at]
			if int(t.token.choice[row]) == r {
				dp[at] += dot[i]
			}
		}
		t.m.cpu.ScaleRows(dy, dy, weight, m, d)
	}
	t.m.cpu.ScatterRows(dy, dnext, st.expert.chosen, d)
	g.block(s, st, dy)
	return dy
}

// tokenRouter takes dp[n,N] and the router's losses through the router, into dx[n,d].
func (g *gradient) tokenRouter(dx, dp []float32) {
	t, router, k := g.t, g.t.m.Config.Router, &g.t.token
	n, depths := len(t.all.Index), t.m.Config.Recursion.NumRecursion
	dlogit, soft := t.cleared(n*depths), t.f.get(depths)
	for i := range n {
		logit, p := k.router.logit[i*depths:(i+1)*depths], k.p[i*depths:(i+1)*depths]
		dpi, dl := dp[i*depths:(i+1)*depths], dlogit[i*depths:(i+1)*depths]
		if router.Balancing == "loss" {
			f := g.norm.Share * router.BalancingCoef * float64(depths) / float64(n)
			for j := range dpi {
				dpi[j] += float32(f * k.load[j])
			}
		}
		lse := softmax(soft, logit, 1)
		if router.Gate == "sigmoid" {
			for j, v := range p {
				s := float64(v) / router.Alpha
				dl[j] = float32(float64(dpi[j]) * router.Alpha * s * (1 - s))
			}
		} else {
			mean := 0.0
			for j, s := range soft {
				mean += float64(dpi[j]) * float64(s)
			}
			for j, s := range soft {
				dl[j] = float32(router.Alpha * float64(s) * (float64(dpi[j]) - mean))
			}
		}
		for j, s := range soft {
			dl[j] += float32(g.norm.Share * router.ZCoef * 2 * lse / float64(n) * float64(s))
		}
	}
	g.router(&k.router, &t.m.Layout.routers[0], dx, dlogit, n, router.Temperature)
}
