package model

import (
	"fmt"
	"slices"
	"strings"

	"mor/internal/strict"
)

// Match compares stored tensors with the layout, before any weight is allocated: each of the layout's must be there in its shape, and no other. names lists what is
// stored; shape tells a stored tensor's.
func (l *Layout) Match(names []string, shape func(name string) ([]int, bool)) error {
	for i := range l.Tensors {
		t := &l.Tensors[i]
		found, ok := shape(t.Name)
		if !ok {
			return fmt.Errorf("tensor %s is missing: the weights do not belong to the configuration", t.Name)
		}
		if !slices.Equal(found, t.Shape) {
			return fmt.Errorf("tensor %s has shape %v, expected %v by the configuration", t.Name, found, t.Shape)
		}
	}
	for _, name := range names {
		if _, ok := l.index[name]; ok {
			continue
		}
		if strings.HasSuffix(name, ".bias") {
			return fmt.Errorf("tensor %s is not supported: the block has no biases", name)
		}
		return fmt.Errorf("tensor %s is not in the model of the configuration%s", name, strict.Suggest(name, l.names()))
	}
	return nil
}

func (l *Layout) names() []string {
	out := make([]string, len(l.Tensors))
	for i := range l.Tensors {
		out[i] = l.Tensors[i].Name
	}
	return out
}
