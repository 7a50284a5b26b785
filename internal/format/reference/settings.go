package reference

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"mor/internal/model"
	"mor/internal/strict"
)

// maxSettings is the most bytes that a config.json or train.yaml may have; real ones have some thousand.
const maxSettings = 1 << 20

// llama is what config.json says that matters here. Hugging Face writes many more keys.
type llama struct {
	ModelType             string          `json:"model_type"`
	VocabSize             int             `json:"vocab_size"`
	HiddenSize            int             `json:"hidden_size"`
	IntermediateSize      int             `json:"intermediate_size"`
	NumHiddenLayers       int             `json:"num_hidden_layers"` // effective
	NumAttentionHeads     int             `json:"num_attention_heads"`
	NumKeyValueHeads      *int            `json:"num_key_value_heads"`
	HeadDim               *int            `json:"head_dim"`
	MaxPositionEmbeddings int             `json:"max_position_embeddings"`
	RMSNormEps            float64         `json:"rms_norm_eps"`
	RopeTheta             float64         `json:"rope_theta"`
	RopeScaling           json.RawMessage `json:"rope_scaling"`
	TieWordEmbeddings     bool            `json:"tie_word_embeddings"`
	HiddenAct             string          `json:"hidden_act"`
	AttentionBias         bool            `json:"attention_bias"`
	MLPBias               bool            `json:"mlp_bias"`
}

// settings is what train.yaml says about the model. Keys outside these sections are about the training run; within them an unknown one is an error.
type settings struct {
	Recursive  recursive
	KVSharing  kvSharing
	Relaxation relaxation
	MoR        mor
	Warmup     *int // num_warmup_steps
	Accumulate *int // gradient_accumulation_steps
}

type recursive struct {
	Enable         bool          `json:"enable"`
	BaseDepth      *int          `json:"base_depth"`
	NumRecursion   int           `json:"num_recursion"`
	Sharing        model.Sharing `json:"sharing"`
	LNShare        *bool         `json:"ln_share"` // whether norms are shared shows in the tensors
	Initialization *string       `json:"initialization"`
}

// kvSharing repeats recursion and sharing; the reference takes those of recursive.
type kvSharing struct {
	Enable       bool           `json:"enable"`
	BaseDepth    *int           `json:"base_depth"`
	NumRecursion *int           `json:"num_recursion"`
	Sharing      *model.Sharing `json:"sharing"`
	UpdateCache  bool           `json:"update_cache"`
}

type relaxation struct {
	Enable        bool            `json:"enable"`
	SkipFirstLoop bool            `json:"skip_first_loop"`
	Method        string          `json:"method"`
	LoRA          json.RawMessage `json:"lora"`
	Prompt        json.RawMessage `json:"prompt"`
}

type mor struct {
	Enable     bool    `json:"enable"`
	Type       string  `json:"type"`
	Capacity   any     `json:"capacity"` // a text of numbers between commas
	RandRouter bool    `json:"rand_router"`
	RouterType string  `json:"router_type"`
	ZLoss      bool    `json:"z_loss"`
	ZCoeff     number  `json:"z_coeff"`
	Temp       *number `json:"temp"`
	Expert     expert  `json:"expert"`
	Token      token   `json:"token"`
}

type expert struct {
	CapWarmupStep *int    `json:"cap_warmup_step"` // forward passes
	RouterFunc    *string `json:"router_func"`
	Alpha         *number `json:"alpha"`
	Sampling      *string `json:"sampling"`
	IncludeFirst  *bool   `json:"include_first"` // the reference reads it nowhere: capacity says it
	Coeff         number  `json:"coeff"`
	Gating        *string `json:"gating"`
}

type token struct {
	BalWarmupStep int     `json:"bal_warmup_step"` // steps
	RouterFunc    *string `json:"router_func"`
	Alpha         *number `json:"alpha"`
	Balancing     *string `json:"balancing"`
	Coeff         number  `json:"coeff"`
	U             number  `json:"u"`
	Gating        *string `json:"gating"`
}

// number is a YAML value that OmegaConf, which the reference uses, takes for a number: 1e-3 too, which is a text in plain YAML.
type number float64

// UnmarshalJSON accepts a number, also as a text.
func (n *number) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	x, err := strconv.ParseFloat(strings.Trim(string(data), `"`), 64)
	if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
		return fmt.Errorf("found %.40s, expected a number", data)
	}
	*n = number(x)
	return nil
}

// readSettings reads config.json and train.yaml.
func readSettings(dir string) (*llama, *settings, error) {
	path := filepath.Join(dir, "config.json")
	data, err := readSmall(path)
	if err != nil {
		return nil, nil, err
	}
	var l llama
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, nil, fmt.Errorf("%s: not a configuration of Hugging Face: %w", path, err)
	}
	if err := l.check(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	path = filepath.Join(dir, "train.yaml")
	if data, err = readSmall(path); err != nil {
		return nil, nil, err
	}
	s, err := parseSettings(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return &l, s, nil
}

// readSmall reads a file of settings.
func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing: expected a folder with config.json, train.yaml and model.safetensors or pytorch_model.bin", path)
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSettings {
		return nil, fmt.Errorf("%s: %d bytes, expected at most %d", path, info.Size(), maxSettings)
	}
	return os.ReadFile(path)
}

// check refuses what the block of the model does not have.
func (l *llama) check() error {
	switch {
	case l.ModelType != "llama":
		return fmt.Errorf("model_type: %q: expected \"llama\", which the reference's checkpoints say", l.ModelType)
	case l.AttentionBias || l.MLPBias:
		return fmt.Errorf("attention_bias %v, mlp_bias %v: biases are not supported", l.AttentionBias, l.MLPBias)
	case len(l.RopeScaling) > 0 && string(l.RopeScaling) != "null":
		return fmt.Errorf("rope_scaling: %.60s: expected null", l.RopeScaling)
	}
	return nil
}

// parseSettings reads a train.yaml.
func parseSettings(data []byte) (*settings, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, fmt.Errorf("not valid YAML: %s", oneLine(err))
	}
	var aliases aliasFinder
	for _, d := range file.Docs {
		if d.Body != nil {
			ast.Walk(&aliases, d.Body)
		}
	}
	if aliases.found { // they could make a small file large
		return nil, fmt.Errorf("an alias: expected plain values")
	}
	var all map[string]any
	if err := yaml.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("not valid YAML: %s", oneLine(err))
	}
	s := &settings{}
	for key, to := range map[string]any{"recursive": &s.Recursive, "kv_sharing": &s.KVSharing, "relaxation": &s.Relaxation, "mor": &s.MoR} {
		section, ok := all[key]
		if !ok {
			continue
		}
		text, err := json.Marshal(section)
		if err == nil {
			err = strict.JSON(text, to)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	s.Warmup, s.Accumulate = whole(all["num_warmup_steps"]), whole(all["gradient_accumulation_steps"])
	return s, nil
}

// whole is a YAML value as an integer, nil for another.
func whole(v any) *int {
	n, ok := v.(uint64)
	if !ok || n > 1<<40 {
		return nil
	}
	i := int(n)
	return &i
}

type aliasFinder struct{ found bool }

func (a *aliasFinder) Visit(n ast.Node) ast.Visitor {
	switch n.(type) {
	case *ast.AliasNode, *ast.AnchorNode:
		a.found = true
	}
	return a
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
