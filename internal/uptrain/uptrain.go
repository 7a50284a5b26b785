// Package uptrain makes a recursive or adaptive-depth model from a deep vanilla one, so that training goes on from what it knows.
package uptrain

import (
	"fmt"
	"strings"

	"mor/internal/model"
)

// Options says what to make.
type Options struct {
	Recursion model.Recursion
	Router    *model.Router // nil: every token takes every recursion
	Init      Init
	Seed      uint64 // of what is drawn: random layers, routers
}

// Report says what each part of the new model came from.
type Report struct {
	SourceDepth int          `json:"source_layers"`
	Depth       int          `json:"layers"` // effective
	Dropped     []int        `json:"dropped"`
	Layers      []LayerFrom  `json:"unique_layers"`
	New         []string     `json:"new"` // tensors that the source has not, LoRA aside: drawn from the seed
	LoRA        []Correction `json:"lora,omitempty"`
}

// LayerFrom says what a unique layer was made from and where it runs.
type LayerFrom struct {
	Unique int   `json:"unique_layer"`
	From   []int `json:"from"` // source layers, whose mean it is where there are several
	RunsAt []int `json:"runs_at"`
	Stands []int `json:"stands_for"` // the source layer that each of these effective layers replaces
}

// Correction says how well the LoRA of one projection restores what sharing took away.
type Correction struct {
	Recursion int     `json:"recursion"`
	Block     int     `json:"block_layer"`
	Target    string  `json:"target"`
	Before    float64 `json:"error_before"` // ‖original − shared‖ / ‖original‖
	After     float64 `json:"error_after"`  // ‖original − shared − LoRA‖ / ‖original‖
}

// Convert makes a model by the options from the vanilla model src, on the same CPU. Its weights are new.
func Convert(src *model.Model, o Options) (*model.Model, *Report, error) {
	if src.Config.Recursion != nil {
		return nil, nil, fmt.Errorf("the source is not vanilla: its config.json has a recursion of N=%d; uptraining starts from a model whose layers all have weights of their own",
			src.Config.Recursion.NumRecursion)
	}
	origin, c, err := plan(src.Config, o)
	if err != nil {
		return nil, nil, err
	}
	dst := model.New(c, src.CPU())
	r := &Report{SourceDepth: src.Config.NumHiddenLayers, Depth: c.NumHiddenLayers, Dropped: origin.Dropped(src.Config.NumHiddenLayers)}
	for u, from := range origin.Layers {
		r.Layers = append(r.Layers, LayerFrom{Unique: u, From: from})
	}
	at := 0
	for _, s := range dst.Plan.Segments {
		for _, l := range s.Layers {
			from := &r.Layers[l.Unique]
			from.RunsAt, from.Stands = append(from.RunsAt, at), append(from.Stands, origin.Kept[at])
			at++
		}
	}
	for i := range dst.Layout.Tensors {
		if t := &dst.Layout.Tensors[i]; !fill(dst, src, t, origin) {
			dst.InitTensor(t, o.Seed)
			if !strings.HasPrefix(t.Name, "model.loras.") {
				r.New = append(r.New, t.Name)
			}
		}
	}
	if c.Recursion.LoRA != nil {
		r.LoRA = correct(dst, src, origin)
	}
	return dst, r, nil
}

// plan finds the layers and the configuration of the new model.
func plan(src *model.Config, o Options) (*Origin, *model.Config, error) {
	c := *src
	c.Recursion, c.Router = &o.Recursion, o.Router
	switch o.Recursion.Sharing {
	case model.Cycle, model.Sequence, model.MiddleCycle, model.MiddleSequence:
	default: // Validate says what is expected
		return nil, nil, c.Validate()
	}
	origin, err := Layers(src.NumHiddenLayers, o.Recursion.Sharing, o.Recursion.NumRecursion, o.Init, o.Seed)
	if err != nil {
		return nil, nil, err
	}
	c.NumHiddenLayers = len(origin.Kept)
	if lora := o.Recursion.LoRA; lora != nil && !(lora.Alpha > 0) {
		return nil, nil, fmt.Errorf("recursion.lora.alpha: %v: expected a positive number, e.g. the rank", lora.Alpha)
	}
	return origin, &c, c.Validate()
}

// fill writes a tensor from the source, and reports whether the source has it.
func fill(dst, src *model.Model, t *model.Tensor, origin *Origin) bool {
	unique, part, isLayer := layerTensor(t.Name)
	if !isLayer {
		from, ok := src.Layout.Tensor(t.Name)
		if ok {
			copy(t.Of(dst.W), from.Of(src.W))
		}
		return ok
	}
	sum := make([]float64, t.Len)
	for _, layer := range origin.Layers[unique] {
		from, ok := src.Layout.Tensor(layerName(layer, part))
		if !ok {
			return false
		}
		for i, v := range from.Of(src.W) {
			sum[i] += float64(v)
		}
	}
	w, n := t.Of(dst.W), float64(len(origin.Layers[unique]))
	for i, v := range sum {
		w[i] = float32(v / n)
	}
	return true
}

// layerTensor splits model.layers.3.mlp.up_proj.weight into 3 and mlp.up_proj.weight.
func layerTensor(name string) (layer int, part string, ok bool) {
	rest, ok := strings.CutPrefix(name, "model.layers.")
	number, part, found := strings.Cut(rest, ".")
	if !ok || !found {
		return 0, "", false
	}
	_, err := fmt.Sscan(number, &layer)
	return layer, part, err == nil
}

func layerName(layer int, part string) string { return fmt.Sprintf("model.layers.%d.%s", layer, part) }
