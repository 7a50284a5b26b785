package hf_test

import (
	"strings"
	"testing"

	"mor/internal/format/hf"
	"mor/internal/format/safetensors"
	"mor/internal/golden"
)

const llama = `{"model_type": "llama", "vocab_size": 61, "hidden_size": 24, "intermediate_size": 36, "num_hidden_layers": 2, "num_attention_heads": 4,
	"num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": false, "architectures": ["LlamaForCausalLM"]`

// TestParseConfigRefuses: what would change the computation is refused by its key.
func TestParseConfigRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`[1]`:                                                             "not a JSON object",
		`{"model_type": "qwen2"}`:                                         `model_type: "qwen2" is not supported: expected "mor", "llama" or "mixtral"`,
		`{"model_type": 3}`:                                               "model_type: 3: expected a text",
		llama + `, "attention_bias": true}`:                               "attention_bias: true is not supported: the block has no biases",
		llama + `, "mlp_bias": true}`:                                     "mlp_bias: true is not supported",
		llama + `, "attention_dropout": 0.1}`:                             "attention_dropout",
		llama + `, "sliding_window": 16}`:                                 "sliding_window: 16 is not supported",
		llama + `, "hidden_act": "gelu"}`:                                 "hidden_act",
		llama + `, "logit_scale": 0.5}`:                                   "logit_scale",
		llama + `, "num_local_experts": 4}`:                               `expected model_type "mixtral"`,
		llama + `, "rope_scaling": {"rope_type": "yarn", "factor": 2}}`:   `rope_type: "yarn" is not supported: expected default, linear or llama3`,
		llama + `, "rope_scaling": {"rope_type": "llama3", "factor": 8}}`: "rope_scaling.low_freq_factor",
		llama + `, "rope_scaling": {"type": "linear", "factor": 0}}`:      "rope_scaling.factor",
	} {
		_, err := hf.ParseConfig([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}

// TestParseConfigFills: absent keys have the values that transformers gives them.
func TestParseConfigFills(t *testing.T) {
	c, err := hf.ParseConfig([]byte(`{"model_type": "llama", "vocab_size": 10, "hidden_size": 24, "intermediate_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3}`))
	if err != nil {
		t.Fatal(err)
	}
	if c.NumKeyValueHeads != 3 || c.HeadDim != 8 || c.RopeTheta != 10000 || c.RMSNormEps != 1e-6 || c.MaxPositionEmbeddings != 2048 || c.TieWordEmbeddings {
		t.Errorf("%+v", c)
	}
}

// FuzzParseConfig: what is accepted is valid, and written as Hugging Face's and read again it is the same.
func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(llama + `}`))
	f.Add([]byte(llama + `, "rope_scaling": {"type": "linear", "factor": 2}}`))
	f.Add([]byte(llama + `, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}`))
	for _, k := range golden.Kinds() {
		if k.Config.Recursion == nil {
			if data, err := hf.Config(k.Config, safetensors.F32, nil); err == nil {
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := hf.ParseConfig(data)
		if err != nil {
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		again, err := hf.Config(c, safetensors.BF16, nil)
		if err != nil {
			return
		}
		back, err := hf.ParseConfig(again)
		if err != nil || string(back.JSON()) != string(c.JSON()) {
			t.Errorf("%s\nbecomes %v\n%s", c.JSON(), err, again)
		}
	})
}
