package model

import "math"

// routerTape is what a router computed for m rows.
type routerTape struct {
	x      []float32 // [m,d] its input, before the temperature
	up     []float32 // [m,2d] MLP: before the GELU
	hidden []float32 // [m,2d] MLP: behind it
	logit  []float32 // [m,out]
}

// route computes logit[m,out] of a router on x[m,d]/temperature. An MLP has no bias, so the temperature may divide behind the
// first product.
func (t *Tape) route(rt *routerTape, s *routerSpans, x []float32, m int, temperature float64) {
	d, cpu, w := t.m.Config.HiddenSize, t.m.cpu, t.m.W
	rt.x, rt.logit = x, t.f.get(m*s.out)
	scale := float32(1 / temperature)
	if s.weight.n > 0 {
		cpu.Linear(rt.logit, x, s.weight.of(w), m, d, s.out, false)
		cpu.Scale(rt.logit, scale)
		return
	}
	rt.up, rt.hidden = t.f.get(m*2*d), t.f.get(m*2*d)
	cpu.Linear(rt.up, x, s.up.of(w), m, d, 2*d, false)
	cpu.Scale(rt.up, scale)
	cpu.GELU(rt.hidden, rt.up)
	cpu.Linear(rt.logit, rt.hidden, s.down.of(w), m, 2*d, s.out, false)
}

// router adds the gradients of a router's weights for dlogit[m,out], and to dx[m,d] that of its input unless dx is nil (a detached input).
// dlogit is used up.
func (g *gradient) router(rt *routerTape, s *routerSpans, dx, dlogit []float32, m int, temperature float64) {
	t, d, cpu, w := g.t, g.t.m.Config.HiddenSize, g.t.m.cpu, g.t.m.W
	scale := float32(1 / temperature)
	if s.weight.n > 0 {
		cpu.Scale(dlogit, scale)
		cpu.LinearBackwardWeight(s.weight.of(g.w), dlogit, rt.x, m, d, s.out)
		if dx != nil {
			cpu.LinearBackwardInput(dx, dlogit, s.weight.of(w), m, d, s.out, true)
		}
		return
	}
	at := t.f.mark()
	dup := t.f.get(m * 2 * d)
	cpu.LinearBackwardWeight(s.down.of(g.w), dlogit, rt.hidden, m, 2*d, s.out)
	cpu.LinearBackwardInput(dup, dlogit, s.down.of(w), m, 2*d, s.out, false)
	cpu.GELUBackward(dup, dup, rt.up)
	cpu.Scale(dup, scale)
	cpu.LinearBackwardWeight(s.up.of(g.w), dup, rt.x, m, d, 2*d)
	if dx != nil {
		cpu.LinearBackwardInput(dx, dup, s.up.of(w), m, d, 2*d, true)
	}
	t.f.release(at)
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// capacities is k of every recursion for a sequence of the given length (METHOD.md §3), with the warm-up of capacity in training.
func (r *Router) capacity(recursion, length int, mode Mode) int {
	decay := 0.0
	if warm := r.CapacityWarmupSteps; mode.Training && warm > 0 {
		decay = 0.5 * (1 + math.Cos(math.Pi*min(1, float64(mode.Step)/float64(warm))))
	}
	c := r.Capacity[recursion]
	c += float64((1 - c) * decay)
	return max(1, int(float64(c*float64(length))))
}

// gateOf is g(logit) and its derivative.
func (r *Router) gateOf(logit float32) (g, dg float32) {
	switch r.Gate {
	case "sigmoid":
		s := sigmoid(float64(logit))
		return float32(r.Alpha * s), float32(r.Alpha * s * (1 - s))
	case "tanh":
		s := math.Tanh(float64(logit))
		return float32(r.Alpha * s), float32(r.Alpha * (1 - s*s))
	default: // none
		return logit, 1
	}
}

// drawn is a score in [0,1) for a token at a position in recursion r of a step: the control that learns nothing.
func drawn(step int, r int, pos, token int32) float32 {
	h := uint64(step)*0x9E3779B97F4A7C15 ^ uint64(r)<<56 ^ uint64(uint32(pos))<<24 ^ uint64(uint32(token))
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	h ^= h >> 31
	return float32(h>>40) / (1 << 24)
}
