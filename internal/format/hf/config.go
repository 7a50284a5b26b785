// Package hf translates between mor's configuration and Hugging Face's config.json of LlamaForCausalLM and MixtralForCausalLM.
package hf

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"mor/internal/format/safetensors"
	"mor/internal/model"
)

// config is what a Hugging Face config.json says about a Llama or Mixtral model.
type config struct {
	ModelType             string          `json:"model_type"`
	VocabSize             int             `json:"vocab_size"`
	HiddenSize            int             `json:"hidden_size"`
	IntermediateSize      int             `json:"intermediate_size"`
	NumHiddenLayers       int             `json:"num_hidden_layers"`
	NumAttentionHeads     int             `json:"num_attention_heads"`
	NumKeyValueHeads      int             `json:"num_key_value_heads,omitempty"`
	HeadDim               int             `json:"head_dim,omitempty"`
	MaxPositionEmbeddings int             `json:"max_position_embeddings"`
	RMSNormEps            float64         `json:"rms_norm_eps"`
	RopeTheta             float64         `json:"rope_theta"`
	RopeScaling           json.RawMessage `json:"rope_scaling"`
	RopeParameters        json.RawMessage `json:"rope_parameters,omitempty"` // transformers 5: theta and scaling in one
	TieWordEmbeddings     bool            `json:"tie_word_embeddings"`
	InitializerRange      float64         `json:"initializer_range"`
	HiddenAct             string          `json:"hidden_act"`
	AttentionBias         bool            `json:"attention_bias"`
	MLPBias               bool            `json:"mlp_bias"`
	AttentionDropout      float64         `json:"attention_dropout"`
	SlidingWindow         *int            `json:"sliding_window,omitempty"`
	NumLocalExperts       int             `json:"num_local_experts,omitempty"`
	NumExpertsPerTok      int             `json:"num_experts_per_tok,omitempty"`
	RouterAuxLossCoef     float64         `json:"router_aux_loss_coef,omitempty"`
}

// inert are keys that say nothing about what is computed.
var inert = []string{"architectures", "torch_dtype", "dtype", "transformers_version", "bos_token_id", "eos_token_id", "pad_token_id", "use_cache", "pretraining_tp",
	"output_router_logits", "router_jitter_noise", "transformers.js_config", "is_llama_config", "return_dict", "output_hidden_states", "output_attentions"}

// ParseConfig translates the config.json of a LlamaForCausalLM or MixtralForCausalLM. Whatever would change the computation and is not supported is refused by
// its key.
func ParseConfig(data []byte) (*model.Config, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	h := config{RMSNormEps: 1e-6, RopeTheta: 10000, HiddenAct: "silu", InitializerRange: 0.02, MaxPositionEmbeddings: 2048}
	if raw, ok := fields["model_type"]; ok {
		if err := json.Unmarshal(raw, &h.ModelType); err != nil {
			return nil, fmt.Errorf("model_type: %s: expected a text", raw)
		}
	}
	switch h.ModelType {
	case "llama":
	case "mixtral":
		h.RopeTheta, h.RMSNormEps, h.NumLocalExperts, h.NumExpertsPerTok = 1e6, 1e-5, 8, 2
	default:
		return nil, fmt.Errorf("model_type: %q is not supported: expected \"mor\", \"llama\" or \"mixtral\"", h.ModelType)
	}
	known := knownKeys()
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		value := strings.TrimSpace(string(fields[key]))
		without := slices.Contains([]string{"null", "false", "0", `""`, "{}", "[]"}, value)
		if !known[key] && !slices.Contains(inert, key) && !strings.HasPrefix(key, "_") && !without {
			return nil, fmt.Errorf("%s: %.60s: this key is not known to mor, so the model might compute something else: remove it if it has no effect", key, value)
		}
	}
	if err := json.Unmarshal(data, &h); err != nil {
		return nil, err
	}
	return h.translate()
}

// knownKeys are the keys of config.
func knownKeys() map[string]bool {
	data, err := json.Marshal(config{RopeParameters: json.RawMessage("null"), NumKeyValueHeads: 1, HeadDim: 1, SlidingWindow: new(int), NumLocalExperts: 1, NumExpertsPerTok: 1, RouterAuxLossCoef: 1})
	var fields map[string]any
	if err == nil {
		err = json.Unmarshal(data, &fields)
	}
	if err != nil { // a struct of numbers and strings always encodes
		panic(err)
	}
	known := map[string]bool{}
	for key := range fields {
		known[key] = true
	}
	return known
}

// translate makes our configuration.
func (h *config) translate() (*model.Config, error) {
	switch {
	case h.AttentionBias:
		return nil, fmt.Errorf("attention_bias: true is not supported: the block has no biases")
	case h.MLPBias:
		return nil, fmt.Errorf("mlp_bias: true is not supported: the block has no biases")
	case h.AttentionDropout != 0:
		return nil, fmt.Errorf("attention_dropout: %v is not supported: expected 0", h.AttentionDropout)
	case h.SlidingWindow != nil && *h.SlidingWindow < h.MaxPositionEmbeddings:
		return nil, fmt.Errorf("sliding_window: %d is not supported: attention reaches over all %d positions (max_position_embeddings)", *h.SlidingWindow, h.MaxPositionEmbeddings)
	}
	c := &model.Config{
		ModelType: "mor", VocabSize: h.VocabSize, HiddenSize: h.HiddenSize, IntermediateSize: h.IntermediateSize, NumHiddenLayers: h.NumHiddenLayers,
		NumAttentionHeads: h.NumAttentionHeads, NumKeyValueHeads: h.NumKeyValueHeads, HeadDim: h.HeadDim, MaxPositionEmbeddings: h.MaxPositionEmbeddings,
		RMSNormEps: h.RMSNormEps, RopeTheta: h.RopeTheta, TieWordEmbeddings: h.TieWordEmbeddings, InitializerRange: h.InitializerRange, HiddenAct: h.HiddenAct,
	}
	if c.NumKeyValueHeads == 0 {
		c.NumKeyValueHeads = c.NumAttentionHeads
	}
	if c.HeadDim == 0 && c.NumAttentionHeads > 0 {
		if c.HiddenSize%c.NumAttentionHeads != 0 {
			return nil, fmt.Errorf("num_attention_heads: %d does not divide hidden_size %d, and head_dim is missing", c.NumAttentionHeads, c.HiddenSize)
		}
		c.HeadDim = c.HiddenSize / c.NumAttentionHeads
	}
	if h.ModelType == "mixtral" {
		c.MoE = &model.MoE{NumExperts: h.NumLocalExperts, ExpertsPerToken: h.NumExpertsPerTok, AuxCoef: h.RouterAuxLossCoef}
	} else if h.NumLocalExperts != 0 || h.NumExpertsPerTok != 0 {
		return nil, fmt.Errorf("num_local_experts: %d in a model of type llama: expected model_type \"mixtral\"", h.NumLocalExperts)
	}
	if err := h.rope(c); err != nil {
		return nil, err
	}
	return c, c.Validate()
}

// ropeJSON is rope_scaling, or rope_parameters.
type ropeJSON struct {
	model.RopeScaling
	Type      string   `json:"type"` // the older name of rope_type
	RopeTheta *float64 `json:"rope_theta"`
}

// rope translates the scaling of RoPE.
func (h *config) rope(c *model.Config) error {
	for _, f := range []struct {
		key string
		raw json.RawMessage
	}{{"rope_scaling", h.RopeScaling}, {"rope_parameters", h.RopeParameters}} {
		if len(f.raw) == 0 || string(f.raw) == "null" {
			continue
		}
		var r ropeJSON
		if err := json.Unmarshal(f.raw, &r); err != nil {
			return fmt.Errorf("%s: %w", f.key, err)
		}
		if r.RopeTheta != nil {
			c.RopeTheta = *r.RopeTheta
		}
		if r.RopeType == "" {
			r.RopeType = r.Type
		}
		switch r.RopeType {
		case "default", "":
		case model.RopeLinear:
			c.RopeScaling = &model.RopeScaling{RopeType: model.RopeLinear, Factor: r.Factor}
		case model.RopeLlama3:
			s := r.RopeScaling
			c.RopeScaling = &s
		default:
			return fmt.Errorf("%s.rope_type: %q is not supported: expected default, linear or llama3", f.key, r.RopeType)
		}
	}
	return nil
}

// torchNames are PyTorch's names of the element types.
var torchNames = map[safetensors.DType]string{safetensors.F32: "float32", safetensors.F16: "float16", safetensors.BF16: "bfloat16"}

// Config is the config.json of a vanilla model as a LlamaForCausalLM, of a mixture of experts as a MixtralForCausalLM, with weights of type d. stops are the tokens
// that end a text.
func Config(c *model.Config, d safetensors.DType, stops []int32) ([]byte, error) {
	dtype, ok := torchNames[d]
	switch {
	case !ok:
		return nil, fmt.Errorf("dtype %s: expected F32, F16 or BF16", d)
	case c.Recursion != nil:
		return nil, fmt.Errorf("a recursive model is no Llama: unroll it first")
	case c.MoE != nil && c.RopeScaling != nil:
		return nil, fmt.Errorf("rope_scaling: a MixtralForCausalLM has none")
	}
	h := config{
		ModelType: "llama", VocabSize: c.VocabSize, HiddenSize: c.HiddenSize, IntermediateSize: c.IntermediateSize, NumHiddenLayers: c.NumHiddenLayers,
		NumAttentionHeads: c.NumAttentionHeads, NumKeyValueHeads: c.NumKeyValueHeads, HeadDim: c.HeadDim, MaxPositionEmbeddings: c.MaxPositionEmbeddings,
		RMSNormEps: c.RMSNormEps, RopeTheta: c.RopeTheta, RopeScaling: json.RawMessage("null"), TieWordEmbeddings: c.TieWordEmbeddings,
		InitializerRange: c.InitializerRange, HiddenAct: c.HiddenAct,
	}
	architecture := "LlamaForCausalLM"
	if c.MoE != nil {
		architecture = "MixtralForCausalLM"
		h.ModelType, h.NumLocalExperts, h.NumExpertsPerTok, h.RouterAuxLossCoef = "mixtral", c.MoE.NumExperts, c.MoE.ExpertsPerToken, c.MoE.AuxCoef
	}
	if c.RopeScaling != nil {
		raw, err := json.Marshal(c.RopeScaling)
		if err != nil {
			return nil, err
		}
		h.RopeScaling = raw
	}
	out := struct {
		Architectures []string `json:"architectures"`
		TorchDtype    string   `json:"torch_dtype"`
		EOS           any      `json:"eos_token_id"` // null: Hugging Face's default would be token 2
		BOS           any      `json:"bos_token_id"`
		config
	}{Architectures: []string{architecture}, TorchDtype: dtype, config: h}
	switch len(stops) {
	case 0:
	case 1:
		out.EOS = stops[0]
	default:
		out.EOS = stops
	}
	data, err := json.MarshalIndent(out, "", " ")
	return append(data, '\n'), err
}
