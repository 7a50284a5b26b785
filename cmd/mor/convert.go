package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mor/internal/format/folder"
	"mor/internal/format/reference"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/source"
	"mor/internal/strict"
	"mor/internal/uptrain"
)

// convertCommand holds the flags of `mor convert`.
type convertCommand struct {
	from       string
	weights    string
	keepUntied bool

	to        string
	dtype     string
	shardSize string
	unroll    bool

	sharing   string
	n         int
	init      string
	seed      uint64
	kvSharing bool
	encoding  bool
	lora      model.LoRA
	router    string
	kind      string
	gate      string
	alpha     float64
	capacity  []float64
	set       []string

	json    bool
	threads int
}

// The flags that belong to one way to convert.
var (
	referenceFlags = []string{"keep-untied"}
	exportFlags    = []string{"dtype", "max-shard-size", "unroll"}
	recursiveFlags = []string{"num-recursion", "init", "seed", "kv-sharing", "encoding", "lora-rank", "lora-alpha", "lora-targets", "router", "router-kind",
		"gate", "alpha", "capacity", "set"}
)

func newConvert() *cobra.Command {
	c := &convertCommand{}
	cmd := &cobra.Command{
		Use:   "convert (--recursive SHARING | --from reference | --to FORM | --weights TYPE) SRC DST",
		Short: "Make recursive models from vanilla ones, read checkpoints of the method's published code, write Hugging Face folders and GGUF files",
		Long: `Convert the model SRC (a model folder of mor's or of Hugging Face, the directory of a run, a GGUF file) to a new one, DST.

--recursive makes a recursive model from a vanilla one, to go on training from: layers of SRC become the shared block, and a router is drawn where one is
asked for. Where the layers of the loop do not divide by --num-recursion some are left out, at even distances. With --lora-rank each recursion gets
a low-rank correction on top of the shared weights, as near to the layer that it replaces as the rank allows.

--from reference reads a checkpoint of the published PyTorch code: a folder with config.json, train.yaml, and model.safetensors or pytorch_model.bin,
whose pickle is read without being run. Every copy of a shared weight is compared before it is dropped.

--to writes the model in another form: mor (a folder with config.json of model_type "mor", for any kind), hf (a folder that transformers loads: LlamaForCausalLM, or
MixtralForCausalLM for a mixture of experts) or gguf (a file that llama.cpp runs). --dtype says how matrices are stored. hf and gguf know no recursion: --unroll writes each
effective layer on its own, and says what is lost by it.

--weights writes any model with its matrices in fewer bits, as the kernels read them: bf16, f16, int8 (blocks of 32 with a scale), q4_1 or q4_0 (4 bits; with and without
a minimum for each block). Such a folder runs without being converted, its file mapped into memory; it cannot be trained.`,
		Example: `  mor convert --recursive middle_cycle --num-recursion 3 vanilla-folder recursive-folder
  mor convert --recursive middle_cycle --num-recursion 3 --router expert --capacity 1,0.6,0.3 vanilla-folder mor-folder
  mor convert --recursive cycle --init average --lora-rank 16 vanilla-folder relaxed-folder
  mor convert --from reference downloaded-checkpoint mor-folder
  mor convert --to hf --dtype bf16 --unroll runs/default llama-folder
  mor convert --to gguf --dtype q8_0 vanilla-folder model.gguf
  mor convert --weights int8 model-folder int8-folder`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, args[0], args[1]) },
	}
	f := cmd.Flags()
	f.StringVar(&c.from, "from", "", "format of SRC: reference")
	f.StringVar(&c.to, "to", "", "form of DST: "+strings.Join(exportForms, ", "))
	f.StringVar(&c.dtype, "dtype", "f32", "matrices of DST: f32, f16, bf16; with gguf also q8_0, q4_0")
	f.StringVar(&c.shardSize, "max-shard-size", "", "most bytes of a file of weights, e.g. 2GB (default: one file)")
	f.BoolVar(&c.unroll, "unroll", false, "write the effective layers of a recursive model as a vanilla one")
	f.StringVar(&c.weights, "weights", "", "type of the matrices of the new folder: bf16, f16, int8, q4_1 or q4_0")
	f.BoolVar(&c.keepUntied, "keep-untied", false, "reference: keep weights that differ between recursions, as LoRA of full rank")
	f.StringVar(&c.sharing, "recursive", "", "sharing of the new model: cycle, sequence, middle_cycle or middle_sequence")
	f.IntVar(&c.n, "num-recursion", 3, "recursions N")
	f.StringVar(&c.init, "init", string(uptrain.Stepwise), "layers of SRC that become the block: "+strings.Join(uptrain.Inits(), ", "))
	f.Uint64Var(&c.seed, "seed", 1, "seed of what is drawn: routers, layers with --init random")
	f.BoolVar(&c.kvSharing, "kv-sharing", false, "recursions after the first read the keys and values of the first")
	f.BoolVar(&c.encoding, "encoding", false, "a learned vector multiplies the stream after each recursion")
	f.IntVar(&c.lora.Rank, "lora-rank", 0, "rank of the correction of each recursion (0: none)")
	f.Float64Var(&c.lora.Alpha, "lora-alpha", 0, "its scale is alpha/rank (default: the rank)")
	f.StringSliceVar(&c.lora.Targets, "lora-targets", nil, "projections that it corrects (default: all)")
	f.StringVar(&c.router, "router", "none", "who decides a token's depth: expert, token, fixed or none")
	f.StringVar(&c.kind, "router-kind", "", "linear or mlp (default linear)")
	f.StringVar(&c.gate, "gate", "", "sigmoid, tanh or none with expert; softmax or sigmoid with token")
	f.Float64Var(&c.alpha, "alpha", 0, "largest gate")
	f.Float64SliceVar(&c.capacity, "capacity", nil, "share of tokens of each recursion, e.g. 1,0.6,0.3 (default (N-r)/N)")
	f.StringArrayVar(&c.set, "set", nil, "any key of the recursion and router objects, e.g. router.temperature=1.5")
	f.BoolVar(&c.json, "json", false, "print the report as one JSON object")
	threadsFlag(cmd, &c.threads)
	return cmd
}

// conversion is the report; --json prints it.
type conversion struct {
	Source      string            `json:"source"`
	Destination string            `json:"destination"`
	Config      *model.Config     `json:"config"`
	Parameters  int               `json:"parameters"`
	Uptrain     *uptrain.Report   `json:"recursive,omitempty"`
	Reference   *reference.Report `json:"reference,omitempty"`
}

func (c *convertCommand) run(cmd *cobra.Command, src, dst string) error {
	if err := c.checkFlags(cmd.Flags()); err != nil {
		return err
	}
	if err := checkPaths(src, dst); err != nil {
		return err
	}
	switch {
	case c.weights != "":
		return c.pack(cmd, src, dst)
	case c.to != "":
		return c.export(cmd, src, dst)
	}
	cpu, err := openCPU(c.threads)
	if err != nil {
		return err
	}
	defer cpu.Close()
	out := &conversion{Source: src, Destination: dst}
	var m *model.Model
	var kept folder.SaveOptions
	if c.from != "" {
		if m, out.Reference, err = reference.Convert(src, cpu, reference.Options{KeepUntied: c.keepUntied}); err == nil {
			kept.Tokenizer, err = folder.Tokenizer(src)
		}
	} else {
		m, kept, err = c.recursive(cmd, cpu, out)
	}
	if err != nil {
		return err
	}
	if err := folder.Save(dst, m, kept); err != nil {
		return err
	}
	out.Config, out.Parameters = m.Config, m.Layout.Size
	if c.json {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", " ")
		return enc.Encode(out)
	}
	out.print(cmd.OutOrStdout(), kept.Tokenizer != nil)
	return nil
}

// checkFlags refuses flags that the way to convert has no use for.
func (c *convertCommand) checkFlags(f *pflag.FlagSet) error {
	refuse := func(way string, names ...string) error {
		for _, name := range names {
			if f.Changed(name) {
				return fmt.Errorf("--%s has no meaning with %s: leave it out", name, way)
			}
		}
		return nil
	}
	var ways []string
	for _, w := range []string{"recursive", "from", "to", "weights"} {
		if f.Changed(w) {
			ways = append(ways, "--"+w)
		}
	}
	switch {
	case len(ways) == 0:
		return fmt.Errorf("say how: --recursive SHARING makes a recursive model, --from reference reads a checkpoint of the published code, --to FORM writes for other tools, --weights TYPE packs")
	case len(ways) > 1:
		return fmt.Errorf("%s at once: convert in two steps", strings.Join(ways, " and "))
	case c.from != "" && c.from != "reference":
		return fmt.Errorf("--from: %q: expected reference%s", c.from, strict.Suggest(c.from, []string{"reference"}))
	case c.lora.Rank < 0:
		return fmt.Errorf("--lora-rank %d: expected 0 (none) or more", c.lora.Rank)
	}
	belong := map[string][]string{"--recursive": recursiveFlags, "--from": referenceFlags, "--to": exportFlags}
	for _, way := range []string{"--recursive", "--from", "--to"} {
		if way == ways[0] {
			continue
		}
		if err := refuse(ways[0], belong[way]...); err != nil {
			return err
		}
	}
	if ways[0] == "--recursive" && c.lora.Rank == 0 {
		return refuse("no --lora-rank", "lora-alpha", "lora-targets")
	}
	return nil
}

// checkPaths refuses a destination that is there, before anything is computed.
func checkPaths(src, dst string) error {
	a, err1 := filepath.Abs(src)
	b, err2 := filepath.Abs(dst)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if a == b {
		return fmt.Errorf("%s: source and destination are the same: name a new folder", dst)
	}
	if _, err := os.Stat(dst); err == nil {
		return fmt.Errorf("%s: exists already: name another folder, or remove it", dst)
	}
	if info, err := os.Stat(filepath.Dir(b)); err != nil || !info.IsDir() {
		return fmt.Errorf("%s: no folder %s to put it in", dst, filepath.Dir(dst))
	}
	return nil
}

// recursive makes a model from the vanilla source, and returns what is kept of it.
func (c *convertCommand) recursive(cmd *cobra.Command, cpu *kernel.CPU, out *conversion) (*model.Model, folder.SaveOptions, error) {
	var kept folder.SaveOptions
	o, err := c.options(cmd.Flags())
	if err != nil {
		return nil, kept, err
	}
	if out.Source, err = resolveModel(out.Source); err != nil {
		return nil, kept, err
	}
	src, err := source.Open(out.Source, cpu)
	if err != nil {
		return nil, kept, err
	}
	if lora := o.Recursion.LoRA; lora != nil && lora.Targets == nil {
		lora.Targets = []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
		if src.Config.MoE != nil {
			lora.Targets = lora.Targets[:4]
		}
	}
	m, report, err := uptrain.Convert(src.Model, o)
	if err != nil {
		return nil, kept, fmt.Errorf("%s: %w", out.Source, err)
	}
	out.Uptrain = report
	return m, folder.SaveOptions{Tokenizer: src.Tokenizer, Files: src.Files}, nil
}

// options merges the flags into what uptraining needs: defaults, flags of their own, then --set.
func (c *convertCommand) options(f *pflag.FlagSet) (uptrain.Options, error) {
	o := uptrain.Options{Init: uptrain.Init(c.init), Seed: c.seed}
	o.Recursion = model.Recursion{NumRecursion: c.n, Sharing: model.Sharing(c.sharing), KVSharing: c.kvSharing, Encoding: c.encoding}
	if c.n < 1 {
		return o, fmt.Errorf("--num-recursion: %d: expected 1 or more", c.n)
	}
	if c.lora.Rank != 0 {
		lora := c.lora
		if !f.Changed("lora-alpha") {
			lora.Alpha = float64(lora.Rank)
		}
		o.Recursion.LoRA = &lora
	}
	switch c.router {
	case model.ExpertChoice, model.TokenChoice, model.FixedDepth:
		o.Router = model.DefaultRouter(c.router, c.n)
	case "none":
		for _, name := range []string{"router-kind", "gate", "alpha", "capacity"} {
			if f.Changed(name) {
				return o, fmt.Errorf("--%s without a router: add --router expert, token or fixed", name)
			}
		}
	default:
		known := []string{model.ExpertChoice, model.TokenChoice, model.FixedDepth, "none"}
		return o, fmt.Errorf("--router: %q: expected %s%s", c.router, strings.Join(known, ", "), strict.Suggest(c.router, known))
	}
	if r := o.Router; r != nil {
		for name, apply := range map[string]func(){"router-kind": func() { r.Kind = c.kind }, "gate": func() { r.Gate = c.gate },
			"alpha": func() { r.Alpha = c.alpha }, "capacity": func() { r.Capacity = c.capacity }} {
			if f.Changed(name) {
				apply()
			}
		}
	}
	return o, setKeys(&o, c.set)
}

// setKeys changes keys of the recursion and router objects: "router.temperature=1.5".
func setKeys(o *uptrain.Options, set []string) error {
	objects := struct {
		Recursion *model.Recursion `json:"recursion"`
		Router    *model.Router    `json:"router"`
	}{&o.Recursion, o.Router}
	for _, s := range set {
		path, value, ok := strings.Cut(s, "=")
		var v any
		if !ok || yaml.Unmarshal([]byte(value), &v) != nil {
			return fmt.Errorf("--set %s: expected key=value, e.g. router.temperature=1.5", s)
		}
		if strings.HasPrefix(path, "router.") && o.Router == nil {
			return fmt.Errorf("--set %s: without a router: add --router expert, token or fixed", s)
		}
		keys := strings.Split(path, ".")
		for i := len(keys) - 1; i >= 0; i-- {
			v = map[string]any{keys[i]: v}
		}
		data, err := json.Marshal(v)
		if err == nil {
			err = strict.JSON(data, &objects)
		}
		if err != nil {
			return fmt.Errorf("--set %s: %w", s, err)
		}
	}
	if objects.Recursion == nil {
		return fmt.Errorf("--set recursion=null: the new model is recursive")
	}
	o.Recursion, o.Router = *objects.Recursion, objects.Router
	return nil
}

// print writes the report as tables.
func (c *conversion) print(out io.Writer, tokenizer bool) {
	fmt.Fprintf(out, "source     %s\nmodel      %s, %s\n", c.Source, c.Destination, describe(c.Config))
	if !tokenizer {
		fmt.Fprintf(out, "tokenizer  none in %s: put one beside the weights\n", c.Source)
	}
	fmt.Fprintln(out)
	if c.Uptrain != nil {
		c.printUptrain(out)
		return
	}
	g := &grid{left: 2}
	g.add("layer", "is in "+c.Reference.Weights)
	for _, l := range c.Reference.Layers {
		g.add(fmt.Sprint(l.Unique), strings.Join(l.From, " = "))
	}
	g.print(out)
	for _, n := range c.Reference.Notes {
		fmt.Fprintf(out, "%s\n", n)
	}
}

func (c *conversion) printUptrain(out io.Writer) {
	r := c.Uptrain
	if len(r.Dropped) > 0 {
		fmt.Fprintf(out, "Of the %d source layers %d take part, so that N=%d divides the loop; left out: %s\n\n", r.SourceDepth, r.Depth,
			c.Config.Recursion.NumRecursion, ranges(r.Dropped))
	}
	g := &grid{left: 4}
	g.add("layer", "runs at", "from source layer", "in place of")
	for _, l := range r.Layers {
		from := ranges(l.From)
		if len(l.From) > 1 {
			from = "mean of " + from
		}
		g.add(fmt.Sprint(l.Unique), ranges(l.RunsAt), from, ranges(l.Stands))
	}
	g.print(out)
	c.printLoRA(out)
	if len(r.New) > 0 {
		fmt.Fprintf(out, "New, because the source has none: %s\n", strings.Join(r.New, " "))
	}
}

// printLoRA sums the corrections up by projection.
func (c *conversion) printLoRA(out io.Writer) {
	if c.Uptrain.LoRA == nil {
		return
	}
	g := &grid{left: 1}
	g.add(fmt.Sprintf("LoRA of rank %d", c.Config.Recursion.LoRA.Rank), "shared is off by", "with LoRA")
	for _, target := range c.Config.Recursion.LoRA.Targets {
		before, after, n := 0.0, 0.0, 0.0
		for _, l := range c.Uptrain.LoRA {
			if l.Target == target {
				before, after, n = before+l.Before, after+l.After, n+1
			}
		}
		g.add(target, percent(before/n), percent(after/n))
	}
	g.print(out)
}
