package model

import (
	"fmt"
	"slices"
	"strings"

	"mor/internal/strict"
)

// size is a row of the table in METHOD.md §1, or one that trains in minutes on a laptop.
type size struct {
	name                                             string
	layers, d, heads, kvHeads, headDim, ffn, context int
}

var sizes = []size{
	{"tiny", 5, 96, 3, 1, 32, 256, 256},
	{"small", 8, 256, 4, 2, 64, 704, 512},
	{"135m", 30, 576, 9, 3, 64, 1536, 2048},
	{"360m", 32, 960, 15, 5, 64, 2560, 2048},
	{"730m", 26, 1536, 24, 8, 64, 4096, 2048},
	{"1.7b", 24, 2048, 32, 32, 64, 8192, 2048},
}

// Sizes names the presets.
func Sizes() []string {
	var out []string
	for _, s := range sizes {
		out = append(out, s.name)
	}
	return out
}

// Kinds names what a preset can be.
func Kinds() []string { return []string{"vanilla", "recursive", "expert", "token", "fixed"} }

// Preset returns the configuration of a size and kind, with the recipe of METHOD.md for the router. Where the layers of the loop do not divide by n
// there are as many more as it takes. vocab_size is left 0: the tokenizer decides it.
func Preset(sizeName, kind string, sharing Sharing, n int) (*Config, error) {
	i := slices.IndexFunc(sizes, func(s size) bool { return s.name == sizeName })
	if i < 0 {
		return nil, fmt.Errorf("size: %q: expected one of %s%s", sizeName, strings.Join(Sizes(), ", "), strict.Suggest(sizeName, Sizes()))
	}
	if !slices.Contains(Kinds(), kind) {
		return nil, fmt.Errorf("kind: %q: expected one of %s%s", kind, strings.Join(Kinds(), ", "), strict.Suggest(kind, Kinds()))
	}
	s := sizes[i]
	c := &Config{
		ModelType: "mor", HiddenSize: s.d, IntermediateSize: s.ffn, NumHiddenLayers: s.layers,
		NumAttentionHeads: s.heads, NumKeyValueHeads: s.kvHeads, HeadDim: s.headDim, MaxPositionEmbeddings: s.context,
		RMSNormEps: 1e-5, RopeTheta: 10000, TieWordEmbeddings: true, InitializerRange: 0.02, HiddenAct: "silu",
	}
	if kind == "vanilla" {
		return c, nil
	}
	if n < 1 {
		return nil, fmt.Errorf("num_recursion: %d: expected 1 or more", n)
	}
	c.Recursion = &Recursion{NumRecursion: n, Sharing: sharing}
	extra := c.NumHiddenLayers - c.span()
	c.NumHiddenLayers = (c.span()+n-1)/n*n + extra
	switch kind {
	case "expert":
		c.Router = DefaultRouter(ExpertChoice, n)
	case "token":
		c.Router = DefaultRouter(TokenChoice, n)
	case "fixed":
		c.Router = DefaultRouter(FixedDepth, n)
	}
	return c, nil
}

// DefaultRouter is the paper's choice for a router type (METHOD.md §3, §4).
func DefaultRouter(kind string, n int) *Router {
	capacity := make([]float64, n)
	for r := range capacity {
		capacity[r] = float64(n-r) / float64(n)
	}
	switch kind {
	case ExpertChoice:
		return &Router{Type: kind, Kind: "linear", Gate: "sigmoid", Alpha: 0.1, Temperature: 1, Capacity: capacity, Gating: "weighted",
			Balancing: "aux_loss", BalancingCoef: 0.001}
	case TokenChoice:
		return &Router{Type: kind, Kind: "linear", Gate: "softmax", Alpha: 1, Temperature: 1, Gating: "weighted",
			Balancing: "loss", BalancingCoef: 0.1, ZCoef: 1e-5}
	default:
		return &Router{Type: FixedDepth, Capacity: capacity}
	}
}
