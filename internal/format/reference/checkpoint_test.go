package reference

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mor/internal/format/safetensors"
	"mor/internal/kernel"
	"mor/internal/model"
)

const configJSON = `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 11, "hidden_size": 8, "intermediate_size": 12,
"num_hidden_layers": %d, "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 16, "rms_norm_eps": 1e-5,
"rope_theta": 500.0, "rope_scaling": null, "tie_word_embeddings": true, "hidden_act": "silu", "attention_bias": false}`

// section of train.yaml for a recursive model; the router follows.
func loop(n int, sharing string) string {
	return fmt.Sprintf("name: x\nlearning_rate: 3e-3\nrecursive:\n  enable: true\n  num_recursion: %d\n  sharing: %s\n  base_depth: null\n", n, sharing)
}

const (
	expertYAML = "mor:\n  enable: true\n  type: expert\n  capacity: 0.9,0.5\n  router_type: %s\n  temp: 1.5\n  z_loss: true\n  z_coeff: 1e-3\n" +
		"  expert: {router_func: tanh, alpha: 0.3, sampling: %s, coeff: 0.01, cap_warmup_step: 7, include_first: true}\n"
	tokenYAML = "mor:\n  enable: true\n  type: token\n  capacity: null\n  router_type: mlp\n  temp: 1.0\n  z_loss: false\n  z_coeff: 0.1\n" +
		"  token: {router_func: %s, balancing: %s, coeff: 0.2, u: 0.01, gating: additive, bal_warmup_step: 4}\n"
)

// export writes a model as the published code stores it, with every use of a layer on its own, and returns the folder. change may edit what is
// written.
func export(t *testing.T, m *model.Model, train string, change func(tensors map[string][]float32, shapes map[string][]int)) string {
	n := newNames(m.Config, func(string) bool { return false })
	tensors, shapes := map[string][]float32{}, map[string][]int{}
	for i := range m.Layout.Tensors {
		tensor := &m.Layout.Tensors[i]
		for _, name := range n.sources(tensor.Name) {
			tensors[name], shapes[name] = slices.Clone(tensor.Of(m.W)), tensor.Shape
		}
	}
	if change != nil {
		change(tensors, shapes)
	}
	var sources []safetensors.Source
	for name, values := range tensors {
		sources = append(sources, safetensors.FromFloat32s(name, safetensors.F32, shapes[name], values))
	}
	var b bytes.Buffer
	if err := safetensors.Write(&b, sources, nil); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"model.safetensors": b.Bytes(), "train.yaml": []byte(train),
		"config.json": fmt.Appendf(nil, configJSON, m.Config.NumHiddenLayers)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// drawn makes the model that a train.yaml describes, with drawn weights.
func drawn(t *testing.T, cpu *kernel.CPU, layers int, train string) *model.Model {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "config.json"), fmt.Appendf(nil, configJSON, layers), 0o666)
	os.WriteFile(filepath.Join(dir, "train.yaml"), []byte(train), 0o666)
	l, s, err := readSettings(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config(l, s)
	if err != nil {
		t.Fatal(err)
	}
	c.InitializerRange = 0.3
	m := model.New(c, cpu)
	m.Init(5)
	c.InitializerRange = 0.02
	return m
}

var checkpoints = []struct {
	name   string
	layers int
	train  string
	router *model.Router
}{
	{"vanilla", 3, "name: x\n", nil},
	{"vanilla with sections", 3, "recursive:\n  enable: false\n  num_recursion: null\n  sharing: null\nmor:\n  enable: false\n  router_type: mlp\n  temp: 1\n", nil},
	{"one recursion", 2, loop(1, "cycle"), nil},
	{"cycle", 4, loop(2, "cycle"), nil},
	{"sequence", 6, loop(3, "sequence"), nil},
	{"middle_sequence", 6, loop(2, "middle_sequence"), nil},
	{"middle_cycle, keys shared", 6, loop(2, "middle_cycle") + "kv_sharing:\n  enable: true\n  num_recursion: null\n  sharing: null\n", nil},
	{"expert", 6, loop(2, "middle_cycle") + fmt.Sprintf(expertYAML, "linear", "aux_loss"),
		&model.Router{Type: "expert", Kind: "linear", Gate: "tanh", Alpha: 0.3, Temperature: 1.5, Gating: "weighted", Balancing: "aux_loss", Capacity: []float64{0.9, 0.5}, BalancingCoef: 0.01, ZCoef: 0.001, CapacityWarmupSteps: 7}},
	{"expert, cycle, aux router, mlp", 4, loop(2, "cycle") + fmt.Sprintf(expertYAML, "wide_mlp", "aux_router") + "gradient_accumulation_steps: 2\n",
		&model.Router{Type: "expert", Kind: "mlp", Gate: "tanh", Alpha: 0.3, Temperature: 1.5, Gating: "weighted", Balancing: "aux_router", Capacity: []float64{0.9, 0.5}, BalancingCoef: 0.01, ZCoef: 0.001, CapacityWarmupSteps: 4}},
	{"expert without sampling, keys updated", 6, loop(2, "middle_cycle") + fmt.Sprintf(expertYAML, "linear", "null") + "kv_sharing: {enable: true, update_cache: true}\n",
		&model.Router{Type: "expert", Kind: "linear", Gate: "tanh", Alpha: 0.3, Temperature: 1.5, Gating: "weighted", Balancing: "none", Capacity: []float64{0.9, 0.5}, ZCoef: 0.001, CapacityWarmupSteps: 7}},
	{"token", 6, loop(2, "middle_cycle") + fmt.Sprintf(tokenYAML, "softmax", "loss"), &model.Router{Type: "token", Kind: "mlp", Gate: "softmax", Alpha: 1, Temperature: 1, Gating: "additive", Balancing: "loss", BalancingCoef: 0.2, BalanceWarmupSteps: 4}},
	{"token, cycle, loss-free", 4, loop(2, "cycle") + fmt.Sprintf(tokenYAML, "sigmoid", "loss_free"),
		&model.Router{Type: "token", Kind: "mlp", Gate: "sigmoid", Alpha: 0.1, Temperature: 1, Gating: "additive", Balancing: "loss_free", BalanceUpdateRate: 0.01, BalanceWarmupSteps: 4}},
}

// TestRoundTrip writes checkpoints of every kind and reads them back.
func TestRoundTrip(t *testing.T) {
	cpu := testCPU(t)
	for _, c := range checkpoints {
		t.Run(c.name, func(t *testing.T) {
			m := drawn(t, cpu, c.layers, c.train)
			if !reflect.DeepEqual(m.Config.Router, c.router) {
				t.Errorf("router %+v, want %+v", m.Config.Router, c.router)
			}
			got, r, err := Convert(export(t, m, c.train, nil), cpu, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Config.JSON(), m.Config.JSON()) || !slices.Equal(got.W, m.W) {
				t.Error("what is read differs from what was written")
			}
			if len(r.Layers) != m.Plan.Unique || len(r.Untied) != 0 {
				t.Errorf("%+v", r)
			}
		})
	}
	t.Run("token as one entry", func(t *testing.T) { // model.layers is the loop itself
		last := checkpoints[len(checkpoints)-1]
		m := drawn(t, cpu, last.layers, last.train)
		got, _, err := Convert(export(t, m, last.train, func(tensors map[string][]float32, shapes map[string][]int) {
			for name, v := range tensors {
				if rest, ok := strings.CutPrefix(name, "model.layers.0."); ok {
					tensors["model.layers."+rest], shapes["model.layers."+rest] = v, shapes[name]
					delete(tensors, name)
				}
			}
		}), cpu, Options{})
		if err != nil || !slices.Equal(got.W, m.W) {
			t.Errorf("differs from what was written: %v", err)
		}
	})
}

// TestKeepUntied changes copies of every projection, each in its own way, and wants the logits of a vanilla model that has them.
func TestKeepUntied(t *testing.T) {
	cpu := testCPU(t)
	train := loop(2, "middle_sequence")
	m, plain := drawn(t, cpu, 6, train), drawn(t, cpu, 6, "name: x\n")
	dir := export(t, m, train, func(tensors map[string][]float32, _ map[string][]int) {
		for name, values := range tensors {
			if strings.HasSuffix(name, "_proj.weight") {
				for i := range values {
					values[i] += 0.1 * float32((i*i)%5-2) * float32(name[len("model.layers.")]-'0')
				}
			}
			if tensor, ok := plain.Layout.Tensor(name); ok {
				copy(tensor.Of(plain.W), values)
			}
		}
	})
	if _, _, err := Convert(dir, cpu, Options{}); err == nil || !strings.Contains(err.Error(), "differ by up to") {
		t.Fatalf("untied weights: %v", err)
	}
	got, r, err := Convert(dir, cpu, Options{KeepUntied: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Untied) != 7 {
		t.Errorf("untied %v, want all projections", r.Untied)
	}
	batch := model.NewBatch([]int32{1, 2, 3, 10, 0, 7})
	var logits [2][]float32
	for i, m := range []*model.Model{plain, got} {
		tape := m.NewTape()
		if err := m.Forward(tape, batch, model.Mode{}, false); err != nil {
			t.Fatal(err)
		}
		logits[i] = make([]float32, batch.Rows()*m.Config.VocabSize)
		m.Logits(logits[i], tape, 0, batch.Rows())
	}
	for i, v := range logits[0] {
		if d := v - logits[1][i]; d > 1e-4 || d < -1e-4 {
			t.Fatalf("logit %d is %v, want %v", i, logits[1][i], v)
		}
	}
}

// TestHead unties a head that has values of its own.
func TestHead(t *testing.T) {
	cpu := testCPU(t)
	m := drawn(t, cpu, 2, "name: x\n")
	for _, add := range []float32{0, 0.5} {
		got, r, err := Convert(export(t, m, "name: x\n", func(tensors map[string][]float32, shapes map[string][]int) {
			head := slices.Clone(tensors["model.embed_tokens.weight"])
			head[3] += add
			tensors["lm_head.weight"], shapes["lm_head.weight"] = head, shapes["model.embed_tokens.weight"]
		}), cpu, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if tied := add == 0; got.Config.TieWordEmbeddings != tied || len(r.Notes) != map[bool]int{true: 0, false: 1}[tied] {
			t.Errorf("head changed by %v: tied %v, notes %v", add, got.Config.TieWordEmbeddings, r.Notes)
		}
	}
}

func TestRefuses(t *testing.T) {
	cpu := testCPU(t)
	train := loop(2, "middle_cycle")
	m := drawn(t, cpu, 4, train)
	edit := func(f func(map[string][]float32, map[string][]int)) string { return export(t, m, train, f) }
	replace := func(file, from, to string) string {
		dir := edit(nil)
		path := filepath.Join(dir, file)
		data, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(data), from) {
			t.Fatalf("%s holds no %q (%v)", file, from, err)
		}
		os.WriteFile(path, []byte(strings.Replace(string(data), from, to, 1)), 0o666)
		return dir
	}
	without := func(file string) string {
		dir := edit(nil)
		os.Remove(filepath.Join(dir, file))
		return dir
	}
	for _, c := range []struct{ name, dir, want string }{
		{"norms of their own", edit(func(x map[string][]float32, _ map[string][]int) { x["model.layers.2.input_layernorm.weight"][0] = 3 }),
			"model.layers.1.input_layernorm.weight and model.layers.2.input_layernorm.weight differ by up to 2"},
		{"not a number", edit(func(x map[string][]float32, _ map[string][]int) {
			x["model.layers.2.mlp.up_proj.weight"][0] /= 0 * x["model.layers.2.mlp.up_proj.weight"][0]
		}), "--keep-untied"},
		{"missing", edit(func(x map[string][]float32, _ map[string][]int) { delete(x, "model.layers.2.mlp.up_proj.weight") }),
			"tensor model.layers.2.mlp.up_proj.weight is missing: a recursive model of 4 layers"},
		{"superfluous", edit(func(x map[string][]float32, s map[string][]int) {
			x["model.layers.7.mlp.up_proj.weight"], s["model.layers.7.mlp.up_proj.weight"] = []float32{1}, []int{1}
		}), "tensor model.layers.7.mlp.up_proj.weight is not expected"},
		{"shape", edit(func(x map[string][]float32, s map[string][]int) { s["model.norm.weight"] = []int{2, 4} }), "has shape [2 4], expected [8]"},
		{"head shape", edit(func(x map[string][]float32, s map[string][]int) {
			x["lm_head.weight"], s["lm_head.weight"] = []float32{1}, []int{1}
		}), "lm_head.weight has shape [1]"},
		{"no head", replace("config.json", `"tie_word_embeddings": true`, `"tie_word_embeddings": false`), "lm_head.weight is missing, but config.json"},
		{"no config.json", without("config.json"), "config.json is missing"},
		{"no train.yaml", without("train.yaml"), "train.yaml is missing"},
		{"no weights", without("model.safetensors"), "no weights"},
		{"no folder", filepath.Join(t.TempDir(), "none"), "config.json is missing"},
		{"not llama", replace("config.json", "llama", "gpt2"), `model_type: "gpt2"`},
		{"bias", replace("config.json", `"attention_bias": false`, `"attention_bias": true`), "biases are not supported"},
		{"scaled RoPE", replace("config.json", `"rope_scaling": null`, `"rope_scaling": {"factor": 2}`), "rope_scaling"},
		{"not JSON", replace("config.json", "{", "<"), "not a configuration"},
		{"no hidden size", replace("config.json", `"hidden_size": 8`, `"hidden_size": 0`), "hidden_size: 0"},
		{"no heads", replace("config.json", `"num_attention_heads": 2`, `"num_attention_heads": 0`), "num_attention_heads: 0"},
		{"not YAML", replace("train.yaml", "recursive:", "recursive: ]"), "not valid YAML"},
		{"alias", replace("train.yaml", "name: x", "name: &a x\nother: *a"), "an alias"},
		{"unknown key", replace("train.yaml", "sharing:", "sharign:"), `recursive: sharign: unknown key: did you mean "sharing"?`},
		{"type", replace("train.yaml", "num_recursion: 2", "num_recursion: two"), "num_recursion: found a string"},
		{"sharing", replace("train.yaml", "middle_cycle", "middle_cycel"), "recursion.sharing"},
		{"relaxation", replace("train.yaml", "name: x", "relaxation: {enable: true, method: lora, lora: {r: 16}}"), `relaxation.method: "lora"`},
		{"keys alone", replace("train.yaml", "enable: true", "enable: false\nkv_sharing:\n  enable: true\nother:"), "kv_sharing.enable"},
		{"router alone", replace("train.yaml", "enable: true", "enable: false\nmor:\n  enable: true\nother:"), "mor.enable"},
	} {
		if _, _, err := Convert(c.dir, cpu, Options{}); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	expert := fmt.Sprintf(expertYAML, "linear", "aux_loss")
	for _, c := range []struct{ from, to, want string }{
		{"type: expert", "type: exprt", `mor.type: "exprt"`},
		{"router_type: linear", "router_type: deep", `mor.router_type: "deep"`},
		{"0.9,0.5", "0.9,x", "mor.capacity"},
		{"0.9,0.5", "0.9", "router.capacity: 1 entries for 2 recursions"},
		{"0.9,0.5", "0.5,0.9", "router.capacity: grows"},
		{"router_func: tanh", "router_func: relu", "router.gate"},
		{"cap_warmup_step: 7", "cap_warmup_step: -7", "cap_warmup_step"},
		{"enable: true", "enable: true\n  rand_router: true", "mor.rand_router"},
	} {
		_, err := func() (*model.Config, error) {
			s, err := parseSettings([]byte(train + strings.Replace(expert, c.from, c.to, 1)))
			if err != nil {
				return nil, err
			}
			return config(&llama{ModelType: "llama", VocabSize: 11, HiddenSize: 8, IntermediateSize: 12, NumHiddenLayers: 4, NumAttentionHeads: 2,
				MaxPositionEmbeddings: 16, RMSNormEps: 1e-5, RopeTheta: 500, HiddenAct: "silu"}, s)
		}()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.to, err, c.want)
		}
	}
}

// FuzzSettings: any train.yaml gives an error or a valid configuration.
func FuzzSettings(f *testing.F) {
	for _, c := range checkpoints {
		f.Add([]byte(c.train), c.layers)
	}
	f.Fuzz(func(t *testing.T, data []byte, layers int) {
		s, err := parseSettings(data)
		if err != nil {
			return
		}
		c, err := config(&llama{ModelType: "llama", VocabSize: 11, HiddenSize: 8, IntermediateSize: 12, NumHiddenLayers: layers & 63, NumAttentionHeads: 2,
			MaxPositionEmbeddings: 16, RMSNormEps: 1e-5, RopeTheta: 500, HiddenAct: "silu"}, s)
		if err == nil && c.Validate() != nil {
			t.Errorf("%q gives an invalid configuration: %v", data, c.Validate())
		}
		if err == nil {
			newNames(c, func(string) bool { return true })
		}
	})
}
