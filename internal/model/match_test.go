package model_test

import (
	"slices"
	"strings"
	"testing"

	"mor/internal/golden"
	"mor/internal/model"
)

// TestMatchRefuses: tensors that are not the configuration's are named, with the reason.
func TestMatchRefuses(t *testing.T) {
	c := golden.Kinds()[0].Config
	l := model.NewLayout(c, model.NewPlan(c))
	var names []string
	shapes := map[string][]int{}
	for i := range l.Tensors {
		names, shapes[l.Tensors[i].Name] = append(names, l.Tensors[i].Name), l.Tensors[i].Shape
	}
	match := func(names []string, shapes map[string][]int) error {
		return l.Match(names, func(name string) ([]int, bool) { s, ok := shapes[name]; return s, ok })
	}
	if err := match(names, shapes); err != nil {
		t.Fatal(err)
	}
	const bias = "model.layers.0.self_attn.q_proj.bias"
	for want, extra := range map[string]string{
		bias + " is not supported: the block has no biases":      bias,
		`did you mean "model.layers.0.self_attn.q_proj.weight"?`: "model.layers.0.self_attn.q_proj.wieght",
	} {
		if err := match(append(slices.Clone(names), extra), shapes); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	first := names[0]
	good := shapes[first]
	shapes[first] = []int{1}
	if err := match(names, shapes); err == nil || !strings.Contains(err.Error(), first+" has shape [1], expected") {
		t.Error(err)
	}
	shapes[first] = good
	delete(shapes, first)
	if err := match(names[1:], shapes); err == nil || !strings.Contains(err.Error(), first+" is missing") {
		t.Error(err)
	}
}
