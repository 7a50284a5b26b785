package reference

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"mor/internal/model"
)

// config makes the configuration of the model, tied as config.json says.
func config(l *llama, s *settings) (c *model.Config, err error) {
	c = &model.Config{
		ModelType: "mor", VocabSize: l.VocabSize, HiddenSize: l.HiddenSize, IntermediateSize: l.IntermediateSize, NumHiddenLayers: l.NumHiddenLayers,
		NumAttentionHeads: l.NumAttentionHeads, NumKeyValueHeads: or(l.NumKeyValueHeads, l.NumAttentionHeads),
		HeadDim:               or(l.HeadDim, l.HiddenSize/max(l.NumAttentionHeads, 1)),
		MaxPositionEmbeddings: l.MaxPositionEmbeddings, RMSNormEps: l.RMSNormEps, RopeTheta: l.RopeTheta, TieWordEmbeddings: l.TieWordEmbeddings,
		InitializerRange: 0.02, HiddenAct: l.HiddenAct, // METHOD.md §1; it says nothing about trained weights
	}
	rec := &s.Recursive
	switch {
	case s.Relaxation.Enable:
		return nil, fmt.Errorf("relaxation.method: %q: adapters of the reference are not read: merge them, or train without", s.Relaxation.Method)
	case s.MoR.Enable && !rec.Enable:
		return nil, fmt.Errorf("mor.enable: true without recursive.enable: there is nothing to route to")
	case s.KVSharing.Enable && !rec.Enable:
		return nil, fmt.Errorf("kv_sharing.enable: true without recursive.enable: shared keys are supported where weights are shared too")
	case !rec.Enable || rec.NumRecursion == 1 && !s.MoR.Enable: // one recursion: the reference keeps the first layers, as a vanilla model
		return c, c.Validate()
	}
	c.Recursion = &model.Recursion{NumRecursion: rec.NumRecursion, Sharing: rec.Sharing, KVSharing: s.KVSharing.Enable,
		KVUpdate: s.KVSharing.Enable && s.KVSharing.UpdateCache}
	if s.MoR.Enable {
		if c.Router, err = s.router(); err != nil {
			return nil, fmt.Errorf("mor.%w", err)
		}
	}
	return c, c.Validate()
}

func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// router makes the router object.
func (s *settings) router() (*model.Router, error) {
	m := &s.MoR
	if m.RandRouter {
		return nil, fmt.Errorf("rand_router: true: the reference draws gates too, and stores no router: it cannot be converted")
	}
	r := &model.Router{Type: m.Type, Temperature: float64(or(m.Temp, 1))}
	switch m.RouterType {
	case "linear":
		r.Kind = "linear"
	case "mlp", "wide_mlp": // the same in the reference
		r.Kind = "mlp"
	default:
		return nil, fmt.Errorf("router_type: %q: expected linear, mlp or wide_mlp", m.RouterType)
	}
	if m.ZLoss {
		r.ZCoef = float64(m.ZCoeff)
	}
	switch m.Type {
	case model.ExpertChoice:
		return r, s.expert(r)
	case model.TokenChoice:
		return r, s.token(r)
	}
	return nil, fmt.Errorf("type: %q: expected expert or token", m.Type)
}

func (s *settings) expert(r *model.Router) error {
	e := &s.MoR.Expert
	r.Gate, r.Alpha, r.Gating = or(e.RouterFunc, "none"), float64(or(e.Alpha, 0.1)), or(e.Gating, "weighted")
	if r.Gate == "none" && e.Alpha == nil {
		r.Alpha = 1
	}
	if r.Balancing = or(e.Sampling, "none"); r.Balancing != "none" {
		r.BalancingCoef = float64(e.Coeff)
	}
	var err error
	if r.Capacity, err = capacity(s.MoR.Capacity, s.Recursive.NumRecursion); err != nil {
		return err
	}
	// The reference counts forward passes, of which a step has so many as it accumulates; without a number the warm-up of the rate is meant.
	steps, passes := or(s.Accumulate, 1), or(e.CapWarmupStep, 0)
	if e.CapWarmupStep == nil {
		passes = or(s.Warmup, 0) * steps
	}
	if passes < 0 || steps < 1 {
		return fmt.Errorf("expert.cap_warmup_step: %d with gradient_accumulation_steps %d: expected numbers of passes", passes, steps)
	}
	r.CapacityWarmupSteps = int(math.Ceil(float64(passes) / float64(steps)))
	return nil
}

func (s *settings) token(r *model.Router) error {
	t := &s.MoR.Token
	r.Gate, r.Gating, r.Balancing = or(t.RouterFunc, "softmax"), or(t.Gating, "weighted"), or(t.Balancing, "none")
	if r.Gate != "sigmoid" { // as the reference reads it
		r.Gate = "softmax"
	}
	r.Alpha = float64(or(t.Alpha, map[string]number{"softmax": 1, "sigmoid": 0.1}[r.Gate]))
	if r.BalanceWarmupSteps = t.BalWarmupStep; r.BalanceWarmupSteps < 0 {
		return fmt.Errorf("token.bal_warmup_step: %d: expected 0 or more", t.BalWarmupStep)
	}
	switch r.Balancing {
	case "loss":
		r.BalancingCoef = float64(t.Coeff)
	case "loss_free": // the reference has no use for coeff here
		r.BalanceUpdateRate = float64(t.U)
	}
	return nil
}

// capacity reads "1.0,0.5"; null stands for (N−r)/N.
func capacity(v any, n int) ([]float64, error) {
	if v == nil {
		out := make([]float64, max(n, 0))
		for r := range out {
			out[r] = float64(n-r) / float64(n)
		}
		return out, nil
	}
	var out []float64
	for part := range strings.SplitSeq(fmt.Sprint(v), ",") {
		x, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil {
			return nil, fmt.Errorf("capacity: %q: expected numbers between commas, e.g. 1.0,0.5", fmt.Sprint(v))
		}
		out = append(out, x)
	}
	return out, nil
}
