package uptrain

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"mor/internal/golden"
	"mor/internal/kernel"
	"mor/internal/model"
)

func testCPU(t *testing.T) *kernel.CPU {
	cpu, err := kernel.Open(2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cpu.Close)
	return cpu
}

// TestGolden compares with the weights that the reference makes.
func TestGolden(t *testing.T) {
	cpu := testCPU(t)
	for _, c := range golden.Cases(t, "config.json", "model.safetensors", "golden.safetensors", "uptrain.json") {
		src := model.New(c.Config(t), cpu)
		c.Tensors(t, "model.safetensors").Load(src)
		want := c.Tensors(t, "golden.safetensors")
		var table map[string]struct {
			Sharing      model.Sharing
			NumRecursion int `json:"num_recursion"`
			Layers       int `json:"num_hidden_layers"`
			Kept         []int
		}
		c.JSON(t, "uptrain.json", &table)
		for name, row := range table {
			for _, how := range []Init{Stepwise, Average, Lower, Upper} {
				t.Run(fmt.Sprintf("%s/%s/%s", c.Name, name, how), func(t *testing.T) {
					m, r, err := Convert(src, Options{Recursion: model.Recursion{NumRecursion: row.NumRecursion, Sharing: row.Sharing}, Init: how})
					if err != nil {
						t.Fatal(err)
					}
					if m.Config.NumHiddenLayers != row.Layers || len(r.New) != 0 {
						t.Errorf("%d layers, want %d; new %v, want none", m.Config.NumHiddenLayers, row.Layers, r.New)
					}
					origin, err := Layers(src.Config.NumHiddenLayers, row.Sharing, row.NumRecursion, how, 0)
					if err != nil || !slices.Equal(origin.Kept, row.Kept) {
						t.Errorf("kept %v, want %v (%v)", origin.Kept, row.Kept, err)
					}
					compare(t, m, src, want, fmt.Sprintf("%s.%s.", name, how))
				})
			}
		}
	}
}

// compare checks every tensor: those of layers against the reference, the others against the source.
func compare(t *testing.T, m, src *model.Model, want *golden.Tensors, prefix string) {
	for i := range m.Layout.Tensors {
		tensor := &m.Layout.Tensors[i]
		if strings.HasPrefix(tensor.Name, "model.layers.") {
			if values, _ := want.Floats(prefix + tensor.Name); !slices.Equal(tensor.Of(m.W), values) {
				t.Errorf("%s differs from the reference", tensor.Name)
			}
			continue
		}
		from, _ := src.Layout.Tensor(tensor.Name)
		if !slices.Equal(tensor.Of(m.W), from.Of(src.W)) {
			t.Errorf("%s differs from the source", tensor.Name)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		lo, hi, count int
		want          []int
	}{
		{0, 5, 6, []int{0, 1, 2, 3, 4, 5}},
		{0, 5, 4, []int{0, 2, 3, 5}},
		{0, 9, 1, []int{0}},
		{0, 5, 3, []int{0, 2, 5}},        // 2.5 goes to even 2
		{1, 6, 3, []int{1, 4, 6}},        // 3.5 goes to even 4
		{1, 30, 4, []int{1, 11, 20, 30}}, // 10.67, 20.33
	} {
		if got := spread(c.lo, c.hi, c.count); !slices.Equal(got, c.want) {
			t.Errorf("spread(%d, %d, %d) = %v, want %v", c.lo, c.hi, c.count, got, c.want)
		}
	}
}

func vanilla(layers int) *model.Config {
	return &model.Config{
		ModelType: "mor", VocabSize: 29, HiddenSize: 16, IntermediateSize: 20, NumHiddenLayers: layers, NumAttentionHeads: 2, NumKeyValueHeads: 1,
		HeadDim: 6, MaxPositionEmbeddings: 32, RMSNormEps: 1e-5, RopeTheta: 10000, TieWordEmbeddings: true, InitializerRange: 0.3, HiddenAct: "silu",
	}
}

func source(t *testing.T, c *model.Config, cpu *kernel.CPU) *model.Model {
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	m := model.New(c, cpu)
	m.Init(7)
	return m
}

var allTargets = []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

// TestFullRankLoRA restores the vanilla model: with as many directions as a matrix has, shared + B·A is the original.
func TestFullRankLoRA(t *testing.T) {
	cpu := testCPU(t)
	src := source(t, vanilla(6), cpu)
	for _, sharing := range []model.Sharing{model.Cycle, model.Sequence, model.MiddleCycle, model.MiddleSequence} {
		for _, how := range Inits() {
			o := Options{Recursion: model.Recursion{NumRecursion: 2, Sharing: sharing, LoRA: &model.LoRA{Rank: 20, Alpha: 7, Targets: allTargets}}, Init: Init(how), Seed: 3}
			m, r, err := Convert(src, o)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range r.LoRA {
				if c.After > 1e-6 {
					t.Errorf("%s %s: %+v", sharing, how, c)
				}
			}
			if d := difference(t, src, m); d > 1e-4 {
				t.Errorf("%s %s: logits differ by %g", sharing, how, d)
			}
		}
	}
}

// difference is the largest one between the logits of two models.
func difference(t *testing.T, a, b *model.Model) float64 {
	batch := model.NewBatch([]int32{1, 5, 3, 28, 0, 7, 7, 2, 19, 4})
	var logits [2][]float32
	for i, m := range []*model.Model{a, b} {
		tape := m.NewTape()
		if err := m.Forward(tape, batch, model.Mode{}, false); err != nil {
			t.Fatal(err)
		}
		logits[i] = make([]float32, batch.Rows()*m.Config.VocabSize)
		m.Logits(logits[i], tape, 0, batch.Rows())
	}
	worst := 0.0
	for i, v := range logits[0] {
		worst = max(worst, math.Abs(float64(v)-float64(logits[1][i])))
	}
	return worst
}

// TestRouter makes an adaptive model: what the source has not is drawn, from the seed.
func TestRouter(t *testing.T) {
	cpu := testCPU(t)
	src := source(t, vanilla(8), cpu)
	o := Options{Recursion: model.Recursion{NumRecursion: 3, Sharing: model.MiddleCycle}, Router: model.DefaultRouter(model.ExpertChoice, 3), Init: Random, Seed: 1}
	a, r, err := Convert(src, o)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"model.routers.0.weight", "model.routers.1.weight", "model.routers.2.weight"}; !slices.Equal(r.New, want) {
		t.Errorf("new %v, want %v", r.New, want)
	}
	b, _, _ := Convert(src, o)
	if !slices.Equal(a.W, b.W) {
		t.Error("the same seed made other weights")
	}
	o.Seed = 2
	if b, _, _ = Convert(src, o); slices.Equal(a.W, b.W) {
		t.Error("another seed made the same weights")
	}
	router := tensor(a, "model.routers.1.weight")
	if sum := 0.0; slices.ContainsFunc(router, func(v float32) bool { sum += math.Abs(float64(v)); return false }) || sum == 0 {
		t.Errorf("router is %v", router)
	}
}

func TestReport(t *testing.T) {
	src := source(t, vanilla(7), testCPU(t))
	_, r, err := Convert(src, Options{Recursion: model.Recursion{NumRecursion: 2, Sharing: model.MiddleCycle}, Init: Average})
	if err != nil {
		t.Fatal(err)
	}
	want := []LayerFrom{
		{0, []int{0}, []int{0}, []int{0}},
		{1, []int{1, 4}, []int{1, 3}, []int{1, 4}}, // linspace(1, 5, 4) = 1, 2.33, 3.67, 5
		{2, []int{2, 5}, []int{2, 4}, []int{2, 5}},
		{3, []int{6}, []int{5}, []int{6}},
	}
	if fmt.Sprint(r.Layers) != fmt.Sprint(want) || !slices.Equal(r.Dropped, []int{3}) || r.Depth != 6 || r.SourceDepth != 7 {
		t.Errorf("%+v", r)
	}
}

func TestRefuses(t *testing.T) {
	cpu := testCPU(t)
	src := source(t, vanilla(4), cpu)
	recursive, _, err := Convert(src, Options{Recursion: model.Recursion{NumRecursion: 2, Sharing: model.Cycle}, Init: Lower})
	if err != nil {
		t.Fatal(err)
	}
	loop := func(n int, s model.Sharing) model.Recursion { return model.Recursion{NumRecursion: n, Sharing: s} }
	for _, c := range []struct {
		src  *model.Model
		o    Options
		want string
	}{
		{recursive, Options{Recursion: loop(2, model.Cycle), Init: Lower}, "not vanilla"},
		{src, Options{Recursion: loop(2, "cycel"), Init: Lower}, "recursion.sharing"},
		{src, Options{Recursion: loop(0, model.Cycle), Init: Lower}, "num_recursion: 0"},
		{src, Options{Recursion: loop(3, model.MiddleCycle), Init: Lower}, "only 2 layers"},
		{src, Options{Recursion: loop(2, model.Cycle), Init: "uper"}, `did you mean "upper"?`},
		{src, Options{Recursion: loop(2, model.Sequence), Init: Lower, Router: model.DefaultRouter(model.TokenChoice, 2)}, "adaptive depth"},
		{src, Options{Recursion: model.Recursion{NumRecursion: 2, Sharing: model.Cycle, LoRA: &model.LoRA{Rank: 2, Targets: allTargets}}, Init: Lower}, "lora.alpha"},
	} {
		if _, _, err := Convert(c.src, c.o); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: got %v, want %q", c.o, err, c.want)
		}
	}
}
