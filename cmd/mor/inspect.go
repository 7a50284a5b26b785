package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mor/internal/format/folder"
	"mor/internal/model"
	"mor/internal/source"
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
vanilla model of the same effective depth. MODEL is a model folder (mor's or Hugging Face's), a GGUF file,
a run directory or a config.json, which needs no weights beside it.

FLOPs are averages over the tokens of a sequence of --context tokens: two for each matrix value that a token uses, and the causal half of
attention. An adaptive model is counted at the share of tokens that training gives each recursion; --shares counts others.`,
		Example: `  mor inspect runs/default
  mor inspect --tensors model-folder
  mor inspect --tensors model.gguf                  # with the type of each
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
	cfg, stored, err := inspected(path)
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
	in.weights(stored, model.NewLayout(cfg, plan), c.tensors)
	return in, nil
}

// inspected reads a model's configuration and describes its weights; there may be none.
func inspected(path string) (*model.Config, *source.Weights, error) {
	if info, err := os.Stat(path); err == nil && !info.IsDir() && !source.IsFile(path) {
		c, err := folder.ReadConfig(path)
		return c, nil, err
	}
	path, err := resolveModel(path)
	if err != nil {
		return nil, nil, err
	}
	c, err := source.Config(path)
	if err != nil {
		return nil, nil, err
	}
	w, err := source.ReadWeights(path, c)
	return c, w, err
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

// weights describes the tensors, and how they are stored where they are.
func (in *inspection) weights(stored *source.Weights, layout *model.Layout, list bool) {
	if stored != nil {
		in.Weights = &weightsInfo{File: stored.Files[0]}
		if n := len(stored.Files); n > 1 {
			in.Weights.File = fmt.Sprintf("%d files", n)
		}
	}
	var types []string
	for _, t := range layout.Tensors {
		info := tensorInfo{Name: t.Name, Shape: t.Shape, Values: t.Len, Decay: t.Decay && !t.Frozen, Frozen: t.Frozen}
		if stored != nil {
			s := stored.Tensors[t.Name]
			info.DType = s.DType
			in.Weights.Bytes += s.Bytes
			if !slices.Contains(types, s.DType) {
				types = append(types, s.DType)
			}
		}
		if list {
			in.Tensors = append(in.Tensors, info)
		}
	}
	if stored != nil {
		in.Weights.DType = strings.Join(types, "+")
	}
}
