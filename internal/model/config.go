// Package model is the Transformer whose depth adapts to each token: its configuration, plan, weights, forward and backward.
package model

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"mor/internal/strict"
)

// Config describes a model. The keys are Hugging Face's Llama names, plus the objects recursion, router and moe.
type Config struct {
	ModelType             string       `json:"model_type"`
	VocabSize             int          `json:"vocab_size"`
	HiddenSize            int          `json:"hidden_size"`
	IntermediateSize      int          `json:"intermediate_size"`
	NumHiddenLayers       int          `json:"num_hidden_layers"` // effective layers
	NumAttentionHeads     int          `json:"num_attention_heads"`
	NumKeyValueHeads      int          `json:"num_key_value_heads"`
	HeadDim               int          `json:"head_dim"`
	MaxPositionEmbeddings int          `json:"max_position_embeddings"`
	RMSNormEps            float64      `json:"rms_norm_eps"`
	RopeTheta             float64      `json:"rope_theta"`
	RopeScaling           *RopeScaling `json:"rope_scaling,omitempty"`
	TieWordEmbeddings     bool         `json:"tie_word_embeddings"`
	InitializerRange      float64      `json:"initializer_range"`
	HiddenAct             string       `json:"hidden_act"`
	Recursion             *Recursion   `json:"recursion"`
	Router                *Router      `json:"router"`
	MoE                   *MoE         `json:"moe,omitempty"`
}

// RopeScaling stretches RoPE for contexts longer than those of pretraining, as Hugging Face's key of the same name says: "linear" divides every
// frequency by the factor; "llama3" divides the low ones, leaves the high ones, and goes over smoothly between them.
type RopeScaling struct {
	RopeType                      string  `json:"rope_type"`
	Factor                        float64 `json:"factor"`
	LowFreqFactor                 float64 `json:"low_freq_factor,omitempty"`
	HighFreqFactor                float64 `json:"high_freq_factor,omitempty"`
	OriginalMaxPositionEmbeddings int     `json:"original_max_position_embeddings,omitempty"`
}

// Recursion says how the layers of the loop share weights, keys and values (METHOD.md §2, §5, §6).
type Recursion struct {
	NumRecursion int     `json:"num_recursion"`
	Sharing      Sharing `json:"sharing"`
	KVSharing    bool    `json:"kv_sharing"` // recursions after the first read the keys and values of the first
	KVUpdate     bool    `json:"kv_update"`  // ... with the active tokens' own entries in their place
	Encoding     bool    `json:"encoding"`   // a learned vector multiplies the stream after each recursion
	LoRA         *LoRA   `json:"lora"`
}

// LoRA is a low-rank correction of the shared projections, one for each recursion and block layer: y += (alpha/rank)·B(A x).
type LoRA struct {
	Rank    int      `json:"rank"`
	Alpha   float64  `json:"alpha"`
	Targets []string `json:"targets"`
}

// Router says who decides how many recursions a token takes (METHOD.md §3, §4).
type Router struct {
	Type                string    `json:"type"` // expert, token or fixed
	Kind                string    `json:"kind,omitempty"`
	Gate                string    `json:"gate,omitempty"`
	Alpha               float64   `json:"alpha"`
	Temperature         float64   `json:"temperature"`
	Capacity            []float64 `json:"capacity,omitempty"`
	Gating              string    `json:"gating,omitempty"`
	Balancing           string    `json:"balancing,omitempty"`
	BalancingCoef       float64   `json:"balancing_coef"`
	BalanceUpdateRate   float64   `json:"balance_update_rate"`
	ZCoef               float64   `json:"z_coef"`
	CapacityWarmupSteps int       `json:"capacity_warmup_steps"`
	BalanceWarmupSteps  int       `json:"balance_warmup_steps"`
	RandRouter          bool      `json:"rand_router,omitempty"` // control: the choice is drawn, the gate is learned
	// ThresholdRate, above 0, makes the causal threshold of each recursion follow the score that top-k cuts at, by this share of the
	// difference each step, so that causal routing has the capacity that training had. Beyond the paper.
	ThresholdRate float64 `json:"threshold_rate,omitempty"`
}

// MoE replaces the FFN by a mixture of experts (Mixtral's layout).
type MoE struct {
	NumExperts      int     `json:"num_experts"`
	ExpertsPerToken int     `json:"experts_per_token"`
	AuxCoef         float64 `json:"aux_coef"`
}

// Sharing is a strategy of METHOD.md §2.
type Sharing string

// The sharing strategies.
const (
	Cycle          Sharing = "cycle"
	Sequence       Sharing = "sequence"
	MiddleCycle    Sharing = "middle_cycle"
	MiddleSequence Sharing = "middle_sequence"
)

// Middle tells whether the first and the last layer stand outside the loop.
func (s Sharing) Middle() bool { return strings.HasPrefix(string(s), "middle_") }

// Cyclic tells whether the block is repeated as a whole, which adaptive depth needs.
func (s Sharing) Cyclic() bool { return s == Cycle || s == MiddleCycle }

// The router types.
const (
	ExpertChoice = "expert"
	TokenChoice  = "token"
	FixedDepth   = "fixed"
)

// ReadConfig reads and validates a config.json.
func ReadConfig(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := ParseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// ParseConfig decodes and validates a configuration. An unknown key is an error.
func ParseConfig(data []byte) (*Config, error) {
	var c Config
	if err := strict.JSON(data, &c); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &c, nil
}

// JSON is the content of a config.json.
func (c *Config) JSON() []byte {
	data, err := json.MarshalIndent(c, "", " ")
	if err != nil { // a struct of numbers and strings always encodes
		panic(err)
	}
	return append(data, '\n')
}

// Adaptive tells whether tokens differ in depth.
func (c *Config) Adaptive() bool { return c.Router != nil }

// Expert tells whether the routing is expert-choice, which has two routings: topk and causal.
func (c *Config) Expert() bool { return c.Router != nil && c.Router.Type == ExpertChoice }

// Token tells whether the routing is token-choice.
func (c *Config) Token() bool { return c.Router != nil && c.Router.Type == TokenChoice }

// KVSharing tells whether recursions after the first read the keys and values of the first.
func (c *Config) KVSharing() bool { return c.Recursion != nil && c.Recursion.KVSharing }

// Recursions is N, or 1 for a vanilla model.
func (c *Config) Recursions() int {
	if c.Recursion == nil {
		return 1
	}
	return c.Recursion.NumRecursion
}

// BlockDepth is B, the number of layers in the shared block; for a vanilla model, all layers.
func (c *Config) BlockDepth() int {
	if c.Recursion == nil {
		return c.NumHiddenLayers
	}
	return c.span() / c.Recursion.NumRecursion
}

// span is how many effective layers the loop has.
func (c *Config) span() int {
	if c.Recursion.Sharing.Middle() {
		return c.NumHiddenLayers - 2
	}
	return c.NumHiddenLayers
}

// QueryDim and KVDim are the widths of a row of queries and of a row of keys (or values).
func (c *Config) QueryDim() int { return c.NumAttentionHeads * c.HeadDim }

// KVDim is the width of a row of keys, or of values.
func (c *Config) KVDim() int { return c.NumKeyValueHeads * c.HeadDim }
