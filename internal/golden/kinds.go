package golden

import (
	"slices"

	"mor/internal/model"
)

// Kind is a small configuration of one kind of model. Every contract is tested for every kind: a new kind joins by a line in Kinds.
type Kind struct {
	Name   string
	Config *model.Config
}

// Kinds lists them.
func Kinds() []Kind {
	type change = func(*model.Config)
	router := func(edit func(*model.Router)) change { return func(c *model.Config) { edit(c.Router) } }
	share := func(c *model.Config) { c.Recursion.KVSharing = true }
	update := func(c *model.Config) { c.Recursion.KVSharing, c.Recursion.KVUpdate = true, true }
	encode := func(c *model.Config) { c.Recursion.Encoding = true }
	untied := func(c *model.Config) { c.TieWordEmbeddings = false }
	moe := func(c *model.Config) { c.MoE = &model.MoE{NumExperts: 4, ExpertsPerToken: 2, AuxCoef: 0.02} }
	lora := func(targets ...string) change {
		return func(c *model.Config) { c.Recursion.LoRA = &model.LoRA{Rank: 3, Alpha: 6, Targets: targets} }
	}
	return []Kind{
		kind("vanilla", "", "", 1),
		kind("vanilla_untied", "", "", 1, untied),
		kind("cycle", model.Cycle, "", 2),
		kind("sequence", model.Sequence, "", 2),
		kind("middle_cycle", model.MiddleCycle, "", 3),
		kind("middle_sequence", model.MiddleSequence, "", 2),
		kind("recursive_kv_sharing", model.MiddleCycle, "", 3, share),
		kind("recursive_lora_encoding", model.MiddleCycle, "", 2, encode, lora("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")),
		kind("sequence_encoding", model.Sequence, "", 2, encode),
		kind("expert", model.MiddleCycle, "expert", 3),
		kind("expert_cycle_tanh_mlp", model.Cycle, "expert", 2, router(func(r *model.Router) { r.Kind, r.Gate, r.Alpha = "mlp", "tanh", 0.3 })),
		kind("expert_none", model.MiddleCycle, "expert", 2, router(func(r *model.Router) { r.Gate = "none" })),
		kind("expert_additive_z", model.MiddleCycle, "expert", 3, router(func(r *model.Router) {
			r.Gating, r.ZCoef, r.Temperature, r.Capacity = "additive", 1e-3, 1.5, []float64{0.9, 0.5, 0.5}
		})),
		kind("expert_aux_router", model.MiddleCycle, "expert", 3, router(func(r *model.Router) { r.Balancing, r.BalancingCoef = "aux_router", 1 })),
		kind("expert_capacity_warmup", model.MiddleCycle, "expert", 2, router(func(r *model.Router) { r.CapacityWarmupSteps = 6 })),
		kind("expert_threshold_rate", model.MiddleCycle, "expert", 3, router(func(r *model.Router) { r.ThresholdRate = 0.05 })),
		kind("expert_rand_router", model.MiddleCycle, "expert", 3, router(func(r *model.Router) { r.RandRouter, r.Balancing, r.BalancingCoef = true, "none", 0 })),
		kind("expert_kv_sharing", model.MiddleCycle, "expert", 3, share),
		kind("expert_kv_update", model.MiddleCycle, "expert", 3, update, router(func(r *model.Router) { r.Capacity = []float64{0.8, 0.5, 0.25} })),
		kind("expert_lora_encoding", model.MiddleCycle, "expert", 2, encode, lora("q_proj", "down_proj")),
		kind("expert_moe", model.MiddleCycle, "expert", 2, moe),
		kind("fixed", model.MiddleCycle, "fixed", 3),
		kind("fixed_kv_sharing", model.MiddleCycle, "fixed", 3, share),
		kind("token", model.MiddleCycle, "token", 3),
		kind("token_sigmoid_loss_free", model.MiddleCycle, "token", 3, router(func(r *model.Router) {
			r.Gate, r.Alpha, r.Balancing, r.BalancingCoef, r.BalanceUpdateRate = "sigmoid", 0.1, "loss_free", 0, 0.01
		})),
		kind("token_mlp_warmup", model.Cycle, "token", 2, router(func(r *model.Router) { r.Kind, r.BalanceWarmupSteps = "mlp", 5 })),
		kind("token_additive", model.MiddleCycle, "token", 2, router(func(r *model.Router) { r.Gating = "additive" })),
		kind("token_kv_sharing", model.MiddleCycle, "token", 3, share),
		kind("moe", "", "", 1, moe),
		kind("moe_recursive", model.MiddleCycle, "", 2, moe),
	}
}

func kind(name string, sharing model.Sharing, router string, n int, changes ...func(*model.Config)) Kind {
	c := &model.Config{
		ModelType: "mor", VocabSize: 61, HiddenSize: 24, IntermediateSize: 36, NumHiddenLayers: 2 * n, NumAttentionHeads: 4, NumKeyValueHeads: 2, HeadDim: 8,
		MaxPositionEmbeddings: 64, RMSNormEps: 1e-5, RopeTheta: 10000, TieWordEmbeddings: true, InitializerRange: 0.2, HiddenAct: "silu",
	}
	if sharing != "" {
		c.Recursion = &model.Recursion{NumRecursion: n, Sharing: sharing}
		if sharing.Middle() {
			c.NumHiddenLayers += 2
		}
	}
	if router != "" {
		c.Router = model.DefaultRouter(router, n)
	}
	for _, change := range changes {
		change(c)
	}
	return Kind{name, c}
}

// Sequences draws ragged sequences of tokens.
func Sequences(c *model.Config, lengths ...int) [][]int32 {
	var out [][]int32
	state := uint64(1)
	for _, n := range lengths {
		s := make([]int32, n)
		for i := range s {
			state = state*6364136223846793005 + 1442695040888963407
			s[i] = int32(state>>33) % int32(c.VocabSize)
		}
		out = append(out, s)
	}
	return slices.Clip(out)
}
