package load

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Report sums up a run. Times are in milliseconds.
type Report struct {
	URL         string  `json:"url"`
	Server      Server  `json:"server"`
	Endpoint    string  `json:"endpoint"` // completions or chat/completions
	Loop        string  `json:"loop"`     // open or closed
	Concurrency int     `json:"concurrency,omitempty"`
	Rate        float64 `json:"rate,omitempty"` // requests a second that were to arrive
	Seed        uint64  `json:"seed"`
	Seconds     float64 `json:"seconds"`

	Requests  int            `json:"requests"`
	Completed int            `json:"completed"`
	Cancelled int            `json:"cancelled"` // by the client
	Malformed int            `json:"malformed"` // and refused with a 4xx, as they must be
	Refused   int            `json:"refused"`   // 503 or 429
	Failed    int            `json:"failed"`
	Statuses  map[string]int `json:"statuses"`         // of HTTP
	Errors    map[string]int `json:"errors,omitempty"` // failed requests by what went wrong
	Details   []string       `json:"details,omitempty"`

	PromptTokens   int     `json:"prompt_tokens"` // of the completed requests, as the server counts
	CachedTokens   int     `json:"cached_tokens"`
	OutputTokens   int     `json:"output_tokens"` // of all requests
	OutputPerS     float64 `json:"output_tokens_per_s"`
	RequestsPerS   float64 `json:"requests_per_s"` // completed ones
	MaxRunning     int     `json:"max_running"`    // most requests at once that the client waited for
	MeanDepth      float64 `json:"mean_depth,omitempty"`
	TTFT           Times   `json:"ttft_ms"`    // from sending to the first token
	TPOT           Times   `json:"tpot_ms"`    // a completed request's mean time between tokens
	ITL            Times   `json:"itl_ms"`     // between one token and the next, of all requests
	E2EL           Times   `json:"e2el_ms"`    // from sending to the end of a completed answer
	Refusal        Times   `json:"refusal_ms"` // from sending to a 503 or 429
	TokensBySecond []int   `json:"tokens_by_second"`

	Memory   *Memory   `json:"memory,omitempty"`
	Verified *Verified `json:"verified,omitempty"`
}

// Times is a distribution of times in milliseconds; zero where Count is.
type Times struct {
	Count  int     `json:"count"`
	Mean   float64 `json:"mean"`
	Median float64 `json:"p50"`
	P95    float64 `json:"p95"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`

	sorted []float64
}

// Sorted are all of the times, in rising order.
func (t *Times) Sorted() []float64 { return t.sorted }

// timesOf sorts ms and takes percentiles by nearest rank: the smallest time that so many percent do not exceed.
func timesOf(ms []float64) Times {
	if len(ms) == 0 {
		return Times{}
	}
	slices.Sort(ms)
	sum := 0.0
	for _, x := range ms {
		sum += x
	}
	at := func(percent int) float64 { return ms[(len(ms)*percent+99)/100-1] }
	return Times{Count: len(ms), Mean: sum / float64(len(ms)), Median: at(50), P95: at(95), P99: at(99), Max: ms[len(ms)-1], sorted: ms}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// maxDetails is how many failures a report describes.
const maxDetails = 5

// Report sums up the run.
func (r *Run) Report() *Report {
	if r.report != nil {
		return r.report
	}
	o := &r.Options
	p := &Report{URL: o.URL, Server: r.Server, Endpoint: "completions", Loop: "closed", Concurrency: o.Concurrency, Seed: o.Seed, Seconds: r.elapsed.Seconds(),
		Requests: len(r.outcomes), Statuses: map[string]int{}, Errors: map[string]int{}}
	if o.Chat {
		p.Endpoint = "chat/completions"
	}
	if o.Rate > 0 {
		p.Loop, p.Rate, p.Concurrency = "open", o.Rate, 0
	}
	for i := range r.outcomes {
		p.count(&r.outcomes[i])
	}
	p.OutputPerS, p.RequestsPerS = float64(p.OutputTokens)/p.Seconds, float64(p.Completed)/p.Seconds
	p.depth(r.outcomes)
	p.times(r.outcomes)
	p.MaxRunning, p.Memory = maxRunning(r.outcomes), r.memoryOf()
	r.report = p
	return p
}

// count sorts one request by how it ended.
func (p *Report) count(out *outcome) {
	if out.status != 0 {
		p.Statuses[strconv.Itoa(out.status)]++
	}
	p.OutputTokens += out.output()
	switch {
	case out.fail != "":
		p.Failed++
		p.Errors[out.fail]++
		if len(p.Details) < maxDetails && out.detail != "" {
			p.Details = append(p.Details, out.fail+": "+out.detail)
		}
	case out.cancelled:
		p.Cancelled++
	case out.refused():
		p.Refused++
	case out.request.malformed:
		p.Malformed++
	default:
		p.Completed++
		if u := out.usage; u != nil {
			p.PromptTokens += u.PromptTokens
			p.CachedTokens += u.Details.CachedTokens
		}
	}
}

// depth weighs the mean depths of answers by their tokens.
func (p *Report) depth(outcomes []outcome) {
	sum, tokens := 0.0, 0
	for i := range outcomes {
		if u := outcomes[i].usage; u != nil && u.MeanDepth > 0 {
			sum += u.MeanDepth * float64(u.CompletionTokens)
			tokens += u.CompletionTokens
		}
	}
	if tokens > 0 {
		p.MeanDepth = sum / float64(tokens)
	}
}

// times gathers the distributions.
func (p *Report) times(outcomes []outcome) {
	var ttft, tpot, itl, e2el, refusal []float64
	for i := range outcomes {
		out := &outcomes[i]
		if out.refused() {
			refusal = append(refusal, ms(out.answered-out.start))
			continue
		}
		for j, t := range out.tokens {
			if j == 0 {
				ttft = append(ttft, ms(t-out.start))
			} else {
				itl = append(itl, ms(t-out.tokens[j-1]))
			}
			second := int(t / time.Second)
			for len(p.TokensBySecond) <= second {
				p.TokensBySecond = append(p.TokensBySecond, 0)
			}
			p.TokensBySecond[second]++
		}
		if !out.completed() {
			continue
		}
		e2el = append(e2el, ms(out.end-out.start))
		if n := out.output(); n > 1 && len(out.tokens) > 1 {
			tpot = append(tpot, ms(out.tokens[len(out.tokens)-1]-out.tokens[0])/float64(n-1))
		}
	}
	p.TTFT, p.TPOT, p.ITL, p.E2EL, p.Refusal = timesOf(ttft), timesOf(tpot), timesOf(itl), timesOf(e2el), timesOf(refusal)
}

// maxRunning is the most requests under way at once.
func maxRunning(outcomes []outcome) int {
	type event struct {
		at   time.Duration
		step int
	}
	var events []event
	for i := range outcomes {
		events = append(events, event{outcomes[i].start, 1}, event{outcomes[i].end, -1})
	}
	slices.SortFunc(events, func(a, b event) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return a.step - b.step
	})
	running, most := 0, 0
	for _, e := range events {
		running += e.step
		most = max(most, running)
	}
	return most
}

// Err says what went otherwise than a server's clients may expect; nil: nothing.
func (p *Report) Err() error {
	switch v := p.Verified; {
	case p.Failed > 0:
		return fmt.Errorf("%d of %d requests failed", p.Failed, p.Requests)
	case v != nil && v.Different > 0:
		return fmt.Errorf("%d of %d answers differ from those computed alone", v.Different, v.Completed+v.Beginnings)
	}
	return nil
}
