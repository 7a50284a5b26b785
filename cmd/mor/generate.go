package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"mor"
	"mor/internal/infer"
	"mor/internal/source"
	"mor/internal/train"
)

// generateCommand holds the flags of `mor generate`.
type generateCommand struct {
	options     mor.Options
	promptFile  string
	showDepth   bool
	json        bool
	color       string
	threads     int
	weights     string
	cacheFormat string
	schemaFile  string
}

func newGenerate() *cobra.Command {
	g := &generateCommand{options: mor.DefaultOptions()}
	o := &g.options
	cmd := &cobra.Command{
		Use:   "generate [MODEL] [PROMPT]",
		Short: "Continue a prompt, and show how many recursions each token took",
		Long: `Continue a prompt with a model: a model folder (mor's or Hugging Face's), a GGUF file, or the directory of a training run, whose latest checkpoint
is taken. A single argument that is neither is the prompt, and the model is that of ` + train.Defaults().Out + `. The prompt - is read from standard
input. Without a prompt a new text begins. The text ends at the end-of-text token, and at those that the model's generation_config.json or GGUF metadata name.

Standard output gets the prompt and its continuation as it is written, or with --json one object. Standard error gets a line with speeds and depths. Routing
is causal: a token never depends on what follows it. The same seed, options and model write the same text, with any number of threads.`,
		Example: `  mor generate "func main() {"                             # the model of runs/default
  mor generate runs/default "func main() {" --show-depth
  mor generate model.gguf "Once upon a time" --temperature 0
  mor generate model-folder --prompt-file prompt.txt --max-tokens 100 --stop $'\n\n'
  git diff | mor generate model-folder - --temperature 0   # the best token, always
  mor generate model-folder "My name: " --regexp '[A-Z][a-z]+'
  mor generate "if err" --max-recursion 1                  # shallower, and faster
  mor generate "if err" --n 3                              # three texts
  mor generate "if err" --logit-bias 198=-100 --stop-token 29
  mor generate "if err" --json --logprobs 5 --prompt-logprobs 0 | jq .tokens[0].top_logprobs
  mor generate "if err" --json | jq .mean_depth`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return g.run(cmd, args) },
	}
	f := cmd.Flags()
	f.Float64Var(&o.Temperature, "temperature", o.Temperature, "divides the logits; 0 takes the best token")
	f.IntVar(&o.TopK, "top-k", o.TopK, "only the best so many tokens (0: all)")
	f.Float64Var(&o.TopP, "top-p", o.TopP, "only the best tokens that together have this probability (1: all)")
	f.Float64Var(&o.MinP, "min-p", o.MinP, "only tokens with at least this share of the best one's probability (0: all)")
	f.Float64Var(&o.RepetitionPenalty, "repetition-penalty", o.RepetitionPenalty, "above 1, tokens that occurred become less likely (1: none)")
	f.Float64Var(&o.TypicalP, "typical-p", o.TypicalP, "only tokens of typical surprise that together have this probability (1: all)")
	f.Float64Var(&o.PresencePenalty, "presence-penalty", 0, "is taken off the logits of tokens that were written (-2 to 2)")
	f.Float64Var(&o.FrequencyPenalty, "frequency-penalty", 0, "the same for each time that they were written (-2 to 2)")
	f.IntVar(&o.MinTokens, "min-tokens", 0, "the text does not end before so many tokens")
	cacheFormatFlag(cmd, &g.cacheFormat)
	f.StringVar(&o.Regexp, "regexp", "", "only text that matches this as a whole, unless --max-tokens cuts it")
	f.StringVar(&g.schemaFile, "json-schema", "", "only JSON that the schema in this file describes")
	f.IntVar(&o.N, "n", 1, "texts behind the prompt, each drawn on its own (1 to 128)")
	f.IntVar(&o.TopLogProbs, "logprobs", 0, "with --json: so many of the best tokens beside each, with their log probabilities (0 to 100)")
	f.IntVar(&o.TopPromptLogProbs, "prompt-logprobs", 0, "with --json: log probabilities of the prompt's tokens, and so many of the best beside each (0 to 100)")
	f.Var((*logitBias)(&o.LogitBias), "logit-bias", "is added to the logit of the token of this id: -100 to 100 (may be given several times)")
	f.Int32SliceVar(&o.StopTokens, "stop-token", nil, "end the text before the token of this id (may be given several times)")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "seed of the draws")
	f.StringArrayVar(&o.Stop, "stop", nil, "end the text before this (may be given several times)")
	f.IntVar(&o.MaxTokens, "max-tokens", o.MaxTokens, "most tokens to write (0: until the context is full)")
	f.IntVar(&o.MaxRecursion, "max-recursion", 0, "most recursions of a token (0: all that the model has)")
	f.IntVar(&o.Speculate, "speculate", 0, "guess so many tokens with one recursion, and read them together; the text is the same without (0: none)")
	f.Float64Var(&o.RouterThreshold, "router-threshold", 0.5, "expert-choice: a token goes on where its score's probability passes this")
	f.StringVar(&g.promptFile, "prompt-file", "", "read the prompt from a file, less one newline at its end; - is standard input")
	f.BoolVar(&g.showDepth, "show-depth", false, "show how many recursions each token took")
	f.BoolVar(&g.json, "json", false, "print one JSON object: text, tokens with depth and log probability, speeds")
	f.StringVar(&g.color, "color", "auto", "colours of --show-depth: auto, always, never (auto: on a terminal, unless NO_COLOR is set)")
	weightsFlag(cmd, &g.weights)
	threadsFlag(cmd, &g.threads)
	return cmd
}

func (g *generateCommand) run(cmd *cobra.Command, args []string) error {
	o, out := &g.options, cmd.OutOrStdout()
	color, err := useColor(g.color, out)
	if err != nil {
		return err
	}
	switch {
	case g.json && g.showDepth:
		return fmt.Errorf("--show-depth and --json: choose one: the object of --json has the depths")
	case g.threads < 0:
		return fmt.Errorf("--threads: %d: expected 1 or more, or 0 for one for each CPU", g.threads)
	case !cmd.Flags().Changed("router-threshold"):
		o.RouterThreshold = 0 // the model's own
	case o.RouterThreshold == 0:
		return fmt.Errorf("--router-threshold: 0: expected a probability between 0 and 1: with 0, every token would take every recursion")
	}
	if g.schemaFile != "" {
		if o.JSONSchema, err = os.ReadFile(g.schemaFile); err != nil {
			return fmt.Errorf("--json-schema: %w", err)
		}
	}
	if err := g.validate(cmd); err != nil {
		return err
	}
	o.LogProbs, o.PromptLogProbs = g.json, cmd.Flags().Changed("prompt-logprobs")
	path, prompt, err := g.arguments(args, cmd.InOrStdin())
	if err != nil {
		return err
	}
	if _, err := resolveModel(path); err != nil {
		return err
	}
	m, err := mor.Open(path, mor.OpenOptions{Threads: g.threads, Weights: g.weights, MaxRunning: o.N, CacheFormat: g.cacheFormat, NoReuse: true})
	if err != nil {
		return err
	}
	defer m.Close()
	t, err := m.Start(cmd.Context(), prompt, *o)
	if err != nil {
		return err
	}
	if err = g.write(out, t, m, prompt, color); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	r, _ := t.Result() // the error is the one above
	g.statistics(cmd.ErrOrStderr(), &r, m.Recursions())
	if err != nil {
		return fmt.Errorf("interrupted after %d tokens", r.Tokens)
	}
	return nil
}

// validate names the first option that is out of range.
func (g *generateCommand) validate(cmd *cobra.Command) error {
	for _, name := range []string{"logprobs", "prompt-logprobs"} {
		if cmd.Flags().Changed(name) && !g.json {
			return fmt.Errorf("--%s: only with --json, whose object has them", name)
		}
	}
	if g.options.N < 1 {
		return fmt.Errorf("n: %d: expected 1 to 128", g.options.N)
	}
	err := g.options.Validate()
	if option := (*infer.OptionError)(nil); errors.As(err, &option) && option.Name == "top_logprobs" {
		option.Name = "logprobs" // the flag's
	}
	return err
}

// logitBias is the flag of biases, TOKEN=VALUE.
type logitBias map[int32]float32

func (b *logitBias) Type() string { return "token=value" }

func (b *logitBias) String() string {
	var parts []string
	for _, id := range slices.Sorted(maps.Keys(*b)) {
		parts = append(parts, fmt.Sprintf("%d=%v", id, (*b)[id]))
	}
	return strings.Join(parts, ",")
}

func (b *logitBias) Set(text string) error {
	token, value, _ := strings.Cut(text, "=")
	id, err := strconv.ParseInt(token, 10, 32)
	bias, err2 := strconv.ParseFloat(value, 32)
	if err != nil || err2 != nil || id < 0 {
		return errors.New("expected the id of a token and a number, such as 42=-1.5")
	}
	if *b == nil {
		*b = logitBias{}
	}
	if _, twice := (*b)[int32(id)]; twice {
		return fmt.Errorf("token %d is given twice", id)
	}
	(*b)[int32(id)] = float32(bias)
	return nil
}

// write continues the prompt in the form that the flags ask for.
func (g *generateCommand) write(out io.Writer, t *mor.Text, m *mor.Model, prompt string, color bool) error {
	switch {
	case g.json:
		return g.writeJSON(out, t, m, prompt)
	case g.showDepth:
		return eachText(t, g.options.N, func(head string, tokens iter.Seq2[mor.Token, error]) error {
			return writeDepths(out, t, tokens, head, m.Recursions(), color)
		})
	}
	return eachText(t, g.options.N, func(head string, tokens iter.Seq2[mor.Token, error]) error {
		return writeText(out, tokens, head, prompt)
	})
}

// arguments returns the path of the model and the prompt.
func (g *generateCommand) arguments(args []string, stdin io.Reader) (path, prompt string, err error) {
	path = train.Defaults().Out
	if g.promptFile != "" {
		if len(args) == 2 {
			return "", "", fmt.Errorf("--prompt-file and a prompt as argument: give one of them")
		}
		if len(args) == 1 {
			path = args[0]
		}
		prompt, err = readPrompt(g.promptFile, stdin)
		return path, prompt, err
	}
	switch len(args) {
	case 2:
		path, prompt = args[0], args[1]
	case 1:
		if info, err := os.Stat(args[0]); err == nil && (info.IsDir() || source.IsFile(args[0])) {
			return args[0], "", nil
		}
		if prompt = args[0]; strings.ContainsRune(prompt, os.PathSeparator) && !strings.ContainsAny(prompt, " \t\n") {
			return "", "", fmt.Errorf("%s: no such model folder or run; if it is the prompt, name the model before it", prompt)
		}
	}
	if prompt == "-" {
		prompt, err = readPrompt("-", stdin)
	}
	return path, prompt, err
}

// maxPrompt is far beyond every context, in bytes.
const maxPrompt = 64 << 20

// readPrompt reads a prompt from a file, or from standard input where path is "-". One newline at its end is taken off: most editors and echo
// put one there.
func readPrompt(path string, stdin io.Reader) (string, error) {
	r := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", fmt.Errorf("--prompt-file: %w", err)
		}
		defer f.Close()
		r = f
	}
	text, err := io.ReadAll(io.LimitReader(r, maxPrompt+1))
	if err != nil {
		return "", fmt.Errorf("prompt: %w", err)
	}
	if len(text) > maxPrompt {
		return "", fmt.Errorf("prompt: %s has more than %d bytes: that is beyond every context", path, maxPrompt)
	}
	return strings.TrimSuffix(string(text), "\n"), nil
}

// useColor decides about colours for --color auto, always or never.
func useColor(mode string, out io.Writer) (bool, error) {
	if !slices.Contains([]string{"auto", "always", "never"}, mode) {
		return false, fmt.Errorf("--color: %q: expected auto, always or never", mode)
	}
	if mode != "auto" {
		return mode == "always", nil
	}
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", nil
}
