package infer

import (
	"math"

	"mor/internal/grammar"
	"mor/internal/token"
)

// Token is one token of a text.
type Token struct {
	Index   int // which of the request's N texts
	ID      int32
	Text    string    // the characters that it completes; all Texts joined are the text
	Depth   int       // recursions that it took when the model read it
	LogProb float64   // natural logarithm of its probability under the model: before penalties, temperature and filters; 0 unless asked for
	Top     []LogProb // the best tokens at its place, the best first, where asked for
	Scores  []float32 // router scores by recursion where asked for: expert-choice, of the recursions that it arrived at; token-choice, of all
}

// LogProb is a token that could have stood at a place.
type LogProb struct {
	ID      int32
	LogProb float64
}

// Why a text ended.
const (
	FinishStop   = "stop"   // the end-of-text token, a stop token, or a stop string
	FinishLength = "length" // max_tokens, or the context is full
)

// Choice is how one text of a request ended.
type Choice struct {
	Finish     string  // FinishStop or FinishLength; "" where the text was broken off
	StopString string  // the stop string that was reached
	Tokens     int     // tokens generated, those of a stop string among them
	MeanDepth  float64 // of the generated tokens
}

// writer turns the tokens that are drawn for one text into what is delivered.
type writer struct {
	stream  *Stream
	index   int
	sampler Sampler
	decoder *token.Decoder
	outlet  outlet
	next    Token // drawn, and not read by the model yet
	drawn   bool  // there is such a token
	depth   int   // sum over the generated tokens
	choice  Choice
	place   grammar.State // in the stream's grammar
}

// read tells that the model has read the next token, whose depth is known now. It returns whether the text goes on; limit is whether there is
// no room for more.
func (w *writer) read(depth int, scores []float32, limit bool) bool {
	t, c, o := &w.next, &w.choice, &w.stream.request.Options
	w.drawn = false
	t.Depth, t.Scores = depth, scores
	w.depth += depth
	c.Tokens++
	c.MeanDepth = float64(w.depth) / float64(c.Tokens)
	w.sampler.Generated(t.ID)
	t.Text = w.decoder.Write(t.ID)
	w.outlet.stopping = c.Tokens > o.MinTokens
	if stop, stopped := w.outlet.add(*t, w.decoder.Pending() > 0); stopped {
		c.Finish, c.StopString = FinishStop, stop
	} else if c.Tokens == o.MaxTokens || limit {
		w.end(FinishLength)
	}
	w.flush()
	return c.Finish == ""
}

// flush delivers what is final.
func (w *writer) flush() {
	w.stream.deliver(w.outlet.out)
	w.outlet.out = w.outlet.out[:0]
}

// end lets out the rest of the text.
func (w *writer) end(why string) {
	w.choice.Finish = why
	w.outlet.finish(w.decoder.Flush())
}

// logProbs returns the log probability of a token and the best k, from raw logits.
func (d *draft) logProbs(logits []float32, id int32, k int) (float64, []LogProb) {
	top := logits[id]
	for at := 0; at < len(logits); at += blockLen {
		t, _ := d.cpu.Top(logits[at:min(at+blockLen, len(logits))]) // what is no number makes the sum none
		top = max(top, t)
	}
	lse := float64(top) + math.Log(d.weigh(logits, top, 1))
	if k == 0 {
		return float64(logits[id]) - lse, nil
	}
	best := make([]candidate, 0, k)
	for i, v := range logits {
		c := candidate{v, int32(i)}
		if len(best) == k && !c.before(best[k-1]) {
			continue
		}
		if len(best) < k {
			best = append(best, c)
		}
		j := len(best) - 1
		for ; j > 0 && c.before(best[j-1]); j-- {
			best[j] = best[j-1]
		}
		best[j] = c
	}
	out := make([]LogProb, len(best))
	for i, c := range best {
		out[i] = LogProb{c.id, float64(c.logit) - lse}
	}
	return float64(logits[id]) - lse, out
}

// exclude makes tokens impossible that must not follow so many tokens.
func (o *Options) exclude(logits []float32, tokens int, eot int32) {
	if tokens < o.MinTokens {
		forbid(logits, eot, o.StopTokens)
	}
	forbid(logits, -1, o.Banned)
}

// forbid makes tokens impossible.
func forbid(logits []float32, eot int32, tokens []int32) {
	never := float32(math.Inf(-1))
	if eot >= 0 {
		logits[eot] = never
	}
	for _, id := range tokens {
		logits[id] = never
	}
}
