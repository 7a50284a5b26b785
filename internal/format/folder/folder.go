// Package folder reads and writes a model as a folder: config.json, model.safetensors (or shards) and tokenizer.json, in mor's own form and in Hugging Face's.
package folder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mor/internal/format/hf"
	"mor/internal/format/safetensors"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/token"
)

// The files of a folder.
const (
	ConfigFile    = "config.json"
	WeightsFile   = safetensors.WeightsFile
	TokenizerFile = "tokenizer.json"
)

const headTensor, embedTensor = "lm_head.weight", "model.embed_tokens.weight"

// Open reads the model in a folder. A tensor that is missing, superfluous or of another shape than the configuration says is an error.
func Open(dir string, cpu *kernel.CPU) (*model.Model, error) {
	c, err := Config(dir)
	if err != nil {
		return nil, err
	}
	w, err := safetensors.OpenShards(dir)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	if err := Match(w, c); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if err := CheckTied(w, c); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	m := model.New(c, cpu)
	return m, ReadSlab(w, m.Layout, m.W)
}

// Config reads the configuration of a folder: mor's own, or that of a LlamaForCausalLM or MixtralForCausalLM.
func Config(dir string) (*model.Config, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("%s: no such model folder: expected one with %s and %s", dir, ConfigFile, WeightsFile)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s: a file: expected a model folder with %s and %s", dir, ConfigFile, WeightsFile)
	}
	return ReadConfig(filepath.Join(dir, ConfigFile))
}

// ReadConfig reads a config.json of any of these kinds.
func ReadConfig(path string) (*model.Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var kind struct {
		ModelType string `json:"model_type"`
	}
	if err := json.Unmarshal(data, &kind); err != nil {
		return nil, fmt.Errorf("%s: not a config.json: %w", path, plain(err))
	}
	parse := model.ParseConfig
	if kind.ModelType != "mor" {
		parse = hf.ParseConfig
	}
	c, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// plain says in JSON's words what Go's types would be named for.
func plain(err error) error {
	var e *json.UnmarshalTypeError
	if errors.As(err, &e) && e.Field == "" {
		return fmt.Errorf("%s at its top, expected an object", e.Value)
	}
	if errors.As(err, &e) {
		return fmt.Errorf("%s: %s, expected a text", e.Field, e.Value)
	}
	return err
}

// Tokenizer reads the tokenizer of a folder. A folder without one gives nil.
func Tokenizer(dir string) (*token.Tokenizer, error) {
	path := filepath.Join(dir, TokenizerFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return token.Load(path)
}

// Match compares stored tensors with a configuration before any weight is allocated.
func Match(w *safetensors.Shards, c *model.Config) error {
	if q, packed, err := PackedType(w); packed || err != nil {
		return errors.Join(err, fmt.Errorf("%s is packed as %s, which only runs: give the model that it was made from", WeightsFile, q))
	}
	names := slices.DeleteFunc(w.Names(), func(name string) bool { return derived(name, c) })
	return model.NewLayout(c, model.NewPlan(c)).Match(names, func(name string) ([]int, bool) {
		t, ok := w.Info(name)
		return t.Shape, ok
	})
}

// derived tells whether a stored tensor follows from others: a tied output head, and the frequencies of RoPE, which older checkpoints carry along.
func derived(name string, c *model.Config) bool {
	return name == headTensor && c.TieWordEmbeddings || strings.HasSuffix(name, ".self_attn.rotary_emb.inv_freq")
}

// CheckTied compares an output head that is stored although it is tied.
func CheckTied(w *safetensors.Shards, c *model.Config) error {
	head, ok := w.Info(headTensor)
	if !ok || !c.TieWordEmbeddings {
		return nil
	}
	embed, _ := w.Info(embedTensor)
	if !slices.Equal(head.Shape, embed.Shape) || head.DType != embed.DType {
		return fmt.Errorf("tensor %s is %s, expected %s: it is tied to the embedding", headTensor, head, embed)
	}
	const part = 1 << 20
	a, b, left := make([]byte, part), make([]byte, part), int64(head.Len())*int64(head.DType.Size())
	for at := int64(0); at < left; at += part {
		n := min(part, left-at)
		if err := errors.Join(w.File(headTensor).RawAt(a[:n], headTensor, at), w.File(embedTensor).RawAt(b[:n], embedTensor, at)); err != nil {
			return err
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return fmt.Errorf("tensor %s differs from %s, but tie_word_embeddings is true: set it to false", headTensor, embedTensor)
		}
	}
	return nil
}

// tensors is what a slab is read from.
type tensors interface {
	Float32s(dst []float32, name string) error
}

// ReadSlab fills a slab (weights, or moments under the same names) from a file.
func ReadSlab(f tensors, l *model.Layout, slab []float32) error {
	for i := range l.Tensors {
		t := &l.Tensors[i]
		if err := f.Float32s(t.Of(slab), t.Name); err != nil {
			return err
		}
	}
	return nil
}
