package model_test

import (
	"math"
	"slices"
	"testing"

	"mor/internal/golden"
	"mor/internal/model"
)

// small is a vanilla configuration whose numbers a reader can follow: a layer has 64 (q) + 32 (k) + 32 (v) + 64 (o) + 3·96 (FFN) = 480 matrix
// values and 16 in its norms; the embedding has 80.
func small(layers int) *model.Config {
	return &model.Config{
		ModelType: "mor", VocabSize: 10, HiddenSize: 8, IntermediateSize: 12, NumHiddenLayers: layers, NumAttentionHeads: 2, NumKeyValueHeads: 1,
		HeadDim: 4, MaxPositionEmbeddings: 100, RMSNormEps: 1e-5, RopeTheta: 10000, TieWordEmbeddings: true, InitializerRange: 0.02, HiddenAct: "silu",
	}
}

// recursive is small with a loop of two layers between two of their own.
func recursive(n int, change func(*model.Config)) *model.Config {
	c := small(2 + 2*n)
	c.Recursion = &model.Recursion{NumRecursion: n, Sharing: model.MiddleCycle}
	if change != nil {
		change(c)
	}
	return c
}

func routed(kind string, n int, change func(*model.Config)) *model.Config {
	return recursive(n, func(c *model.Config) {
		c.Router = model.DefaultRouter(kind, n)
		if change != nil {
			change(c)
		}
	})
}

// costCase gives counts by hand, for a context of 100: a layer costs 2·480 = 960 in matrices and 2·8·100 = 1600 in attention when all tokens run
// it, and keeps 2·4 = 8 values.
type costCase struct {
	name    string
	config  *model.Config
	total   int
	active  int // 0: all
	matrix  []float64
	attend  []float64
	router  []float64 // nil: none
	kv      []float64
	head    float64
	nonHead int // parameters without embedding and head
}

func costCases() []costCase {
	third, twoThirds := 1.0/3, 2.0/3
	return []costCase{
		{name: "vanilla", config: small(3), total: 3*496 + 8 + 80, nonHead: 3*496 + 8,
			matrix: []float64{3 * 960}, attend: []float64{3 * 1600}, kv: []float64{24}, head: 160},
		{name: "untied", config: func() *model.Config { c := small(1); c.TieWordEmbeddings = false; return c }(), total: 496 + 8 + 160, nonHead: 496 + 8,
			matrix: []float64{960}, attend: []float64{1600}, kv: []float64{8}, head: 160},
		{name: "moe", config: func() *model.Config {
			c := small(2)
			c.MoE = &model.MoE{NumExperts: 4, ExpertsPerToken: 2}
			return c
		}(), // router 8·4 = 32; 192 in attention; 288 an expert
			total: 2*(192+32+4*288+16) + 8 + 80, active: 2*(192+32+2*288+16) + 8 + 80, nonHead: 2*(192+32+4*288+16) + 8,
			matrix: []float64{2 * 2 * (192 + 32 + 2*288)}, attend: []float64{3200}, kv: []float64{16}, head: 160},
		{name: "recursive", config: recursive(3, nil), total: 4*496 + 8 + 80, nonHead: 4*496 + 8,
			matrix: []float64{960, 1920, 1920, 1920, 960}, attend: []float64{1600, 3200, 3200, 3200, 1600}, kv: []float64{8, 16, 16, 16, 8}, head: 160},
		{name: "sequence with encoding", config: func() *model.Config {
			c := small(4)
			c.Recursion = &model.Recursion{NumRecursion: 2, Sharing: model.Sequence, Encoding: true}
			return c
		}(), total: 2*496 + 8 + 80 + 4*8, nonHead: 2*496 + 8 + 4*8,
			matrix: []float64{4 * 960}, attend: []float64{4 * 1600}, kv: []float64{32}, head: 160},
		{name: "kv sharing", config: recursive(3, func(c *model.Config) { c.Recursion.KVSharing = true }), total: 4*496 + 8 + 80, nonHead: 4*496 + 8,
			// without k and v a layer multiplies with 416 values
			matrix: []float64{960, 1920, 1664, 1664, 960}, attend: []float64{1600, 3200, 3200, 3200, 1600}, kv: []float64{8, 16, 0, 0, 8}, head: 160},
		{name: "lora", config: recursive(2, func(c *model.Config) {
			c.Recursion.LoRA = &model.LoRA{Rank: 3, Alpha: 1, Targets: []string{"k_proj", "down_proj"}}
		}), // k: 3·(8+4) = 36; down: 3·(12+8) = 60
			total: 4*496 + 8 + 80 + 4*96, nonHead: 4*496 + 8 + 4*96,
			matrix: []float64{960, 2 * 2 * 576, 2 * 2 * 576, 960}, attend: []float64{1600, 3200, 3200, 1600}, kv: []float64{8, 16, 16, 8}, head: 160},
		{name: "lora with kv sharing", config: recursive(2, func(c *model.Config) {
			c.Recursion.KVSharing = true
			c.Recursion.LoRA = &model.LoRA{Rank: 3, Alpha: 1, Targets: []string{"k_proj", "down_proj"}}
		}), total: 4*496 + 8 + 80 + 4*96, nonHead: 4*496 + 8 + 4*96,
			matrix: []float64{960, 2 * 2 * 576, 2 * 2 * (416 + 60), 960}, attend: []float64{1600, 3200, 3200, 1600}, kv: []float64{8, 16, 0, 8}, head: 160},
		{name: "expert-choice", config: routed(model.ExpertChoice, 3, nil), total: 4*496 + 8 + 80 + 3*8, nonHead: 4*496 + 8 + 3*8,
			matrix: []float64{960, 1920, 1920 * twoThirds, 1920 * third, 960}, attend: []float64{1600, 3200, 3200 * 4 / 9.0, 3200 / 9.0, 1600},
			router: []float64{0, 16, 16, 16 * twoThirds, 0}, kv: []float64{8, 16, 16 * twoThirds, 16 * third, 8}, head: 160},
		{name: "expert-choice, mlp, aux router, narrow from the start", config: routed(model.ExpertChoice, 2, func(c *model.Config) {
			c.Router.Kind, c.Router.Balancing, c.Router.Capacity = "mlp", "aux_router", []float64{0.5, 0.25}
		}), // a router: 16·8 + 16 = 144
			total: 4*496 + 8 + 80 + 4*144, nonHead: 4*496 + 8 + 4*144,
			matrix: []float64{960, 960, 480, 960}, attend: []float64{1600, 800, 200, 1600}, router: []float64{0, 2 * 2 * 144, 2 * 2 * 144 * 0.5, 0},
			kv: []float64{8, 8, 4, 8}, head: 160},
		{name: "expert-choice, kv sharing, narrow from the start", config: routed(model.ExpertChoice, 2, func(c *model.Config) {
			c.Recursion.KVSharing, c.Router.Capacity = true, []float64{0.5, 0.25}
		}), total: 4*496 + 8 + 80 + 2*8, nonHead: 4*496 + 8 + 2*8,
			// the first recursion makes everyone's keys; the second has queries for a quarter, which see all
			matrix: []float64{960, 1920, 1664 * 0.25, 960}, attend: []float64{1600, 3200, 800, 1600}, router: []float64{0, 16, 8, 0}, kv: []float64{8, 16, 0, 8}, head: 160},
		{name: "expert-choice, kv update", config: routed(model.ExpertChoice, 2, func(c *model.Config) {
			c.Recursion.KVSharing, c.Recursion.KVUpdate = true, true
		}), total: 4*496 + 8 + 80 + 2*8, nonHead: 4*496 + 8 + 2*8,
			matrix: []float64{960, 1920, 960, 960}, attend: []float64{1600, 3200, 1600, 1600}, router: []float64{0, 16, 16, 0}, kv: []float64{8, 16, 8, 8}, head: 160},
		{name: "token-choice", config: routed(model.TokenChoice, 2, nil), total: 4*496 + 8 + 80 + 16, nonHead: 4*496 + 8 + 16,
			matrix: []float64{960, 1920, 960, 960}, attend: []float64{1600, 3200, 800, 1600}, router: []float64{0, 32, 0, 0}, kv: []float64{8, 16, 8, 8}, head: 160},
		{name: "token-choice, kv sharing, loss-free", config: routed(model.TokenChoice, 2, func(c *model.Config) {
			c.Recursion.KVSharing = true
			c.Router.Balancing, c.Router.BalancingCoef, c.Router.BalanceUpdateRate = "loss_free", 0, 0.001
		}), total: 4*496 + 8 + 80 + 16 + 2, nonHead: 4*496 + 8 + 16 + 2,
			matrix: []float64{960, 1920, 832, 960}, attend: []float64{1600, 3200, 1600, 1600}, router: []float64{0, 32, 0, 0}, kv: []float64{8, 16, 0, 8}, head: 160},
		{name: "fixed depth", config: routed(model.FixedDepth, 2, nil), total: 4*496 + 8 + 80, nonHead: 4*496 + 8,
			matrix: []float64{960, 1920, 960, 960}, attend: []float64{1600, 3200, 800, 1600}, kv: []float64{8, 16, 8, 8}, head: 160},
	}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(1, math.Abs(b)) }

func TestCount(t *testing.T) {
	for _, c := range costCases() {
		t.Run(c.name, func(t *testing.T) {
			if err := c.config.Validate(); err != nil {
				t.Fatal(err)
			}
			cost := model.Count(c.config, 100)
			p := cost.Parameters
			if p.Total != c.total || p.NonEmbedding != c.nonHead || c.active == 0 && p.Active != p.Total || c.active != 0 && p.Active != c.active {
				t.Errorf("parameters %+v: want total %d, without embedding %d, active %d", p, c.total, c.nonHead, c.active)
			}
			if len(cost.Segments) != len(c.matrix) {
				t.Fatalf("%d segments, want %d", len(cost.Segments), len(c.matrix))
			}
			forward, kv := c.head, 0.0
			for i, s := range cost.Segments {
				router := 0.0
				if c.router != nil {
					router = c.router[i]
				}
				if !near(s.MatrixFLOPs, c.matrix[i]) || !near(s.AttentionFLOPs, c.attend[i]) || !near(s.RouterFLOPs, router) || !near(s.KVValues, c.kv[i]) {
					t.Errorf("%s: %+v: want matrix %v, attention %v, router %v, kv %v", s.Name, s, c.matrix[i], c.attend[i], router, c.kv[i])
				}
				forward += c.matrix[i] + c.attend[i] + router
				kv += c.kv[i]
			}
			if cost.HeadFLOPs != c.head || !near(cost.ForwardFLOPs, forward) || !near(cost.TrainFLOPs, 3*forward) || !near(cost.KVValues, kv) {
				t.Errorf("totals %+v: want head %v, forward %v, kv %v", cost, c.head, forward, kv)
			}
			checkLayout(t, c.config)
		})
	}
}

// checkLayout compares the parameter count with the tensors.
func checkLayout(t *testing.T, c *model.Config) {
	t.Helper()
	if got, want := model.Count(c, 1).Parameters.Total, model.NewLayout(c, model.NewPlan(c)).Size; got != want {
		t.Errorf("counted %d parameters, the tensors have %d", got, want)
	}
}

// TestCountGolden compares parameter counts with the tensors of every golden configuration.
func TestCountGolden(t *testing.T) {
	for _, c := range golden.Cases(t, "config.json", "train.json") {
		checkLayout(t, c.Config(t))
	}
}

// TestCountTrainingStep compares with the FLOPs of a training step as peers/train_step.py counts them: 6 × tokens × (Σ share × matrix
// parameters + d × vocab) + 6 × d × Σ (share × T)² for each sequence.
func TestCountTrainingStep(t *testing.T) {
	for _, size := range []struct {
		name                         string
		vocab, layers, batch, length int
	}{{"135m", 49152, 32, 1, 2048}, {"small", 4096, 8, 8, 512}, {"360m", 49152, 32, 1, 2048}} {
		for _, kind := range []string{"vanilla", "recursive", "expert"} {
			c, err := model.Preset(size.name, kind, model.MiddleCycle, 3)
			if err != nil {
				t.Fatal(err)
			}
			c.VocabSize, c.NumHiddenLayers = size.vocab, size.layers
			d, f, length := float64(c.HiddenSize), float64(c.IntermediateSize), float64(size.length)
			matrix := 2*d*d + 2*d*float64(c.KVDim()) + 3*d*f
			loop := []float64{1, 1, 1}
			if kind == "expert" {
				loop = []float64{1, 2.0 / 3, 1.0 / 3}
			}
			shares := slices.Concat([]float64{1}, slices.Repeat(loop, (size.layers-2)/3), []float64{1})
			sum, squares := 0.0, 0.0
			for _, s := range shares {
				sum += s
				squares += s * length * s * length
			}
			want := 6*float64(size.batch)*length*(sum*matrix+d*float64(size.vocab)) + 6*d*float64(size.batch)*squares
			cost := model.Count(c, size.length)
			routers := 0.0
			for _, s := range cost.Segments {
				routers += 3 * s.RouterFLOPs
			}
			tokens := float64(size.batch * size.length)
			if got := (cost.TrainFLOPs - routers) * tokens; !near(got/want, 1) {
				t.Errorf("%s %s: %.6g FLOPs a step without routers, want %.6g", size.name, kind, got, want)
			}
			if got := cost.TrainFLOPs * tokens; math.Abs(got/want-1) > 2e-4 { // the routers, which the script leaves out
				t.Errorf("%s %s: %.6g FLOPs a step, want %.6g", size.name, kind, got, want)
			}
		}
	}
}

// TestCountTable compares with the parameters that METHOD.md gives for the sizes (§1, §8), in millions without embedding.
func TestCountTable(t *testing.T) {
	for _, c := range []struct {
		size, kind string
		n          int
		millions   float64
	}{{"135m", "vanilla", 0, 106}, {"360m", "vanilla", 0, 315}, {"730m", "vanilla", 0, 654}, {"1.7b", "vanilla", 0, 1610},
		{"360m", "recursive", 2, 167}, {"360m", "recursive", 3, 118}, {"360m", "recursive", 4, 98}, {"360m", "expert", 3, 118}} {
		cfg, err := model.Preset(c.size, c.kind, model.MiddleCycle, c.n)
		if err != nil {
			t.Fatal(err)
		}
		cfg.VocabSize = 49152
		if got := float64(model.Count(cfg, 1).Parameters.NonEmbedding) / 1e6; math.Abs(got-c.millions) > 0.006*c.millions {
			t.Errorf("%s %s N=%d: %.1fM parameters, want %vM", c.size, c.kind, c.n, got, c.millions)
		}
	}
}

func TestCountShares(t *testing.T) {
	c := routed(model.ExpertChoice, 3, nil)
	cost, err := model.CountShares(c, 100, []float64{0.5, 0.5, 0}) // the third recursion is left out
	if err != nil {
		t.Fatal(err)
	}
	if s := cost.Segments[2]; !near(s.MatrixFLOPs, 960) || !near(s.AttentionFLOPs, 800) || !near(s.RouterFLOPs, 8) || !near(s.KVValues, 8) {
		t.Errorf("recursion 1: %+v", s)
	}
	if s := cost.Segments[3]; s.ForwardFLOPs() != 0 || s.KVValues != 0 {
		t.Errorf("recursion 2 is left out, yet costs %+v", s)
	}
	for _, bad := range [][]float64{nil, {1, 1}, {1, 0.5, 0.6}, {1.5, 1, 1}, {1, 1, -0.1}, {1, math.NaN(), 0}} {
		if _, err := model.CountShares(c, 100, bad); err == nil {
			t.Errorf("shares %v: no error", bad)
		}
	}
	if _, err := model.CountShares(c, 0, c.Shares()); err == nil {
		t.Error("context 0: no error")
	}
	if v := c.Vanilla(); v.Recursion != nil || v.Router != nil || v.NumHiddenLayers != c.NumHiddenLayers || c.Recursion == nil {
		t.Errorf("vanilla: %+v", v)
	}
}
