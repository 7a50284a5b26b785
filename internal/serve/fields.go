package serve

import (
	"encoding/json"
	"fmt"
	"strconv"

	"mor/internal/strict"
)

// sharedFields are those of both kinds of requests.
var sharedFields = []field{
	{"model", standard, "a name that /v1/models lists, or `default`; may be left out", into(func(c *call) *string { return &c.model })},
	{"temperature", standard, "0 (the best token) to 100; 1", into(func(c *call) *float64 { return &c.options.Temperature })},
	{"top_p", standard, "above 0, up to 1; 1", into(func(c *call) *float64 { return &c.options.TopP })},
	{"n", standard, "choices for a prompt, 1 to 128; 1", (*call).setN},
	{"stop", standard, "a text or a list of up to 4; they are not part of the answer", (*call).setStop},
	{"seed", standard, "one seed, one text; drawn where it is left out", (*call).setSeed},
	{"presence_penalty", standard, "-2 to 2; 0", into(func(c *call) *float64 { return &c.options.PresencePenalty })},
	{"frequency_penalty", standard, "-2 to 2; 0", into(func(c *call) *float64 { return &c.options.FrequencyPenalty })},
	{"logit_bias", standard, "token id to -100 to 100", (*call).setLogitBias},
	{"stream", standard, "server-sent events, one for each token", into(func(c *call) *bool { return &c.stream })},
	{"stream_options", standard, "`include_usage`: the last event has the usage; `include_obfuscation`: only false", (*call).setStreamOptions},
	{"user", standard, "goes to the log", into(func(c *call) *string { return &c.user })},

	{"top_k", extension, "only the best k tokens; -1 and 0: all", (*call).setTopK},
	{"min_p", extension, "only tokens with at least this share of the best one's probability; 0", into(func(c *call) *float64 { return &c.options.MinP })},
	{"typical_p", extension, "locally typical sampling; 1: all", into(func(c *call) *float64 { return &c.options.TypicalP })},
	{"repetition_penalty", extension, "above 0, up to 100; 1: none", into(func(c *call) *float64 { return &c.options.RepetitionPenalty })},
	{"min_tokens", extension, "the text does not end before so many tokens; 0", into(func(c *call) *int { return &c.options.MinTokens })},
	{"ignore_eos", extension, "tokens that end a text are not drawn", into(func(c *call) *bool { return &c.ignoreEOS })},
	{"stop_token_ids", extension, "tokens that end the text, besides the model's", (*call).setStopTokens},
	{"guided_regex", extension, "the text matches this regular expression as a whole, unless its length cuts it", into(func(c *call) *string { return &c.options.Regexp })},
	{"max_recursion", extension, "most recursions of a token; left out: all that the model has", (*call).setMaxRecursion},
	{"router_threshold", extension, "expert-choice models: a token goes on where its score's probability passes this; left out: the model's 0.5", (*call).setThreshold},
	{"speculate", extension, "so many tokens are guessed with one recursion and read together; the text is the same; 0", into(func(c *call) *int { return &c.options.Speculate })},
	{"return_depth", extension, "each choice has `depth`, the recursions of each token, and `router_scores` where the model has a router", into(func(c *call) *bool { return &c.returnDepth })},
}

// completionFields are those of /v1/completions.
var completionFields = append([]field{
	{"prompt", standard, "a text, a list of texts, a list of token ids, or a list of such lists; left out: a new text begins", (*call).setPrompt},
	{"max_tokens", standard, "16; 0 with `echo` scores the prompt alone", (*call).setMaxTokens},
	{"echo", standard, "the answer begins with the prompt; with `logprobs` it has the prompt's log probabilities", into(func(c *call) *bool { return &c.echo })},
	{"logprobs", standard, "0 to 100: log probabilities, with so many of the best tokens beside each", (*call).setLogprobs},
	{"best_of", standard, "only the same as `n`", into(func(c *call) **int { return &c.bestOf })},
	{"suffix", refuses, "the models continue a text, they do not fill one in", nil},
	{"response_format", extension, "as in chat completions", (*call).setResponseFormat},
}, sharedFields...)

// chatFields are those of /v1/chat/completions.
var chatFields = append([]field{
	{"messages", standard, "roles system, developer (read as system), user, assistant; content a text or a list of parts of type text", (*call).setMessages},
	{"max_completion_tokens", standard, "left out: until the context is full, or the server's limit", (*call).setMaxCompletionTokens},
	{"max_tokens", standard, "the older name of max_completion_tokens", (*call).setMaxTokens},
	{"logprobs", standard, "true: log probabilities of the tokens", into(func(c *call) *bool { return &c.options.LogProbs })},
	{"top_logprobs", standard, "0 to 100: so many of the best tokens beside each; needs `logprobs`", into(func(c *call) *int { return &c.options.TopLogProbs })},
	{"response_format", standard, "`text`, `json_object` (objects nest up to three deep), `json_schema`", (*call).setResponseFormat},
	{"service_tier", standard, "`auto` or `default`", only(`"auto"`, `"default"`)},
	{"store", standard, "only false", only("false")},
	{"modalities", standard, "only `[\"text\"]`", only(`["text"]`)},
	{"safety_identifier", standard, "goes to the log", into(func(c *call) *string { return &c.safetyIdentifier })},
	{"tools", refuses, "the server calls no tools", nil},
	{"tool_choice", refuses, "the server calls no tools", nil},
	{"parallel_tool_calls", refuses, "the server calls no tools", nil},
	{"functions", refuses, "the server calls no functions", nil},
	{"function_call", refuses, "the server calls no functions", nil},
	{"audio", refuses, "the models write text alone", nil},
	{"prediction", refuses, "guesses of the client are not read", nil},
	{"reasoning_effort", refuses, "use max_recursion or router_threshold", nil},
	{"verbosity", refuses, "use max_completion_tokens", nil},
	{"web_search_options", refuses, "the server does not search", nil},
	{"metadata", refuses, "answers are not stored", nil},
	{"prompt_cache_key", refuses, "prefixes are found by their tokens", nil},
	{"prompt_cache_retention", refuses, "prefixes are kept as long as there is room", nil},
	{"moderation", refuses, "the server does not moderate", nil},

	{"add_generation_prompt", extension, "the prompt ends with the head of the assistant's answer; true", into(func(c *call) **bool { return &c.addGenerationPrompt })},
	{"chat_template_kwargs", extension, "variables of the chat template", into(func(c *call) *map[string]any { return &c.templateVariables })},
}, sharedFields...)

func (c *call) setN(v json.RawMessage) error {
	if err := json.Unmarshal(v, &c.options.N); err != nil {
		return err
	}
	if c.options.N < 1 {
		return fmt.Errorf("%d: expected 1 or more", c.options.N)
	}
	return nil
}

// maxStop is how many stop texts OpenAI takes.
const maxStop = 4

func (c *call) setStop(v json.RawMessage) error {
	var one string
	if json.Unmarshal(v, &one) == nil {
		c.options.Stop = []string{one}
		return nil
	}
	var ok bool
	if c.options.Stop, ok = list[string](v); !ok {
		return fmt.Errorf("%.40s: expected a text or a list of texts", v)
	}
	if n := len(c.options.Stop); n > maxStop {
		return fmt.Errorf("%d texts: expected at most %d", n, maxStop)
	}
	return nil
}

func (c *call) setSeed(v json.RawMessage) error {
	var seed int64
	if err := json.Unmarshal(v, &seed); err != nil {
		return err
	}
	c.options.Seed, c.seeded = uint64(seed), true
	return nil
}

func (c *call) setLogitBias(v json.RawMessage) error {
	var given map[string]float32
	if err := json.Unmarshal(v, &given); err != nil {
		return err
	}
	c.options.LogitBias = make(map[int32]float32, len(given))
	for name, bias := range given {
		id, err := strconv.ParseInt(name, 10, 32)
		if err != nil {
			return fmt.Errorf("%.40q: expected token ids as keys", name)
		}
		c.options.LogitBias[int32(id)] = bias
	}
	return nil
}

func (c *call) setStreamOptions(v json.RawMessage) error {
	var o struct {
		IncludeUsage       *bool `json:"include_usage"`
		IncludeObfuscation *bool `json:"include_obfuscation"`
	}
	if err := strict.JSON(v, &o); err != nil {
		return fmt.Errorf("stream_options.%w", err)
	}
	if o.IncludeObfuscation != nil && *o.IncludeObfuscation {
		return refused("stream_options.include_obfuscation", "stream_options.include_obfuscation: true: expected false: nothing else is supported")
	}
	c.streamOptions = true
	c.includeUsage = o.IncludeUsage != nil && *o.IncludeUsage
	return nil
}

func (c *call) setTopK(v json.RawMessage) error {
	if err := json.Unmarshal(v, &c.options.TopK); err != nil {
		return err
	}
	if c.options.TopK == -1 {
		c.options.TopK = 0
	}
	return nil
}

func (c *call) setMaxRecursion(v json.RawMessage) error {
	if err := json.Unmarshal(v, &c.options.MaxRecursion); err != nil {
		return err
	}
	if c.options.MaxRecursion < 1 {
		return fmt.Errorf("%d: expected 1 or more", c.options.MaxRecursion)
	}
	return nil
}

func (c *call) setThreshold(v json.RawMessage) error {
	if err := json.Unmarshal(v, &c.options.RouterThreshold); err != nil {
		return err
	}
	if !(c.options.RouterThreshold > 0 && c.options.RouterThreshold < 1) {
		return fmt.Errorf("%v: expected a probability between 0 and 1", c.options.RouterThreshold)
	}
	return nil
}

func (c *call) setPrompt(v json.RawMessage) error {
	var text string
	if json.Unmarshal(v, &text) == nil {
		c.prompts = []prompt{{text: text}}
		return nil
	}
	if tokens, ok := list[int32](v); ok && len(tokens) > 0 {
		c.prompts = []prompt{{tokens: tokens}}
		return nil
	}
	texts, ok := list[string](v)
	for _, t := range texts {
		c.prompts = append(c.prompts, prompt{text: t})
	}
	lists, listed := list[[]*int32](v)
	for i := range lists {
		tokens, full := values(lists[i])
		if !full || len(tokens) == 0 {
			return fmt.Errorf("list %d: expected token ids", i)
		}
		c.prompts = append(c.prompts, prompt{tokens: tokens})
	}
	if len(c.prompts) == 0 || !ok && !listed {
		return fmt.Errorf("%.40s: expected a text, a list of texts, a list of token ids, or a list of such lists", v)
	}
	return nil
}

// list decodes a list without null.
func list[T any](v json.RawMessage) ([]T, bool) {
	var p []*T
	if json.Unmarshal(v, &p) != nil {
		return nil, false
	}
	return values(p)
}

// values is what the pointers point to. It fails where one does not.
func values[T any](p []*T) ([]T, bool) {
	out := make([]T, len(p))
	for i := range p {
		if p[i] == nil {
			return nil, false
		}
		out[i] = *p[i]
	}
	return out, true
}

func (c *call) setMaxTokens(v json.RawMessage) error {
	var n int
	if err := json.Unmarshal(v, &n); err != nil {
		return err
	}
	switch {
	case n < 0 || n == 0 && c.chat:
		return fmt.Errorf("%d: expected 1 or more", n)
	case c.maxTokensGiven && n != c.options.MaxTokens:
		return fmt.Errorf("%d, and %d under its other name: give one of them", n, c.options.MaxTokens)
	}
	c.options.MaxTokens, c.maxTokensGiven = n, true
	return nil
}

func (c *call) setMaxCompletionTokens(v json.RawMessage) error {
	c.maxTokensName = "max_completion_tokens"
	return c.setMaxTokens(v)
}

func (c *call) setLogprobs(v json.RawMessage) error {
	if err := json.Unmarshal(v, &c.options.TopLogProbs); err != nil {
		return err
	}
	c.options.LogProbs = true
	return nil
}

func (c *call) setStopTokens(v json.RawMessage) error {
	var ok bool
	if c.options.StopTokens, ok = list[int32](v); !ok {
		return fmt.Errorf("%.40s: expected a list of token ids", v)
	}
	return nil
}
