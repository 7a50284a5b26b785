package reference

import (
	"fmt"
	"strings"

	"mor/internal/model"
)

// names says where the reference keeps each tensor of a model. Every effective layer has an entry of its own, shared or not:
//
//	vanilla, recursive   model.layers.L.PART
//	expert-choice        model.layers.(first+r).block.j.PART, beside mor_router and mlp_router, the auxiliary one
//	token-choice         model.layers.(first).block_list.r.j.PART, beside mor_router and router_bias
//
// first is 1 with a middle strategy, whose own layers stand as layer 0 and behind the loop.
type names struct {
	copies [][]string // of each unique layer, the prefixes of its entries, one for each time it runs
	loop   []string   // of each recursion, the prefix of its router; token-choice has one
}

// newNames lists the names for a configuration. A token-choice model with cycle sharing is one entry, which the reference stores as
// model.layers itself; has tells which names there are.
func newNames(c *model.Config, has func(prefix string) bool) *names {
	plan := model.NewPlan(c)
	n := &names{copies: make([][]string, plan.Unique)}
	first, behind := 0, c.NumHiddenLayers
	if c.Recursion != nil && c.Recursion.Sharing.Middle() {
		first = 1
	}
	of := func(layer int) string { return fmt.Sprintf("model.layers.%d", layer) }
	switch {
	case c.Expert():
		behind = first + c.Recursion.NumRecursion
		for r := range c.Recursion.NumRecursion {
			n.loop = append(n.loop, of(first+r))
		}
	case c.Token():
		behind = first + 1
		n.loop = []string{of(first)}
		if first == 0 && has("model.layers.block_list.") {
			n.loop[0] = "model.layers"
		}
	}
	at := 0
	for _, s := range plan.Segments {
		for _, l := range s.Layers {
			prefix := of(at)
			switch {
			case l.Recursion >= 0 && c.Expert():
				prefix = fmt.Sprintf("%s.block.%d", n.loop[l.Recursion], l.Block)
			case l.Recursion >= 0 && c.Token():
				prefix = fmt.Sprintf("%s.block_list.%d.%d", n.loop[0], l.Recursion, l.Block)
			case c.Router != nil && at > 0: // behind the loop
				prefix = of(behind)
			}
			n.copies[l.Unique] = append(n.copies[l.Unique], prefix)
			at++
		}
	}
	return n
}

// sources lists the entries of a tensor of the model: more than one where it is shared, none where the reference has no such tensor.
func (n *names) sources(tensor string) []string {
	if rest, ok := strings.CutPrefix(tensor, "model.layers."); ok {
		var layer int
		number, part, _ := strings.Cut(rest, ".")
		if _, err := fmt.Sscan(number, &layer); err != nil || layer >= len(n.copies) {
			return nil
		}
		out := make([]string, len(n.copies[layer]))
		for i, prefix := range n.copies[layer] {
			out[i] = prefix + "." + part
		}
		return out
	}
	for _, kind := range []struct{ mine, theirs string }{{"model.routers.", "mor_router"}, {"model.aux_routers.", "mlp_router"}} {
		if rest, ok := strings.CutPrefix(tensor, kind.mine); ok {
			var r int
			number, part, _ := strings.Cut(rest, ".")
			if _, err := fmt.Sscan(number, &r); err != nil || r >= len(n.loop) {
				return nil
			}
			return []string{fmt.Sprintf("%s.%s.%s", n.loop[r], kind.theirs, routerPart(part))}
		}
	}
	switch {
	case tensor == "model.router.balance_bias":
		return []string{n.loop[0] + ".router_bias"}
	case strings.HasPrefix(tensor, "model.router."):
		return []string{n.loop[0] + ".mor_router." + routerPart(strings.TrimPrefix(tensor, "model.router."))}
	case strings.HasPrefix(tensor, "model.loras."):
		return nil
	}
	return []string{tensor}
}

// routerPart is the reference's name of a part of a router: an MLP is a sequence whose element 1 is the GELU.
func routerPart(part string) string {
	return map[string]string{"weight": "router.weight", "up.weight": "router.0.weight", "down.weight": "router.2.weight"}[part]
}
