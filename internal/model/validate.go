package model

import (
	"fmt"
	"slices"
	"strings"
)

// Projections lists the matrices of a layer that LoRA can correct, in the order of use.
var projections = []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

// Bounds that keep what is made of a configuration small before its weights are seen: descriptions of tensors, and values of the table of RoPE.
const (
	maxTensors = 1 << 17
	maxRope    = 1 << 27
)

// Validate reports the first thing that is wrong, as "key: what was found: what to do".
func (c *Config) Validate() error {
	if c.ModelType != "mor" {
		return fmt.Errorf("model_type: %q: expected \"mor\" (mor convert reads other kinds)", c.ModelType)
	}
	for _, f := range []struct {
		key   string
		value int
	}{
		{"vocab_size", c.VocabSize}, {"hidden_size", c.HiddenSize}, {"intermediate_size", c.IntermediateSize},
		{"num_hidden_layers", c.NumHiddenLayers}, {"num_attention_heads", c.NumAttentionHeads},
		{"num_key_value_heads", c.NumKeyValueHeads}, {"head_dim", c.HeadDim}, {"max_position_embeddings", c.MaxPositionEmbeddings},
	} {
		if f.value < 1 {
			return fmt.Errorf("%s: %d: expected a positive number", f.key, f.value)
		}
		if f.value > 1<<24 { // sizes of tensors stay far from overflow
			return fmt.Errorf("%s: %d: expected at most %d", f.key, f.value, 1<<24)
		}
	}
	switch {
	case c.HeadDim%2 != 0:
		return fmt.Errorf("head_dim: %d is odd: RoPE turns pairs; use an even number", c.HeadDim)
	case c.NumHiddenLayers > maxTensors/8:
		return fmt.Errorf("num_hidden_layers: %d: expected at most %d", c.NumHiddenLayers, maxTensors/8)
	case c.MaxPositionEmbeddings > maxRope/c.HeadDim:
		return fmt.Errorf("max_position_embeddings: %d: expected at most %d with heads of %d", c.MaxPositionEmbeddings, maxRope/c.HeadDim, c.HeadDim)
	case c.NumAttentionHeads%c.NumKeyValueHeads != 0:
		return fmt.Errorf("num_key_value_heads: %d does not divide num_attention_heads %d", c.NumKeyValueHeads, c.NumAttentionHeads)
	case !(c.RMSNormEps > 0):
		return fmt.Errorf("rms_norm_eps: %v: expected a positive number, e.g. 1e-5", c.RMSNormEps)
	case !(c.RopeTheta > 0):
		return fmt.Errorf("rope_theta: %v: expected a positive number, e.g. 10000", c.RopeTheta)
	case !(c.InitializerRange >= 0):
		return fmt.Errorf("initializer_range: %v: expected 0 or more, e.g. 0.02", c.InitializerRange)
	case c.HiddenAct != "silu":
		return fmt.Errorf("hidden_act: %q: expected \"silu\", the only one that the block has", c.HiddenAct)
	}
	if err := c.RopeScaling.validate(); err != nil {
		return err
	}
	if err := c.validateRecursion(); err != nil {
		return err
	}
	if err := c.validateRouter(); err != nil {
		return err
	}
	return c.validateMoE()
}

func (c *Config) validateRecursion() error {
	r := c.Recursion
	if r == nil {
		return nil
	}
	switch r.Sharing {
	case Cycle, Sequence, MiddleCycle, MiddleSequence:
	default:
		return fmt.Errorf("recursion.sharing: %q: expected one of cycle, sequence, middle_cycle, middle_sequence", r.Sharing)
	}
	n := r.NumRecursion
	if n < 1 {
		return fmt.Errorf("recursion.num_recursion: %d: expected 1 or more", n)
	}
	if span := c.span(); span < n || span%n != 0 {
		what, extra := "num_hidden_layers", 0
		if r.Sharing.Middle() {
			what, extra = "num_hidden_layers − 2", 2
		}
		return fmt.Errorf("recursion.num_recursion: %d does not divide %s = %d: set num_hidden_layers to %d", n, what, span, max(1, (span+n-1)/n)*n+extra)
	}
	if r.KVUpdate && !r.KVSharing {
		return fmt.Errorf("recursion.kv_update: true without kv_sharing: there is no shared cache to update; set kv_sharing to true")
	}
	if r.KVUpdate && !c.Expert() {
		return fmt.Errorf("recursion.kv_update: true without expert-choice routing: it is defined for router.type \"expert\" only; set it to false")
	}
	if l := r.LoRA; l != nil {
		if l.Rank < 1 {
			return fmt.Errorf("recursion.lora.rank: %d: expected 1 or more", l.Rank)
		}
		if len(l.Targets) == 0 {
			return fmt.Errorf("recursion.lora.targets: empty: name some of %s, or set lora to null", strings.Join(projections, ", "))
		}
		for i, t := range l.Targets {
			if !slices.Contains(projections, t) {
				return fmt.Errorf("recursion.lora.targets: %q: expected some of %s", t, strings.Join(projections, ", "))
			}
			if slices.Contains(l.Targets[:i], t) {
				return fmt.Errorf("recursion.lora.targets: %q twice", t)
			}
			if c.MoE != nil && slices.Contains(projections[4:], t) {
				return fmt.Errorf("recursion.lora.targets: %q: a model with moe has no such matrix; leave it out", t)
			}
		}
	}
	return nil
}

func (c *Config) validateRouter() error {
	r := c.Router
	if r == nil {
		return nil
	}
	if c.Recursion == nil {
		return fmt.Errorf("router: set, but recursion is null: a router decides recursions; add a recursion object or remove the router")
	}
	if !c.Recursion.Sharing.Cyclic() {
		return fmt.Errorf("router: adaptive depth is not defined for %q sharing: use cycle or middle_cycle, or remove the router", c.Recursion.Sharing)
	}
	switch r.Type {
	case ExpertChoice:
		return c.validateExpert()
	case TokenChoice:
		return c.validateToken()
	case FixedDepth:
		return c.validateFixed()
	}
	return fmt.Errorf("router.type: %q: expected expert, token or fixed", r.Type)
}

// oneOf checks a key of the router object.
func oneOf(key, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("router.%s: %q: expected one of %s", key, value, strings.Join(allowed, ", "))
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) validateCapacity() error {
	capacity, n := c.Router.Capacity, c.Recursion.NumRecursion
	if len(capacity) != n {
		return fmt.Errorf("router.capacity: %d entries for %d recursions: expected one each", len(capacity), n)
	}
	for i, v := range capacity {
		if !(v > 0 && v <= 1) {
			return fmt.Errorf("router.capacity: %v at recursion %d: expected a share above 0 and at most 1", v, i)
		}
		if i > 0 && v > capacity[i-1] {
			return fmt.Errorf("router.capacity: grows from %v to %v at recursion %d: a token that left cannot come back; make the list non-increasing", capacity[i-1], v, i)
		}
	}
	return nil
}

func (c *Config) validateShared() error {
	r := c.Router
	if !(r.Alpha > 0) {
		return fmt.Errorf("router.alpha: %v: expected a positive number", r.Alpha)
	}
	if !(r.Temperature > 0) {
		return fmt.Errorf("router.temperature: %v: expected a positive number, 1 for none", r.Temperature)
	}
	for _, f := range []struct {
		key   string
		value float64
	}{{"balancing_coef", r.BalancingCoef}, {"balance_update_rate", r.BalanceUpdateRate}, {"z_coef", r.ZCoef},
		{"capacity_warmup_steps", float64(r.CapacityWarmupSteps)}, {"balance_warmup_steps", float64(r.BalanceWarmupSteps)}} {
		if !(f.value >= 0) {
			return fmt.Errorf("router.%s: %v: expected 0 or more", f.key, f.value)
		}
	}
	return first(oneOf("kind", r.Kind, "linear", "mlp"), oneOf("gating", r.Gating, "weighted", "additive"))
}

func (c *Config) validateExpert() error {
	r := c.Router
	if err := first(c.validateCapacity(), c.validateShared(), oneOf("gate", r.Gate, "sigmoid", "tanh", "none"),
		oneOf("balancing", r.Balancing, "aux_loss", "aux_router", "none")); err != nil {
		return err
	}
	switch {
	case r.BalanceWarmupSteps != 0:
		return fmt.Errorf("router.balance_warmup_steps: %d with expert-choice: it belongs to token-choice; capacity_warmup_steps is the one for expert-choice", r.BalanceWarmupSteps)
	case r.BalanceUpdateRate != 0:
		return fmt.Errorf("router.balance_update_rate: %v with expert-choice: it belongs to token-choice with loss_free balancing; set it to 0", r.BalanceUpdateRate)
	case r.Balancing == "none" && r.BalancingCoef != 0:
		return fmt.Errorf("router.balancing_coef: %v with balancing \"none\": set it to 0, or balancing to aux_loss", r.BalancingCoef)
	case !(r.ThresholdRate >= 0 && r.ThresholdRate <= 1):
		return fmt.Errorf("router.threshold_rate: %v: expected a share from 0 (off) to 1, e.g. 0.05", r.ThresholdRate)
	case r.ThresholdRate > 0 && (r.RandRouter || r.Balancing == "aux_router"):
		return fmt.Errorf("router.threshold_rate: %v with rand_router or aux_router: it follows the main router's scores, which these do not decide by; set it to 0", r.ThresholdRate)
	case r.RandRouter && r.Balancing == "aux_router":
		return fmt.Errorf("router.rand_router: true with balancing \"aux_router\": a drawn choice cannot be learned; use \"none\"")
	}
	return nil
}

func (c *Config) validateToken() error {
	r := c.Router
	if err := first(c.validateShared(), oneOf("gate", r.Gate, "softmax", "sigmoid"),
		oneOf("balancing", r.Balancing, "loss", "loss_free", "none")); err != nil {
		return err
	}
	switch {
	case r.ThresholdRate != 0:
		return fmt.Errorf("router.threshold_rate: %v with token-choice: only expert-choice has a threshold; remove it", r.ThresholdRate)
	case r.RandRouter:
		return fmt.Errorf("router.rand_router: true with token-choice: the control is defined for type \"expert\"; remove it")
	case r.Capacity != nil:
		return fmt.Errorf("router.capacity: set with token-choice: a token chooses its own depth; remove it, or use type \"expert\"")
	case r.CapacityWarmupSteps != 0:
		return fmt.Errorf("router.capacity_warmup_steps: %d with token-choice: it belongs to expert-choice; balance_warmup_steps is the one for token-choice", r.CapacityWarmupSteps)
	case r.Balancing == "loss_free" && !(r.BalanceUpdateRate > 0):
		return fmt.Errorf("router.balance_update_rate: %v with loss_free balancing: expected a positive number, e.g. 0.001", r.BalanceUpdateRate)
	case r.Balancing != "loss_free" && r.BalanceUpdateRate != 0:
		return fmt.Errorf("router.balance_update_rate: %v with balancing %q: it belongs to loss_free; set it to 0", r.BalanceUpdateRate, r.Balancing)
	case r.Balancing != "loss" && r.BalancingCoef != 0:
		return fmt.Errorf("router.balancing_coef: %v with balancing %q: it belongs to \"loss\"; set it to 0", r.BalancingCoef, r.Balancing)
	}
	return nil
}

func (c *Config) validateFixed() error {
	r := c.Router
	if err := c.validateCapacity(); err != nil {
		return err
	}
	rest := *r
	rest.Type, rest.Capacity = "", nil
	if rest.Kind != "" || rest.Gate != "" || rest.Alpha != 0 || rest.Temperature != 0 || rest.Gating != "" || rest.Balancing != "" || rest.BalancingCoef != 0 ||
		rest.BalanceUpdateRate != 0 || rest.ZCoef != 0 || rest.CapacityWarmupSteps != 0 || rest.BalanceWarmupSteps != 0 || rest.RandRouter || rest.ThresholdRate != 0 {
		return fmt.Errorf("router: type \"fixed\" learns nothing: only capacity is expected beside it; remove the other keys")
	}
	return nil
}

func (c *Config) validateMoE() error {
	m := c.MoE
	if m == nil {
		return nil
	}
	switch {
	case m.NumExperts < 1 || m.NumExperts > 1<<16:
		return fmt.Errorf("moe.num_experts: %d: expected 1 to %d", m.NumExperts, 1<<16)
	case m.NumExperts*c.NumHiddenLayers > maxTensors:
		return fmt.Errorf("moe.num_experts: %d in %d layers: expected at most %d in all", m.NumExperts, c.NumHiddenLayers, maxTensors)
	case m.ExpertsPerToken < 1 || m.ExpertsPerToken > m.NumExperts:
		return fmt.Errorf("moe.experts_per_token: %d: expected 1 to num_experts %d", m.ExpertsPerToken, m.NumExperts)
	case !(m.AuxCoef >= 0):
		return fmt.Errorf("moe.aux_coef: %v: expected 0 or more", m.AuxCoef)
	}
	return nil
}
