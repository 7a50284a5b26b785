package uptrain

import (
	"fmt"
	"strings"

	"mor/internal/model"
)

// Unroll returns the vanilla model whose layers are the effective layers of m, the corrections of each recursion added to its copy of the weights, and what is
// lost by that: nothing for a recursive model without router whose recursions have keys and values of their own. What no vanilla model can compute is
// an error.
func Unroll(m *model.Model) (*model.Model, []string, error) {
	c := m.Config
	if c.Recursion == nil {
		return m, nil, nil
	}
	if c.Recursion.Encoding {
		return nil, nil, fmt.Errorf("recursion.encoding: a vector multiplies the stream between recursions, which no Llama layer does: train without it to unroll")
	}
	var lost []string
	if c.Router != nil {
		lost = append(lost, fmt.Sprintf("the %s router: every token takes all %d recursions, with no gate", c.Router.Type, c.Recursion.NumRecursion))
	}
	if c.Recursion.KVSharing {
		lost = append(lost, "KV sharing: every recursion has keys and values of its own")
	}
	out := model.New(c.Vanilla(), m.CPU())
	effective := 0
	for _, s := range m.Plan.Segments {
		for _, l := range s.Layers {
			if err := copyLayer(out, m, effective, &l); err != nil {
				return nil, nil, err
			}
			effective++
		}
	}
	for i := range out.Layout.Tensors {
		if t := &out.Layout.Tensors[i]; !strings.HasPrefix(t.Name, "model.layers.") {
			from, _ := m.Layout.Tensor(t.Name)
			copy(t.Of(out.W), from.Of(m.W))
		}
	}
	return out, lost, nil
}

// copyLayer copies the weights of a layer to layer number to, its recursion's corrections added.
func copyLayer(out, m *model.Model, to int, l *model.Layer) error {
	src, dst := fmt.Sprintf("model.layers.%d.", l.Unique), fmt.Sprintf("model.layers.%d.", to)
	for i := range m.Layout.Tensors {
		from := &m.Layout.Tensors[i]
		name, ok := strings.CutPrefix(from.Name, src)
		if !ok {
			continue
		}
		t, ok := out.Layout.Tensor(dst + name)
		if !ok {
			return fmt.Errorf("tensor %s has no place in the unrolled model", from.Name)
		}
		w := t.Of(out.W)
		copy(w, from.Of(m.W))
		parts := strings.Split(name, ".")
		if l.Recursion >= 0 && len(parts) == 3 {
			addLoRA(w, m, fmt.Sprintf("model.loras.%d.%d.%s", l.Recursion, l.Block, parts[1]))
		}
	}
	return nil
}

// addLoRA adds (alpha/rank)·B·A to w[out,in], where there is such a correction.
func addLoRA(w []float32, m *model.Model, name string) {
	a, ok := m.Layout.Tensor(name + ".A")
	if !ok {
		return
	}
	b, _ := m.Layout.Tensor(name + ".B")
	rank, in := a.Shape[0], a.Shape[1]
	scale := m.Config.Recursion.LoRA.Alpha / float64(rank)
	wa, wb := a.Of(m.W), b.Of(m.W)
	for o := range b.Shape[0] {
		for i := range in {
			sum := 0.0
			for k := range rank {
				sum += float64(wb[o*rank+k]) * float64(wa[k*in+i])
			}
			w[o*in+i] += float32(scale * sum)
		}
	}
}
