package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"mor/internal/model"
	"mor/internal/train"
)

// printPlan shows what will be trained, beside the vanilla model of the same effective depth.
func (r *trainRun) printPlan() {
	if r.json {
		return
	}
	o, c := &r.trainer.Options, r.trainer.Model.Config
	cpu := r.trainer.Model.CPU()
	computes := o.Dtype
	if o.Dtype == model.BF16.String() && !cpu.HasBF16() {
		computes = "bf16 asked for, computed in fp32, for this level has no units for it"
	}
	r.printf("cpu        %s, %d threads, %.0f GFLOP/s measured peak; products %s\n", cpu.Level(), cpu.Pool().Workers(), r.peak/1e9, computes)
	r.printf("model      %s\nplan       %s\n", describe(c), planLine(c))
	mine := model.Count(c, o.Context)
	w := tabwriter.NewWriter(r.out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\teffective layers\tunique layers\tparameters\tnon-embedding\tforward FLOPs/token\tKV values/token\t\n")
	row := func(name string, c *model.Config, cost *model.Cost) {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\t%s\t\n", name, c.NumHiddenLayers, model.NewPlan(c).Unique, short(float64(cost.Parameters.Total)),
			short(float64(cost.Parameters.NonEmbedding)), short(cost.ForwardFLOPs), short(cost.KVValues))
	}
	row("this model", c, mine)
	if c.Recursion != nil {
		v := c.Vanilla()
		vanilla := model.Count(v, o.Context)
		row("vanilla", v, vanilla)
		fmt.Fprintf(w, "ratio\t\t\t%.2f\t%.2f\t%.2f\t%.2f\t\n", ratio(mine.Parameters.Total, vanilla.Parameters.Total),
			ratio(mine.Parameters.NonEmbedding, vanilla.Parameters.NonEmbedding), mine.ForwardFLOPs/vanilla.ForwardFLOPs, mine.KVValues/vanilla.KVValues)
	}
	w.Flush()
	r.printf("memory     %s\n", memoryLine(&r.footprint))
	r.printf("run        %s steps of %d sequences of %d tokens; %s FLOPs a step; %s\n\n", group(o.Steps), o.Batch, o.Context, short(r.flops), o.Out)
}

// memoryLine lists the parts of a footprint.
func memoryLine(f *train.Footprint) string {
	return fmt.Sprintf("%s expected at most: weights %s, gradients %s, moments %s, kept for backward %s (of which gradients take the place of %s), backward %s, kernels %s, the rest %s", formatSize(f.Peak),
		formatSize(f.Weights), formatSize(f.Gradients), formatSize(f.Moments), formatSize(f.Tape), formatSize(f.Overlap), formatSize(f.Backward), formatSize(f.Kernels), formatSize(f.Process))
}

func ratio(a, b int) float64 { return float64(a) / float64(b) }

// describe names a model in a line.
func describe(c *model.Config) string {
	s := fmt.Sprintf("vanilla, %d layers", c.NumHiddenLayers)
	if rec := c.Recursion; rec != nil {
		kind := "recursive"
		if c.Router != nil {
			kind = map[string]string{model.ExpertChoice: "expert-choice", model.TokenChoice: "token-choice", model.FixedDepth: "fixed depth"}[c.Router.Type]
		}
		s = fmt.Sprintf("%s, %s, N=%d", kind, rec.Sharing, rec.NumRecursion)
	}
	return fmt.Sprintf("%s, hidden %d, %d heads (%d kv) of %d, ffn %d, vocab %s, context %d", s, c.HiddenSize, c.NumAttentionHeads, c.NumKeyValueHeads,
		c.HeadDim, c.IntermediateSize, group(c.VocabSize), c.MaxPositionEmbeddings)
}

// planLine writes the unique layer of each effective one: 0 | (1 2)(1 2)(1 2) | 3, with the share of tokens that a recursion keeps.
func planLine(c *model.Config) string {
	var parts []string
	shares := c.Shares()
	for _, s := range model.NewPlan(c).Segments {
		var layers []string
		for _, l := range s.Layers {
			layers = append(layers, fmt.Sprint(l.Unique))
		}
		text := strings.Join(layers, " ")
		if len(layers) > 12 {
			text = fmt.Sprintf("%s … %s", strings.Join(layers[:3], " "), layers[len(layers)-1])
		}
		if s.Recursion >= 0 {
			text = fmt.Sprintf("(%s)", text)
			if c.Router != nil {
				text += fmt.Sprintf("×%.0f%%", 100*shares[s.Recursion])
			}
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " | ")
}
