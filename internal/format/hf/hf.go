// Package hf reads and writes Hugging Face model folders: LlamaForCausalLM and MixtralForCausalLM, in one safetensors file or in shards.
package hf

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"mor/internal/format/safetensors"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/strict"
)

const (
	configFile  = "config.json"
	weightsFile = "model.safetensors"
	indexFile   = "model.safetensors.index.json"
)

// Open reads the model in a folder. A tensor that is missing, superfluous or of another shape than the configuration says is an error.
func Open(dir string, cpu *kernel.CPU) (*model.Model, error) {
	c, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	w, err := openWeights(dir)
	if err != nil {
		return nil, err
	}
	defer w.close()
	l := model.NewLayout(c, model.NewPlan(c))
	if err := w.check(l, c); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	m := model.New(c, cpu)
	for i := range m.Layout.Tensors {
		t := &m.Layout.Tensors[i]
		if err := w.of[t.Name].Float32s(t.Of(m.W), t.Name); err != nil {
			return nil, err
		}
	}
	return m, w.checkTied(m)
}

// ReadConfig reads the configuration of a folder.
func ReadConfig(dir string) (*model.Config, error) {
	path := filepath.Join(dir, configFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := ParseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// weights is the files of a folder's tensors.
type weights struct {
	files []*safetensors.File
	of    map[string]*safetensors.File // by tensor
}

func (w *weights) close() {
	for _, f := range w.files {
		f.Close()
	}
}

// openWeights opens model.safetensors, or the shards that the index names.
func openWeights(dir string) (*weights, error) {
	w := &weights{of: map[string]*safetensors.File{}}
	path := filepath.Join(dir, indexFile)
	data, err := os.ReadFile(path)
	if err != nil {
		f, err := safetensors.Open(filepath.Join(dir, weightsFile))
		if err != nil {
			return nil, err
		}
		w.files = []*safetensors.File{f}
		for _, name := range f.Names() {
			w.of[name] = f
		}
		return w, nil
	}
	shards, err := parseIndex(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	open := map[string]*safetensors.File{}
	for _, tensor := range slices.Sorted(maps.Keys(shards)) {
		name := shards[tensor]
		if open[name] == nil {
			f, err := safetensors.Open(filepath.Join(dir, name))
			if err != nil {
				w.close()
				return nil, err
			}
			open[name] = f
			w.files = append(w.files, f)
		}
		if _, ok := open[name].Info(tensor); !ok {
			w.close()
			return nil, fmt.Errorf("%s: tensor %s is not in %s, where the index says it is", path, tensor, name)
		}
		w.of[tensor] = open[name]
	}
	return w, nil
}

// parseIndex reads the map from tensors to files of a model in shards.
func parseIndex(data []byte) (map[string]string, error) {
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("not a safetensors index: %w", err)
	}
	if len(index.WeightMap) == 0 {
		return nil, fmt.Errorf("weight_map: missing or empty: expected the file of each tensor")
	}
	for tensor, name := range index.WeightMap {
		if name != filepath.Base(name) || name == "." || name == ".." {
			return nil, fmt.Errorf("weight_map: tensor %s is in %q: expected a file of the same folder", tensor, name)
		}
	}
	return index.WeightMap, nil
}

// check compares the tensors with a layout before any weight is allocated.
func (w *weights) check(l *model.Layout, c *model.Config) error {
	var names []string
	for i := range l.Tensors {
		t := &l.Tensors[i]
		f := w.of[t.Name]
		if f == nil {
			return fmt.Errorf("tensor %s is missing: the weights do not belong to the %s beside them", t.Name, configFile)
		}
		if info, _ := f.Info(t.Name); !slices.Equal(info.Shape, t.Shape) {
			return fmt.Errorf("tensor %s has shape %v, expected %v from the %s beside it", t.Name, info.Shape, t.Shape, configFile)
		}
		names = append(names, t.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(w.of)) {
		_, known := l.Tensor(name)
		if !known && !(name == "lm_head.weight" && c.TieWordEmbeddings) {
			return fmt.Errorf("tensor %s is not in the model of %s (biases are not supported)%s", name, configFile, strict.Suggest(name, names))
		}
	}
	return nil
}

// checkTied compares an output head that is stored although it is tied.
func (w *weights) checkTied(m *model.Model) error {
	f := w.of["lm_head.weight"]
	if f == nil || !m.Config.TieWordEmbeddings {
		return nil
	}
	embed, _ := m.Layout.Tensor("model.embed_tokens.weight")
	if info, _ := f.Info("lm_head.weight"); info.Len() != embed.Len {
		return fmt.Errorf("tensor lm_head.weight has shape %v, expected %v: it is tied to the embedding", info.Shape, embed.Shape)
	}
	head := make([]float32, embed.Len)
	if err := f.Float32s(head, "lm_head.weight"); err != nil {
		return err
	}
	if !slices.Equal(head, embed.Of(m.W)) {
		return fmt.Errorf("tensor lm_head.weight differs from model.embed_tokens.weight, but tie_word_embeddings is true: set it to false")
	}
	return nil
}
