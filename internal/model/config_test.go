package model_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"mor/internal/golden"
	"mor/internal/model"
)

// edit returns a valid configuration of a kind with one path changed.
func edit(t *testing.T, kind, path string, value any) []byte {
	for _, k := range golden.Kinds() {
		if k.Name != kind {
			continue
		}
		var root map[string]any
		if err := json.Unmarshal(k.Config.JSON(), &root); err != nil {
			t.Fatal(err)
		}
		at, keys := root, strings.Split(path, ".")
		for _, key := range keys[:len(keys)-1] {
			at = at[key].(map[string]any)
		}
		at[keys[len(keys)-1]] = value
		data, err := json.Marshal(root)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	t.Fatalf("no kind %s", kind)
	return nil
}

// TestInvalidCombinations: each is refused with the key, the reason and the remedy.
func TestInvalidCombinations(t *testing.T) {
	list := func(v ...float64) []float64 { return v }
	for _, c := range []struct {
		kind, path string
		value      any
		want       string
	}{
		{"vanilla", "model_type", "llama", `model_type: "llama": expected "mor" (mor convert reads other kinds)`},
		{"vanilla", "hidden_size", 0, `hidden_size: 0: expected a positive number`},
		{"vanilla", "hidden_siz", 8, `hidden_siz: unknown key: did you mean "hidden_size"?`},
		{"vanilla", "vocab_size", "many", `vocab_size: found a string, expected int`},
		{"vanilla", "head_dim", 7, `head_dim: 7 is odd: RoPE turns pairs; use an even number`},
		{"vanilla", "num_key_value_heads", 3, `num_key_value_heads: 3 does not divide num_attention_heads 4`},
		{"vanilla", "hidden_act", "gelu", `hidden_act: "gelu": expected "silu"`},
		{"vanilla", "rope_theta", -1, `rope_theta: -1: expected a positive number`},
		{"vanilla", "router", map[string]any{"type": "expert"}, `router: set, but recursion is null: a router decides recursions; add a recursion object or remove the router`},
		{"cycle", "recursion.sharing", "spiral", `recursion.sharing: "spiral": expected one of cycle, sequence, middle_cycle, middle_sequence`},
		{"cycle", "recursion.num_recursion", 3, `recursion.num_recursion: 3 does not divide num_hidden_layers = 4: set num_hidden_layers to 6`},
		{"middle_cycle", "recursion.num_recursion", 4, `recursion.num_recursion: 4 does not divide num_hidden_layers − 2 = 6: set num_hidden_layers to 10`},
		{"middle_cycle", "recursion.kv_update", true, `recursion.kv_update: true without kv_sharing`},
		{"recursive_kv_sharing", "recursion.kv_update", true, `recursion.kv_update: true without expert-choice routing`},
		{"recursive_lora_encoding", "recursion.lora.targets", []string{"x_proj"}, `recursion.lora.targets: "x_proj": expected some of q_proj`},
		{"recursive_lora_encoding", "recursion.lora.targets", []string{"q_proj", "q_proj"}, `recursion.lora.targets: "q_proj" twice`},
		{"recursive_lora_encoding", "recursion.lora.rank", 0, `recursion.lora.rank: 0: expected 1 or more`},
		{"expert", "recursion.sharing", "sequence", `num_recursion: 3 does not divide num_hidden_layers = 8`},
		{"expert", "recursion.sharing", "middle_sequence", `router: adaptive depth is not defined for "middle_sequence" sharing: use cycle or middle_cycle, or remove the router`},
		{"expert", "router.type", "both", `router.type: "both": expected expert, token or fixed`},
		{"expert", "router.capacity", list(0.5, 0.6, 0.3), `router.capacity: grows from 0.5 to 0.6 at recursion 1: a token that left cannot come back; make the list non-increasing`},
		{"expert", "router.capacity", list(1, 0.5), `router.capacity: 2 entries for 3 recursions: expected one each`},
		{"expert", "router.capacity", list(1.5, 0.5, 0.1), `router.capacity: 1.5 at recursion 0: expected a share above 0 and at most 1`},
		{"expert", "router.gate", "softmax", `router.gate: "softmax": expected one of sigmoid, tanh, none`},
		{"expert", "router.balancing", "loss_free", `router.balancing: "loss_free": expected one of aux_loss, aux_router, none`},
		{"expert", "router.kind", "conv", `router.kind: "conv": expected one of linear, mlp`},
		{"expert", "router.gating", "", `router.gating: "": expected one of weighted, additive`},
		{"expert", "router.balance_warmup_steps", 5, `router.balance_warmup_steps: 5 with expert-choice: it belongs to token-choice`},
		{"expert", "router.balance_update_rate", 0.1, `router.balance_update_rate: 0.1 with expert-choice`},
		{"expert", "router.balancing", "none", `router.balancing_coef: 0.001 with balancing "none"`},
		{"expert", "router.temperature", 0, `router.temperature: 0: expected a positive number, 1 for none`},
		{"expert", "router.alpha", -1, `router.alpha: -1: expected a positive number`},
		{"expert", "router.threshold_rate", 2, `router.threshold_rate: 2: expected a share from 0 (off) to 1`},
		{"token", "router.threshold_rate", 0.1, `router.threshold_rate: 0.1 with token-choice: only expert-choice has a threshold`},
		{"expert_aux_router", "router.threshold_rate", 0.1, `router.threshold_rate: 0.1 with rand_router or aux_router`},
		{"expert", "router.z_coef", -1, `router.z_coef: -1: expected 0 or more`},
		{"expert_aux_router", "router.rand_router", true, `router.rand_router: true with balancing "aux_router"`},
		{"token", "router.capacity", list(1, 0.5, 0.2), `router.capacity: set with token-choice: a token chooses its own depth; remove it, or use type "expert"`},
		{"token", "router.gate", "tanh", `router.gate: "tanh": expected one of softmax, sigmoid`},
		{"token", "router.capacity_warmup_steps", 5, `router.capacity_warmup_steps: 5 with token-choice`},
		{"token", "router.balancing", "loss_free", `router.balance_update_rate: 0 with loss_free balancing: expected a positive number`},
		{"token", "router.balance_update_rate", 0.1, `router.balance_update_rate: 0.1 with balancing "loss"`},
		{"token", "router.rand_router", true, `router.rand_router: true with token-choice`},
		{"token_sigmoid_loss_free", "router.balancing_coef", 0.1, `router.balancing_coef: 0.1 with balancing "loss_free"`},
		{"fixed", "router.gate", "sigmoid", `router: type "fixed" learns nothing: only capacity is expected beside it`},
		{"moe", "moe.experts_per_token", 5, `moe.experts_per_token: 5: expected 1 to num_experts 4`},
		{"moe", "moe.num_experts", 0, `moe.num_experts: 0: expected 1 to 65536`},
		{"expert_moe", "recursion.lora", map[string]any{"rank": 2, "alpha": 2, "targets": []string{"up_proj"}}, `recursion.lora.targets: "up_proj": a model with moe has no such matrix`},
	} {
		_, err := model.ParseConfig(edit(t, c.kind, c.path, c.value))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s = %v:\n got %v\nwant %s", c.kind, c.path, c.value, err, c.want)
		}
	}
	for _, k := range golden.Kinds() {
		if _, err := model.ParseConfig(k.Config.JSON()); err != nil {
			t.Errorf("%s: %v", k.Name, err)
		}
	}
}

// TestPlan compares the weights used at each effective layer with the table of METHOD.md §2.
func TestPlan(t *testing.T) {
	for _, c := range []struct {
		sharing model.Sharing
		layers  int
		n       int
		want    string
	}{
		{model.Cycle, 9, 3, "0 1 2 0 1 2 0 1 2"},
		{model.Sequence, 9, 3, "0 0 0 1 1 1 2 2 2"},
		{model.MiddleCycle, 8, 3, "0 1 2 1 2 1 2 3"},
		{model.MiddleSequence, 8, 3, "0 1 1 1 2 2 2 3"},
		{"", 3, 0, "0 1 2"},
	} {
		cfg := &model.Config{NumHiddenLayers: c.layers}
		if c.n > 0 {
			cfg.Recursion = &model.Recursion{NumRecursion: c.n, Sharing: c.sharing}
		}
		p := model.NewPlan(cfg)
		var got []string
		slots := map[int]bool{}
		for _, s := range p.Segments {
			for _, l := range s.Layers {
				got = append(got, fmt.Sprint(l.Unique))
				slots[l.Slot] = true
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: unique layers %s, want %s", c.sharing, s, c.want)
		}
		if len(slots) != c.layers || p.Slots != c.layers {
			t.Errorf("%s: %d KV slots (plan says %d), want one for each of %d layers", c.sharing, len(slots), p.Slots, c.layers)
		}
		if c.n == 0 {
			continue
		}
		cfg.Recursion.KVSharing = true
		block := cfg.BlockDepth()
		if p := model.NewPlan(cfg); p.Slots != c.layers-(c.n-1)*block {
			t.Errorf("%s with KV sharing: %d slots, want %d", c.sharing, p.Slots, c.layers-(c.n-1)*block)
		}
	}
}

// TestPresetRaisesDepth: the depths that METHOD.md §1 gives where L does not divide.
func TestPresetRaisesDepth(t *testing.T) {
	for _, c := range []struct {
		size string
		n    int
		want int
	}{{"135m", 3, 32}, {"360m", 4, 34}, {"360m", 3, 32}, {"730m", 3, 26}, {"1.7b", 3, 26}} {
		cfg, err := model.Preset(c.size, "expert", model.MiddleCycle, c.n)
		if err != nil || cfg.NumHiddenLayers != c.want {
			t.Errorf("%s N=%d: %v layers, error %v, want %d", c.size, c.n, cfg.NumHiddenLayers, err, c.want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	for _, k := range golden.Kinds() {
		f.Add(k.Config.JSON())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := model.ParseConfig(data)
		if err != nil {
			return
		}
		if c.NumHiddenLayers < 1000 && (c.MoE == nil || c.MoE.NumExperts < 1000) && (c.Recursion == nil || c.Recursion.LoRA == nil) {
			if l := model.NewLayout(c, model.NewPlan(c)); l.Size <= 0 {
				t.Errorf("a valid configuration of size %d", l.Size)
			}
		}
	})
}
