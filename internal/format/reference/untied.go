package reference

import (
	"fmt"
	"slices"
	"strings"

	"mor/internal/model"
)

// projections are the matrices that LoRA can correct, and where they stand in a layer.
var projections = []projection{
	{"q_proj", "self_attn"}, {"k_proj", "self_attn"}, {"v_proj", "self_attn"}, {"o_proj", "self_attn"},
	{"gate_proj", "mlp"}, {"up_proj", "mlp"}, {"down_proj", "mlp"},
}

type projection struct{ name, part string }

// pair is two tensors and how far they are apart.
type pair struct {
	a, b string
	by   float64
}

func (p pair) String() string {
	return fmt.Sprintf("tensors %s and %s differ by up to %.2g", p.a, p.b, p.by)
}

// furthest compares the first of some tensors with each other one.
func furthest(w weights, copies []string) (pair, error) {
	var out pair
	for _, name := range copies[1:] {
		by, err := largest(w, copies[0], name)
		if err != nil {
			return out, err
		}
		if by > out.by {
			out = pair{copies[0], name, by}
		}
	}
	return out, nil
}

// difference is a projection whose copies are not the same.
type difference struct {
	target    string // q_proj …
	copies    []string
	recursion []int
	block     int
}

// untied compares the copies of everything that is shared. With KeepUntied it makes room for projections that differ: LoRA on these targets in c.
func (r *Report) untied(c *model.Config, w weights, o Options) ([]difference, error) {
	if c.Recursion == nil {
		return nil, nil
	}
	var out []difference
	var targets []string
	var worst pair
	layout := model.NewLayout(c, model.NewPlan(c))
	for i := range layout.Tensors {
		t := &layout.Tensors[i]
		from := r.names.sources(t.Name)
		most, err := furthest(w, from)
		if err != nil {
			return nil, err
		}
		if most.by == 0 {
			continue
		}
		p := slices.IndexFunc(projections, func(p projection) bool { return strings.HasSuffix(t.Name, "."+p.part+"."+p.name+".weight") })
		if p < 0 {
			return nil, fmt.Errorf("%v, but one layer is meant: norms of their own have no place in the model", most)
		}
		out = append(out, difference{target: projections[p].name, copies: from})
		if !slices.Contains(targets, projections[p].name) {
			targets = append(targets, projections[p].name)
		}
		if most.by > worst.by {
			worst = most
		}
	}
	if out == nil {
		return nil, nil
	}
	if !o.KeepUntied {
		return nil, fmt.Errorf("%v, and %s differ between recursions altogether: they should be shared, but the published code unties attention when it adds routers; --keep-untied keeps them, as LoRA of full rank",
			worst, strings.Join(targets, ", "))
	}
	r.Untied = targets
	r.Notes = append(r.Notes, fmt.Sprintf("weights of %s differ between recursions, by up to %.2g, and are kept as LoRA of full rank", strings.Join(targets, ", "), worst.by))
	place(out, c, r.names)
	c.Recursion.LoRA = lora(c, targets)
	return out, c.Validate()
}

// place finds which recursion and block layer each copy is.
func place(out []difference, c *model.Config, n *names) {
	at := make([]int, len(n.copies))
	for _, s := range model.NewPlan(c).Segments {
		for _, l := range s.Layers {
			prefix := n.copies[l.Unique][at[l.Unique]]
			at[l.Unique]++
			for i := range out {
				if slices.ContainsFunc(out[i].copies, func(name string) bool { return strings.HasPrefix(name, prefix+".") }) {
					out[i].block = l.Block
					out[i].recursion = append(out[i].recursion, l.Recursion)
				}
			}
		}
	}
}

// lora is one whose rank holds any difference of these projections. Its scale is 1.
func lora(c *model.Config, targets []string) *model.LoRA {
	d, f, q, kv := c.HiddenSize, c.IntermediateSize, c.QueryDim(), c.KVDim()
	shorter := map[string]int{"q_proj": min(d, q), "k_proj": min(d, kv), "v_proj": min(d, kv), "o_proj": min(d, q),
		"gate_proj": min(d, f), "up_proj": min(d, f), "down_proj": min(d, f)}
	rank := 0
	for _, t := range targets {
		rank = max(rank, shorter[t])
	}
	return &model.LoRA{Rank: rank, Alpha: float64(rank), Targets: targets}
}

// correct writes the LoRA of every copy: B·A is its difference from the first copy, with the identity as the longer factor.
func (d *difference) correct(m *model.Model, w weights) error {
	info, _ := w.Info(d.copies[0])
	out, in := info.Shape[0], info.Shape[1]
	shared, own := make([]float32, info.Len()), make([]float32, info.Len())
	if err := w.Float32s(shared, d.copies[0]); err != nil {
		return err
	}
	rank := m.Config.Recursion.LoRA.Rank
	for i, name := range d.copies {
		if err := w.Float32s(own, name); err != nil {
			return err
		}
		base := fmt.Sprintf("model.loras.%d.%d.%s", d.recursion[i], d.block, d.target)
		ta, _ := m.Layout.Tensor(base + ".A")
		tb, _ := m.Layout.Tensor(base + ".B")
		a, b := ta.Of(m.W), tb.Of(m.W)
		for j := range shared {
			own[j] -= shared[j]
		}
		if in <= out { // A = [I; 0], B = [D 0]
			for p := range in {
				a[p*in+p] = 1
			}
			for j := range out {
				copy(b[j*rank:], own[j*in:(j+1)*in])
			}
			continue
		}
		copy(a, own) // A = [D; 0], B = [I 0]
		for p := range out {
			b[p*rank+p] = 1
		}
	}
	return nil
}
