package load

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"time"
)

// Streams of the random generators of a run.
const (
	arrivals uint64 = iota
	contents
	manners
)

// maxPatience is the longest that a client which gives up by the clock waits.
const maxPatience = 500 * time.Millisecond

// request is one that a client is to send.
type request struct {
	body      []byte
	malformed bool
	maxTokens int
	patience  time.Duration // gives up after this time; 0: never
	enough    int           // gives up after so many tokens; 0: never
}

// request makes the i-th one of a run.
func (o *Options) request(i int) request {
	rng := rand.New(rand.NewPCG(o.Seed, uint64(i)<<2|manners))
	u := rng.Float64()
	if u < o.MalformedShare {
		return request{body: o.malformed(rng), malformed: true}
	}
	r := request{}
	r.body, r.maxTokens = o.content(i, true)
	if u < o.MalformedShare+o.CancelShare {
		if rng.IntN(2) == 0 { // in the queue, in the prompt, or later
			r.patience = 1 + time.Duration(rng.Int64N(int64(maxPatience)))
		} else {
			r.enough = 1 + rng.IntN(r.maxTokens)
		}
	}
	return r
}

// content is the body of the i-th request and the tokens that it asks for. Requests repeat after o.Prompts.
func (o *Options) content(i int, stream bool) (body []byte, maxTokens int) {
	rng := rand.New(rand.NewPCG(o.Seed, uint64(o.distinct(i))<<2|contents))
	prompt := words(rng, o.PromptTokens.draw(rng))
	maxTokens = o.MaxTokens.draw(rng)
	fields := o.fields(prompt, maxTokens)
	if stream {
		fields["stream"], fields["stream_options"] = true, map[string]any{"include_usage": true}
	}
	return encode(fields), maxTokens
}

// distinct is which of the different requests the i-th one is.
func (o *Options) distinct(i int) int {
	if o.Prompts > 0 {
		return i % o.Prompts
	}
	return i
}

func (o *Options) fields(prompt string, maxTokens int) map[string]any {
	f := map[string]any{"model": o.Model, "max_tokens": maxTokens, "temperature": o.Temperature}
	if o.IgnoreEOS {
		f["ignore_eos"] = true
	}
	if o.Chat {
		f["messages"] = []map[string]string{{"role": "user", "content": prompt}}
	} else {
		f["prompt"] = prompt
	}
	for k, v := range o.Extra {
		f[k] = v
	}
	return f
}

// encode cannot fail: Validate has encoded Extra, and all else is made here.
func encode(fields map[string]any) []byte {
	body, _ := json.Marshal(fields)
	return body
}

// malformed is a body that no server can understand: each breaks another rule.
func (o *Options) malformed(rng *rand.Rand) []byte {
	whole := encode(o.fields("malformed", 1))
	wrong := o.fields("", 1)
	if o.Chat {
		wrong["messages"] = "malformed"
	} else {
		wrong["prompt"] = map[string]any{"text": "malformed"}
	}
	kinds := [][]byte{nil, []byte(`"malformed"`), []byte("[" + string(whole) + "]"), whole[:len(whole)/2], []byte(string(whole) + "}"), encode(wrong)}
	return kinds[rng.IntN(len(kinds))]
}

// words are frequent English nouns, each one token with most tokenizers.
func words(rng *rand.Rand, n int) string {
	var b strings.Builder
	b.WriteString("The")
	for range n - 1 {
		b.WriteByte(' ')
		b.WriteString(nouns[rng.IntN(len(nouns))])
	}
	return b.String()
}

// nouns are what prompts are made of. A prompt that looks like no text is as good as any for timing, and greedy answers to it still differ.
var nouns = strings.Fields("river stone bread window garden letter music winter market bridge engine paper island doctor forest metal " +
	"street silver morning castle teacher village corner summer dinner number pocket button captain weather")
