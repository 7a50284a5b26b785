package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"mor/internal/model"
)

// print writes the inspection as tables.
func (in *inspection) print(out io.Writer) error {
	fmt.Fprintf(out, "model      %s\nkind       %s\n", in.Path, in.Kind)
	if s := recursionLine(in.Config); s != "" {
		fmt.Fprintf(out, "recursion  %s\n", s)
	}
	if r := in.Config.Router; r != nil {
		fmt.Fprintf(out, "router     %s\n", routerLine(r))
	}
	if in.Weights != nil {
		fmt.Fprintf(out, "weights    %s, %s, %s bytes\n", in.Weights.File, in.Weights.DType, group(in.Weights.Bytes))
	}
	fmt.Fprintln(out)
	in.printPlan(out)
	in.printParameters(out)
	in.printCosts(out)
	if in.Tensors != nil {
		in.printTensors(out)
	}
	return nil
}

// recursionLine names what is not said by the kind: sharing of keys, LoRA, encoding.
func recursionLine(c *model.Config) string {
	if c.Recursion == nil {
		return ""
	}
	parts := []string{"keys and values of each recursion"}
	if c.Recursion.KVSharing {
		parts[0] = "keys and values of the first recursion"
	}
	if c.Recursion.KVUpdate {
		parts[0] += ", updated by each recursion"
	}
	if c.Recursion.Encoding {
		parts = append(parts, "recursion encoding")
	}
	if l := c.Recursion.LoRA; l != nil {
		parts = append(parts, fmt.Sprintf("LoRA of rank %d, alpha %v on %s", l.Rank, l.Alpha, strings.Join(l.Targets, " ")))
	}
	return strings.Join(parts, "; ")
}

// routerLine says how depth is decided.
func routerLine(r *model.Router) string {
	if r.Type == model.FixedDepth {
		return fmt.Sprintf("none: the position decides, capacity %v", r.Capacity)
	}
	s := fmt.Sprintf("%s, %s gate", r.Kind, r.Gate)
	if r.Gate != "none" {
		s += fmt.Sprintf(" × %v", r.Alpha)
	}
	s += ", " + r.Gating
	if r.Temperature != 1 {
		s += fmt.Sprintf(", temperature %v", r.Temperature)
	}
	s += ", balancing " + r.Balancing
	if r.BalancingCoef != 0 {
		s += fmt.Sprintf(" × %v", r.BalancingCoef)
	}
	if r.ZCoef != 0 {
		s += fmt.Sprintf(", z-loss × %v", r.ZCoef)
	}
	if r.RandRouter {
		s += ", drawn at random"
	}
	return s
}

// grid is a table whose first columns stand left and whose others, the numbers, stand right.
type grid struct {
	left int
	rows [][]string
}

func (g *grid) add(cells ...string) { g.rows = append(g.rows, cells) }

func (g *grid) print(out io.Writer) {
	var width []int
	for _, row := range g.rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range g.rows {
		line := ""
		for i, cell := range row {
			fill := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i < g.left {
				line += cell + fill + "  "
			} else {
				line += " " + fill + cell + "  "
			}
		}
		fmt.Fprintln(out, strings.TrimRight(line, " "))
	}
	fmt.Fprintln(out)
}

// printPlan is the plan with the cost of each segment.
func (in *inspection) printPlan(out io.Writer) {
	fmt.Fprintf(out, "Plan, and what each token of %s costs: forward FLOPs, and bytes of keys and values in %s\n\n", group(in.Cost.Context), in.KV.DType)
	g := &grid{left: 4}
	g.add("segment", "layers", "weights of", "KV slots", "tokens", "matrices", "attention", "router", "KV bytes")
	total, layer := model.SegmentCost{}, 0
	for i, s := range in.Plan {
		c := &in.Cost.Segments[i]
		var layers, unique, slots []int
		for _, l := range s.Layers {
			layers, unique, slots = append(layers, l.Layer), append(unique, l.Unique), append(slots, l.Slot)
		}
		mode := s.Layers[len(s.Layers)-1].KV
		g.add(s.Name, ranges(layers), ranges(unique), ranges(slots)+map[string]string{"own": "", "read": " read", "update": " update"}[mode],
			percent(c.Share), whole(c.MatrixFLOPs), whole(c.AttentionFLOPs), whole(c.RouterFLOPs), whole(c.KVValues*in.KV.width))
		layer += len(layers)
		total.MatrixFLOPs += c.MatrixFLOPs
		total.AttentionFLOPs += c.AttentionFLOPs
		total.RouterFLOPs += c.RouterFLOPs
	}
	g.add("head", "", "", "", "100%", whole(in.Cost.HeadFLOPs), "0", "0", "0")
	g.add("all", group(layer), "", "", "", whole(total.MatrixFLOPs+in.Cost.HeadFLOPs), whole(total.AttentionFLOPs), whole(total.RouterFLOPs), whole(in.KV.PerToken))
	g.print(out)
	if note := in.shareNote(); note != "" {
		fmt.Fprintf(out, "%s\n\n", note)
	}
}

// shareNote says where the shares of tokens come from.
func (in *inspection) shareNote() string {
	switch c := in.Config; {
	case c.Expert():
		return "Tokens: the capacity of topk routing, as in training. Under causal routing each token decides for itself: --shares takes measured shares."
	case c.Token():
		return "Tokens: as if each depth were chosen alike; --shares takes measured shares."
	}
	return ""
}

// printParameters compares parameters with the vanilla model.
func (in *inspection) printParameters(out io.Writer) {
	mine, vanilla := in.Cost.Parameters, in.Vanilla.Parameters
	g, compare := in.comparison("parameters")
	for _, r := range []struct {
		name         string
		mine, plain  int
		evenWhenNone bool
	}{
		{"total", mine.Total, vanilla.Total, true},
		{"  non-embedding", mine.NonEmbedding, vanilla.NonEmbedding, true},
		{"  embedding", mine.Embedding, vanilla.Embedding, true},
		{"  head", mine.Head, vanilla.Head, false},
		{"unique layers", mine.Layers, vanilla.Layers, true},
		{"  each", mine.Layer, vanilla.Layer, true},
		{"routers", mine.Routers, vanilla.Routers, false},
		{"auxiliary routers", mine.AuxRouters, vanilla.AuxRouters, false},
		{"recursion encoding", mine.Encoding, vanilla.Encoding, false},
		{"LoRA", mine.LoRA, vanilla.LoRA, false},
		{"final norm", mine.Norm, vanilla.Norm, true},
		{"used by a token", mine.Active, vanilla.Active, mine.Active != mine.Total},
	} {
		if r.evenWhenNone || r.name != "used by a token" && r.mine != 0 {
			compare(r.name, float64(r.mine), float64(r.plain))
		}
	}
	g.print(out)
}

// comparison starts a table that compares with the vanilla model where there is another, and returns what adds a row.
func (in *inspection) comparison(title string) (g *grid, compare func(name string, mine, vanilla float64)) {
	g = &grid{left: 1}
	if in.Config.Recursion == nil {
		g.add(title, "this model")
		return g, func(name string, mine, _ float64) { g.add(name, whole(mine)) }
	}
	g.add(title, "this model", fmt.Sprintf("vanilla, %d layers", in.Config.NumHiddenLayers), "ratio")
	return g, func(name string, mine, vanilla float64) {
		ratio := ""
		if vanilla != 0 {
			ratio = fmt.Sprintf("%.3f", mine/vanilla)
		}
		g.add(name, whole(mine), whole(vanilla), ratio)
	}
}

// printCosts compares FLOPs and cache with the vanilla model.
func (in *inspection) printCosts(out io.Writer) {
	g, compare := in.comparison("for each token")
	compare("FLOPs forward", in.Cost.ForwardFLOPs, in.Vanilla.ForwardFLOPs)
	compare("FLOPs in training", in.Cost.TrainFLOPs, in.Vanilla.TrainFLOPs)
	compare("KV bytes", in.KV.PerToken, in.KV.PerTokenPlain)
	compare(fmt.Sprintf("KV bytes of %s tokens", group(in.Cost.Context)), in.KV.Sequence, in.KV.SequencePlain)
	g.print(out)
}

func (in *inspection) printTensors(out io.Writer) {
	g := &grid{left: 2}
	g.add("tensor", "shape", "values", "type", "weight decay")
	for _, t := range in.Tensors {
		decay := "no"
		if t.Decay {
			decay = "yes"
		}
		if t.Frozen {
			decay = "not trained"
		}
		g.add(t.Name, strings.Trim(strings.ReplaceAll(fmt.Sprint(t.Shape), " ", "×"), "[]"), group(t.Values), t.DType, decay)
	}
	g.print(out)
}

// ranges writes 3 4 5 9 9 as 3–5 9×2.
func ranges(n []int) string {
	var parts []string
	for i := 0; i < len(n); {
		run, same := 1, 1
		for i+run < len(n) && n[i+run] == n[i]+run {
			run++
		}
		for i+same < len(n) && n[i+same] == n[i] {
			same++
		}
		switch {
		case same > 1:
			parts = append(parts, fmt.Sprintf("%d×%d", n[i], same))
		case run > 1:
			parts = append(parts, fmt.Sprintf("%d–%d", n[i], n[i+run-1]))
		default:
			parts = append(parts, fmt.Sprint(n[i]))
		}
		i += max(run, same)
	}
	return strings.Join(parts, " ")
}

func whole(x float64) string { return group(int64(math.Round(x))) }

func percent(x float64) string {
	if p := 100 * x; math.Abs(p-math.Round(p)) < 1e-9 {
		return fmt.Sprintf("%.0f%%", p)
	}
	return fmt.Sprintf("%.1f%%", 100*x)
}
