package model

import (
	"math"
	"slices"

	"mor/internal/kernel"
)

// Norm says what part of a step a batch is, so that micro-batches add up to the step: the mean is over the targets of the whole step.
type Norm struct {
	Targets int     // targets of the whole step
	Share   float64 // this batch's share of the step's tokens: 1 without gradient accumulation
}

// Losses are the parts of a batch's loss, in nats. Summed over the micro-batches of a step they are those of the step.
type Losses struct {
	CE              float64
	Aux             float64 // expert-choice: BCE of the router (or of the auxiliary router); MoE: load balancing
	AuxPerRecursion []float64
	Balance         float64 // token-choice
	Z               float64
	Total           float64   // what is differentiated
	Load            []float64 // token-choice: share of the tokens at each depth
	Cuts            []float64 // expert-choice with threshold_rate: the score that separates the chosen from the others, by recursion
	Targets         int
}

// chunkValues bounds the logits that exist at once.
const chunkValues = 1 << 24

// headRows is how many of n rows go through the head at once: chunks alike, because each reads the whole head.
func headRows(n, v int) int {
	chunks := (n + max(16, chunkValues/v) - 1) / max(16, chunkValues/v)
	return (n + chunks - 1) / chunks
}

// CrossEntropy is the sum of −log p(target) over the targets of the last forward pass, and their number. perRow, when not nil, receives the
// n terms (0 where there is no target).
func (m *Model) CrossEntropy(t *Tape, perRow []float32) (sum float64, targets int) {
	return t.head(nil, nil, 0, perRow)
}

// logitValues is how many logits a cache keeps until their loss is known.
const logitValues = 1 << 21

// logitRows is how many of the rows that go through the head together have logits at once: not all where the gradients are kept apart, in bfloat16. For
// fewer than some hundred rows it would not be worth reading the head.
func logitRows(rows, v int, half bool) int {
	if few := logitValues / v; half && few >= 256 {
		return min(rows, few)
	}
	return rows
}

// head runs the output head and cross-entropy over chunks of rows, so that the logits never exist whole. With dhidden[n,d], it also
// computes the gradients for scale times the sum.
func (t *Tape) head(dhidden, grads []float32, scale float32, perRow []float32) (sum float64, targets int) {
	m, n, d, v := t.m, t.batch.Rows(), t.m.Config.HiddenSize, t.m.Config.VocabSize
	step := headRows(n, v)
	at := t.f.mark()
	loss, half := t.f.get(step), dhidden != nil && m.rounds()
	logits := t.f.get(logitRows(step, v, half) * v)
	for lo := 0; lo < n; lo += step {
		here, hi := t.f.mark(), min(lo+step, n)
		c, want := hi-lo, t.batch.Targets[lo:hi]
		dy := operand{logits, false}
		if half {
			dy = operand{t.f.get(c * kernel.Words(v)), true}
			t.halfLoss(dy, loss, logits, lo, hi, scale)
		} else {
			m.Logits(logits[:c*v], t, lo, hi)
			m.cpu.CrossEntropy(loss[:c], logits[:c*v], want, v, scale)
		}
		for i, l := range loss[:c] {
			sum += float64(l)
			if want[i] >= 0 {
				targets++
			}
		}
		if perRow != nil {
			copy(perRow[lo:hi], loss)
		}
		if dhidden != nil {
			m.linearBackwardInput(dhidden[lo*d:hi*d], dy, m.Layout.head, c, d, v)
			m.linearBackwardWeight(grads, dy, t.operand(t.norm[lo*d:hi*d], c, d), m.Layout.head, c, d, v)
		}
		t.f.release(here)
	}
	t.f.release(at)
	return sum, targets
}

// halfLoss computes loss[hi-lo] and the gradients of the logits, dy, of the rows [lo, hi), so many at a time as logits has room for.
func (t *Tape) halfLoss(dy operand, loss, logits []float32, lo, hi int, scale float32) {
	v := t.m.Config.VocabSize
	step := len(logits) / v
	for at := lo; at < hi; at += step {
		end := min(at+step, hi)
		t.m.Logits(logits[:(end-at)*v], t, at, end)
		t.m.cpu.CrossEntropyBF16(dy.from(at-lo, v).rows, loss[at-lo:end-lo], logits[:(end-at)*v], t.batch.Targets[at:end], v, scale)
	}
}

// routerLosses fills in what the routers of the last forward pass cost.
func (t *Tape) routerLosses(l *Losses, norm Norm) {
	router := t.m.Config.Router
	switch {
	case t.m.Config.Expert():
		t.expertLosses(l, norm)
	case t.m.Config.Token():
		t.tokenLosses(l, norm)
	}
	if router != nil {
		l.Total += router.ZCoef * l.Z
	}
	if t.m.Config.MoE != nil {
		t.moeLosses(l, norm)
	}
}

func (t *Tape) expertLosses(l *Losses, norm Norm) {
	router := t.m.Config.Router
	for i, s := range t.m.Plan.Segments {
		e := &t.segs[i].expert
		c := float64(len(e.cand.Index))
		if s.Gate != GateExpert || c == 0 {
			continue
		}
		z := 0.0
		for _, v := range e.router.logit {
			z += float64(v) * float64(v)
		}
		l.Z += norm.Share * z / c
		if router.ThresholdRate > 0 && t.mode.Routing == TopK {
			l.Cuts = append(l.Cuts, norm.Share*t.cutOf(e))
		}
		if router.Balancing == "none" {
			continue
		}
		logit := e.router.logit
		if router.Balancing == "aux_router" {
			logit = e.aux.logit
		}
		bce := 0.0
		for _, v := range logit { // −log(1−σ) of everyone, less the logit of the chosen
			bce += softplus(float64(v))
		}
		for _, j := range e.chosen {
			bce -= float64(logit[j])
		}
		l.AuxPerRecursion = append(l.AuxPerRecursion, norm.Share*bce/c)
		l.Aux += norm.Share * bce / c
	}
	l.Total += router.BalancingCoef * l.Aux
}

// softplus is log(1+exp(x)) without overflow.
func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

func (t *Tape) tokenLosses(l *Losses, norm Norm) {
	router, k := t.m.Config.Router, &t.token
	n, depths := len(t.all.Index), t.m.Config.Recursion.NumRecursion
	l.Load = l.Load[:0]
	for j := range depths {
		mean := 0.0
		for i := range n {
			mean += float64(k.p[i*depths+j]) / float64(n)
		}
		l.Load = append(l.Load, norm.Share*k.load[j])
		if router.Balancing == "loss" {
			l.Balance += norm.Share * float64(depths) * k.load[j] * mean
		}
	}
	for i := range n {
		lse := logsumexp(k.router.logit[i*depths : (i+1)*depths])
		l.Z += norm.Share * lse * lse / float64(n)
	}
	l.Total += router.BalancingCoef * l.Balance
}

func logsumexp(x []float32) float64 {
	top, sum := math.Inf(-1), 0.0
	for _, v := range x {
		top = max(top, float64(v))
	}
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum)
}

// cutOf is the score halfway between the chosen and the others when the candidates of all sequences are taken together; one below the least where
// all were chosen.
func (t *Tape) cutOf(e *expertTape) float64 {
	at := t.f.mark()
	defer t.f.release(at)
	sorted := t.f.get(len(e.router.logit))
	copy(sorted, e.router.logit)
	slices.Sort(sorted)
	others := len(sorted) - len(e.chosen)
	if others == 0 {
		return float64(sorted[0]) - 1
	}
	return (float64(sorted[others-1]) + float64(sorted[min(others, len(sorted)-1)])) / 2
}

// UpdateThresholds moves the causal thresholds behind a training step towards the scores that separated the chosen from the others. It does nothing
// for models without threshold_rate.
func (m *Model) UpdateThresholds(cuts []float64, step int) {
	if !m.Config.Expert() || m.Config.Router.ThresholdRate == 0 {
		return
	}
	rate := m.Config.Router.ThresholdRate
	if step == 1 {
		rate = 1
	}
	for r, b := range m.Layout.thresholds.of(m.W) {
		m.Layout.thresholds.of(m.W)[r] = b + float32(rate*(cuts[r]-float64(b)))
	}
}

// UpdateBalance moves the bias of loss-free balancing behind a training step: b += u·sign(mean load − load) (METHOD.md §4). It does nothing for
// other models.
func (m *Model) UpdateBalance(load []float64, step int) {
	if !m.Config.Token() || m.Config.Router.Balancing != "loss_free" {
		return
	}
	bias, router := m.Layout.balanceBias.of(m.W), m.Config.Router
	if step < router.BalanceWarmupSteps {
		clear(bias)
	}
	mean := 0.0
	for _, f := range load {
		mean += f
	}
	mean /= float64(len(load))
	for j, f := range load {
		switch {
		case mean > f:
			bias[j] += float32(router.BalanceUpdateRate)
		case mean < f:
			bias[j] -= float32(router.BalanceUpdateRate)
		}
	}
}
