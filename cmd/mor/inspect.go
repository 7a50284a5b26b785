package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mor/internal/format/folder"
	"mor/internal/format/safetensors"
	"mor/internal/model"
	"mor/internal/strict"
)

type inspectCommand struct {
	context int
	kvDtype string
	shares  []float64
	tensors bool
	json    bool
}

func newInspect() *cobra.Command {
	c := &inspectCommand{}
	cmd := &cobra.Command{
		Use:   "inspect MODEL",
		Short: "Show a model's plan, tensors, parameters, FLOPs and cache, beside the vanilla model of the same depth",
		Long: `Show what a model is made of and what a token costs: its plan by segment, parameters, FLOPs and bytes of keys and values, beside the
vanilla model of the same effective depth. MODEL is a model folder, a run directory or a config.json, which needs no weights beside it.

FLOPs are averages over the tokens of a sequence of --context tokens: two for each matrix value that a token uses, and the causal half of
attention. An adaptive model is counted at the share of tokens that training gives each recursion; --shares counts others.`,
		Example: `  mor inspect runs/default
  mor inspect --tensors model-folder
  mor inspect --context 512 --kv-dtype bf16 config.json
  mor inspect --shares 0.9,0.5,0.2 model-folder     # as measured under causal routing`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.OutOrStdout(), args[0]) },
	}
	f := cmd.Flags()
	f.IntVar(&c.context, "context", 0, "tokens of a sequence (default: max_position_embeddings)")
	f.StringVar(&c.kvDtype, "kv-dtype", "fp32", "type of cached keys and values: fp32 or bf16")
	f.Float64SliceVar(&c.shares, "shares", nil, "share of tokens that run each recursion, e.g. 1,0.6,0.3 (default: as in training)")
	f.BoolVar(&c.tensors, "tensors", false, "list every tensor")
	f.BoolVar(&c.json, "json", false, "print one JSON object")
	return cmd
}

// inspection is what is known of a model; --json prints it.
type inspection struct {
	Path    string        `json:"path"`
	Kind    string        `json:"kind"`
	Config  *model.Config `json:"config"`
	Weights *weightsInfo  `json:"weights"` // null for a bare configuration
	Plan    []segmentInfo `json:"plan"`
	Cost    *model.Cost   `json:"cost"`
	Vanilla *model.Cost   `json:"vanilla"` // of the same effective depth
	KV      kvInfo        `json:"kv_cache"`
	Tensors []tensorInfo  `json:"tensors,omitempty"`
}

type weightsInfo struct {
	File  string `json:"file"`
	DType string `json:"dtype"` // several are joined by +
	Bytes int64  `json:"bytes"`
}

// kvInfo is the cache in bytes: of each token, and of a sequence of the context's length.
type kvInfo struct {
	DType         string  `json:"dtype"`
	PerToken      float64 `json:"bytes_per_token"`
	Sequence      float64 `json:"bytes_per_sequence"`
	PerTokenPlain float64 `json:"vanilla_bytes_per_token"`
	SequencePlain float64 `json:"vanilla_bytes_per_sequence"`
	width         float64 // bytes of a value
}

type segmentInfo struct {
	Name   string      `json:"name"`
	Gate   string      `json:"gate"`
	Layers []layerInfo `json:"layers"`
}

type layerInfo struct {
	Layer     int    `json:"layer"`        // effective index
	Unique    int    `json:"unique_layer"` // whose weights
	Recursion int    `json:"recursion"`    // or -1
	Block     int    `json:"block_layer"`  // index in the shared block, or -1
	Slot      int    `json:"kv_slot"`      // where its keys and values are
	KV        string `json:"kv_mode"`      // own, read or update
	Source    int    `json:"kv_source"`    // the slot that is read
	Encoding  int    `json:"encoding_row"` // of the recursion encoding, or -1
}

type tensorInfo struct {
	Name   string `json:"name"`
	Shape  []int  `json:"shape"`
	Values int    `json:"values"`
	DType  string `json:"dtype,omitempty"` // in the file
	Decay  bool   `json:"weight_decay"`
	Frozen bool   `json:"frozen,omitempty"`
}

func (c *inspectCommand) run(out io.Writer, path string) error {
	in, err := c.inspect(path)
	if err != nil {
		return err
	}
	if c.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", " ")
		return enc.Encode(in)
	}
	return in.print(out)
}

func (c *inspectCommand) inspect(path string) (*inspection, error) {
	width, ok := map[string]float64{"fp32": 4, "bf16": 2}[c.kvDtype]
	if !ok {
		return nil, fmt.Errorf("--kv-dtype: %q: expected fp32 or bf16%s", c.kvDtype, strict.Suggest(c.kvDtype, []string{"fp32", "bf16"}))
	}
	configPath, weightsPath, err := inspected(path)
	if err != nil {
		return nil, err
	}
	cfg, err := model.ReadConfig(configPath)
	if err != nil {
		return nil, err
	}
	if c.context == 0 {
		c.context = cfg.MaxPositionEmbeddings
	}
	if c.shares == nil {
		c.shares = cfg.Shares()
	}
	if c.context > cfg.MaxPositionEmbeddings {
		return nil, fmt.Errorf("--context: %d: the model was made for %d tokens (max_position_embeddings)", c.context, cfg.MaxPositionEmbeddings)
	}
	in := &inspection{Path: path, Kind: describe(cfg), Config: cfg, KV: kvInfo{DType: c.kvDtype, width: width}}
	if in.Cost, err = model.CountShares(cfg, c.context, c.shares); err != nil {
		return nil, fmt.Errorf("--%w", err)
	}
	if cfg.MoE != nil {
		in.Kind += fmt.Sprintf(", %d experts of which a token uses %d", cfg.MoE.NumExperts, cfg.MoE.ExpertsPerToken)
	}
	in.Vanilla = model.Count(cfg.Vanilla(), c.context)
	in.KV.PerToken, in.KV.PerTokenPlain = in.Cost.KVValues*width, in.Vanilla.KVValues*width
	in.KV.Sequence, in.KV.SequencePlain = in.KV.PerToken*float64(c.context), in.KV.PerTokenPlain*float64(c.context)
	plan := model.NewPlan(cfg)
	in.Plan = planInfo(plan)
	tensors, err := in.weights(weightsPath, model.NewLayout(cfg, plan))
	if c.tensors {
		in.Tensors = tensors
	}
	return in, err
}

// inspected finds the files of a model; there may be no weights.
func inspected(path string) (config, weights string, err error) {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return path, "", nil
	}
	dir, err := resolveModel(path)
	if err != nil {
		return "", "", err
	}
	weights = filepath.Join(dir, folder.WeightsFile)
	if _, err := os.Stat(weights); err != nil {
		weights = ""
	}
	return filepath.Join(dir, folder.ConfigFile), weights, nil
}

func planInfo(p *model.Plan) []segmentInfo {
	var out []segmentInfo
	layer := 0
	for _, s := range p.Segments {
		info := segmentInfo{Name: s.Name, Gate: [...]string{"none", "expert-choice", "token-choice", "fixed"}[s.Gate]}
		for _, l := range s.Layers {
			mode := [...]string{"own", "read", "update"}[l.KV]
			info.Layers = append(info.Layers, layerInfo{layer, l.Unique, l.Recursion, l.Block, l.Slot, mode, l.Source, l.Encoding})
			if l.KV == model.KVOwn {
				info.Layers[len(info.Layers)-1].Source = l.Slot
			}
			layer++
		}
		out = append(out, info)
	}
	return out
}

// weights lists the tensors, and compares them with those in the file at path unless that is empty.
func (in *inspection) weights(path string, layout *model.Layout) ([]tensorInfo, error) {
	out := make([]tensorInfo, len(layout.Tensors))
	for i, t := range layout.Tensors {
		out[i] = tensorInfo{Name: t.Name, Shape: t.Shape, Values: t.Len, Decay: t.Decay && !t.Frozen, Frozen: t.Frozen}
	}
	if path == "" {
		return out, nil
	}
	file, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	in.Weights = &weightsInfo{File: filepath.Base(path)}
	var types []string
	for i := range out {
		info, ok := file.Info(out[i].Name)
		if !ok {
			return nil, fmt.Errorf("%s: tensor %s is missing: the file does not belong to the %s beside it", path, out[i].Name, folder.ConfigFile)
		}
		if !slices.Equal(info.Shape, out[i].Shape) {
			return nil, fmt.Errorf("%s: tensor %s has shape %v, expected %v from the %s beside it", path, info.Name, info.Shape, out[i].Shape, folder.ConfigFile)
		}
		out[i].DType = string(info.DType)
		if !slices.Contains(types, out[i].DType) {
			types = append(types, out[i].DType)
		}
		in.Weights.Bytes += int64(info.Len() * info.DType.Size())
	}
	for _, name := range file.Names() {
		if _, ok := layout.Tensor(name); !ok {
			return nil, fmt.Errorf("%s: tensor %s is not in the model of the %s beside it", path, name, folder.ConfigFile)
		}
	}
	in.Weights.DType = strings.Join(types, "+")
	return out, nil
}
