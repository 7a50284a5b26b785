package gguf

import (
	"fmt"
	"slices"
	"strings"

	"mor/internal/kernel"
	"mor/internal/model"
)

// architecture is the only one that is read: the block that mor computes.
const architecture = "llama"

// Config translates the metadata of a llama file.
func (g *File) Config() (*model.Config, error) {
	c, err := g.config()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", g.path, err)
	}
	return c, nil
}

func (g *File) config() (*model.Config, error) {
	arch, err := g.Meta.String("general.architecture", "")
	if err != nil {
		return nil, err
	}
	if arch != architecture {
		return nil, fmt.Errorf("general.architecture: %q is not supported: expected %q", arch, architecture)
	}
	if n, err := g.Meta.Int("llama.expert_count", 0); err != nil || n != 0 {
		return nil, fmt.Errorf("llama.expert_count: %d: a mixture of experts is read from a Hugging Face folder, not from GGUF", n)
	}
	if n, err := g.Meta.Int("split.count", 1); err != nil || n > 1 {
		return nil, fmt.Errorf("split.count: %d: this is one of several files of a model: merge them (llama-gguf-split --merge)", n)
	}
	c := &model.Config{ModelType: "mor", HiddenAct: "silu", InitializerRange: 0.02}
	for _, f := range []struct {
		key  string
		to   *int
		need bool
	}{
		{"embedding_length", &c.HiddenSize, true}, {"feed_forward_length", &c.IntermediateSize, true}, {"block_count", &c.NumHiddenLayers, true},
		{"attention.head_count", &c.NumAttentionHeads, true}, {"attention.head_count_kv", &c.NumKeyValueHeads, false},
		{"context_length", &c.MaxPositionEmbeddings, true}, {"attention.key_length", &c.HeadDim, false},
	} {
		if f.need && !g.Meta.Has("llama."+f.key) {
			return nil, fmt.Errorf("metadata llama.%s is missing", f.key)
		}
		if *f.to, err = g.Meta.Int("llama."+f.key, 0); err != nil {
			return nil, err
		}
	}
	if c.NumKeyValueHeads == 0 {
		c.NumKeyValueHeads = c.NumAttentionHeads
	}
	if c.HeadDim == 0 && c.NumAttentionHeads > 0 {
		c.HeadDim = c.HiddenSize / c.NumAttentionHeads
	}
	if c.RMSNormEps, err = g.Meta.Float("llama.attention.layer_norm_rms_epsilon", 1e-5); err != nil {
		return nil, err
	}
	if c.RopeTheta, err = g.Meta.Float("llama.rope.freq_base", 10000); err != nil {
		return nil, err
	}
	c.RMSNormEps, c.RopeTheta = shortest(c.RMSNormEps), shortest(c.RopeTheta)
	if err := g.heads(c); err != nil {
		return nil, err
	}
	return c, c.Validate()
}

// shortest is the decimal that a float32 stands for: 1e-05 rather than 9.999999747378752e-06.
func shortest(x float64) float64 {
	var y float64
	if _, err := fmt.Sscan(fmt.Sprint(float32(x)), &y); err != nil {
		return x
	}
	return y
}

// heads reads what depends on tensors: vocabulary, tied head, RoPE.
func (g *File) heads(c *model.Config) error {
	embed, ok := g.Tensor("token_embd.weight")
	if !ok || len(embed.Shape) != 2 {
		return fmt.Errorf("tensor \"token_embd.weight\" is missing, or no matrix")
	}
	c.VocabSize = embed.Shape[0]
	_, untied := g.Tensor("output.weight")
	c.TieWordEmbeddings = !untied
	for _, key := range []string{"llama.attention.value_length", "llama.rope.dimension_count"} {
		if n, err := g.Meta.Int(key, c.HeadDim); err != nil || n != c.HeadDim {
			return fmt.Errorf("metadata %s: %d: expected the head's %d", key, n, c.HeadDim)
		}
	}
	return g.ropeScaling(c)
}

// Model reads configuration and weights.
func (g *File) Model(cpu *kernel.CPU) (*model.Model, error) {
	c, err := g.Config()
	if err != nil {
		return nil, err
	}
	if err := g.Match(c); err != nil {
		return nil, err
	}
	m := model.New(c, cpu)
	for i := range m.Layout.Tensors {
		t := &m.Layout.Tensors[i]
		from, _ := g.Tensor(nameOf(t.Name))
		w := t.Of(m.W)
		if err := g.Float32s(w, from); err != nil {
			return nil, err
		}
		if turned(t.Name) {
			d, place, stored := c.HiddenSize, Placement(c, t.Name), slices.Clone(w)
			for row := range t.Shape[0] {
				copy(w[place(row)*d:][:d], stored[row*d:])
			}
		}
	}
	return m, nil
}

// Match compares the file's tensors with a configuration before any weight is allocated.
func (g *File) Match(c *model.Config) error {
	var names []string
	for i := range g.Tensors {
		if name := g.Tensors[i].Name; name != ropeFreqs {
			names = append(names, ModelName(name))
		}
	}
	err := model.NewLayout(c, model.NewPlan(c)).Match(names, func(name string) ([]int, bool) {
		t, ok := g.Tensor(nameOf(name))
		if !ok {
			return nil, false
		}
		return t.Shape, true
	})
	if err != nil {
		return fmt.Errorf("%s: %w", g.path, err)
	}
	return nil
}

// tensorNames pairs the parts of Hugging Face's names of tensors with llama.cpp's.
var tensorNames = []string{"model.layers.", "blk.", "self_attn.q_proj", "attn_q", "self_attn.k_proj", "attn_k", "self_attn.v_proj", "attn_v",
	"self_attn.o_proj", "attn_output", "mlp.gate_proj", "ffn_gate", "mlp.up_proj", "ffn_up", "mlp.down_proj", "ffn_down",
	"input_layernorm", "attn_norm", "post_attention_layernorm", "ffn_norm", "model.embed_tokens", "token_embd", "model.norm", "output_norm", "lm_head", "output"}

// The two ways of translating a name.
var (
	toFile  = strings.NewReplacer(tensorNames...)
	toModel = strings.NewReplacer(swapped(tensorNames)...)
)

// swapped turns the pairs around. output_norm and attn_output hold output, which therefore comes last, as it stands in the list.
func swapped(pairs []string) []string {
	out := make([]string, len(pairs))
	for i := 0; i < len(pairs); i += 2 {
		out[i], out[i+1] = pairs[i+1], pairs[i]
	}
	return out
}

// nameOf is llama.cpp's name of a tensor.
func nameOf(name string) string { return toFile.Replace(name) }

// ModelName is the model's name of one of llama.cpp's tensors.
func ModelName(name string) string { return toModel.Replace(name) }
