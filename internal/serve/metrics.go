package serve

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"mor/internal/infer"
)

// metrics are what /metrics shows: under vLLM's names what vLLM has, and as mor_* what it has not.
type metrics struct {
	registry                   *prometheus.Registry
	firstToken, perToken       prometheus.Histogram
	latency, queued            prometheus.Histogram
	promptTokens, outputTokens prometheus.Histogram
	success, answers           *prometheus.CounterVec
}

var (
	waits   = []float64{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160}
	paces   = []float64{0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5}
	lengths = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000}
)

// newMetrics registers the metrics of a server, whose engines stats sums up.
func newMetrics(model string, stats func() infer.Stats) *metrics {
	labels := prometheus.Labels{"model_name": model}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets, ConstLabels: labels})
	}
	counter := func(name, help string, by ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, by)
	}
	m := &metrics{
		registry:     prometheus.NewRegistry(),
		firstToken:   histogram("vllm:time_to_first_token_seconds", "From a request's arrival to its first token.", waits),
		perToken:     histogram("vllm:time_per_output_token_seconds", "From one token of a text to the next.", paces),
		latency:      histogram("vllm:e2e_request_latency_seconds", "From a request's arrival to the end of its answer.", waits),
		queued:       histogram("vllm:request_queue_time_seconds", "That a prompt waited.", waits),
		promptTokens: histogram("vllm:request_prompt_tokens", "Tokens of a prompt.", lengths),
		outputTokens: histogram("vllm:request_generation_tokens", "Tokens that were written behind a prompt.", lengths),
		success:      counter("vllm:request_success_total", "Texts that ended, by how.", "finished_reason"),
		answers:      counter("mor_http_requests_total", "Requests, by route and status.", "route", "code"),
	}
	m.registry.MustRegister(m.firstToken, m.perToken, m.latency, m.queued, m.promptTokens, m.outputTokens, m.success, m.answers, newEngineCollector(labels, stats),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// ended counts what a stream was.
func (m *metrics) ended(r *infer.Result) {
	m.queued.Observe(r.Queued.Seconds())
	m.promptTokens.Observe(float64(r.PromptTokens))
	m.outputTokens.Observe(float64(r.Tokens))
	for _, c := range r.Choices {
		reason := c.Finish
		if reason == "" {
			reason = "abort"
		}
		m.success.WithLabelValues(reason).Inc()
	}
}

// answered counts an answer.
func (m *metrics) answered(route string, status int) {
	m.answers.WithLabelValues(route, strconv.Itoa(status)).Inc()
}

// pace measures the tokens of a stream as they come.
type pace struct {
	m       *metrics
	arrived time.Time   // the request
	last    []time.Time // by choice: the token before; zero: there was none
}

func (m *metrics) pace(arrived time.Time, choices int) *pace {
	return &pace{m, arrived, make([]time.Time, choices)}
}

// token counts one of a choice. The first token of the first choice is that of the request.
func (p *pace) token(choice int) {
	now := time.Now()
	if last := p.last[choice]; !last.IsZero() {
		p.m.perToken.Observe(now.Sub(last).Seconds())
	} else if choice == 0 {
		p.m.firstToken.Observe(now.Sub(p.arrived).Seconds())
	}
	p.last[choice] = now
}

// engineCollector shows what the engines say about themselves.
type engineCollector struct {
	stats   func() infer.Stats
	values  []engineValue
	depth   *prometheus.Desc
	refused *prometheus.Desc
}

type engineValue struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*infer.Stats) float64
}

func newEngineCollector(labels prometheus.Labels, stats func() infer.Stats) *engineCollector {
	c := &engineCollector{
		stats:   stats,
		depth:   prometheus.NewDesc("mor_token_depth", "Recursions that a token took, of prompts and texts.", nil, labels),
		refused: prometheus.NewDesc("mor_admission_rejections_total", "Prompts that were not admitted, by reason.", []string{"reason"}, labels),
	}
	gauge := func(name, help string, of func(*infer.Stats) float64) {
		c.values = append(c.values, engineValue{prometheus.NewDesc(name, help, nil, labels), prometheus.GaugeValue, of})
	}
	counter := func(name, help string, of func(*infer.Stats) uint64) {
		c.values = append(c.values, engineValue{prometheus.NewDesc(name, help, nil, labels), prometheus.CounterValue, func(s *infer.Stats) float64 { return float64(of(s)) }})
	}
	gauge("vllm:num_requests_running", "Texts that are being written.", func(s *infer.Stats) float64 { return float64(s.Running) })
	gauge("vllm:num_requests_waiting", "Requests that wait.", func(s *infer.Stats) float64 { return float64(s.Waiting) })
	gauge("vllm:kv_cache_usage_perc", "Share of the pages of keys and values that texts hold; 1 is all.", func(s *infer.Stats) float64 {
		return float64(s.PagesUsed) / float64(max(1, s.PagesUsed+s.PagesFree+s.PagesCached))
	})
	gauge("mor_waiting_prompt_tokens", "Prompt tokens that wait.", func(s *infer.Stats) float64 { return float64(s.WaitingTokens) })
	gauge("mor_kv_pages_used", "Pages that texts hold.", func(s *infer.Stats) float64 { return float64(s.PagesUsed) })
	gauge("mor_kv_pages_cached", "Pages that are kept for prompts that begin alike.", func(s *infer.Stats) float64 { return float64(s.PagesCached) })
	gauge("mor_kv_pages_free", "Pages that hold nothing.", func(s *infer.Stats) float64 { return float64(s.PagesFree) })
	counter("vllm:prompt_tokens_total", "Tokens of prompts that were read.", func(s *infer.Stats) uint64 { return s.PromptTokens })
	counter("vllm:generation_tokens_total", "Tokens that were written.", func(s *infer.Stats) uint64 { return s.GeneratedTokens })
	counter("vllm:prefix_cache_queries_total", "Tokens of prompts that were looked for among those kept.", func(s *infer.Stats) uint64 { return s.PromptTokens })
	counter("vllm:prefix_cache_hits_total", "Tokens of prompts that were found there, and not computed.", func(s *infer.Stats) uint64 { return s.CachedTokens })
	counter("vllm:num_preemptions_total", "Texts that made way for older ones.", func(s *infer.Stats) uint64 { return s.Preempted })
	counter("mor_block_passes_total", "Passes of the shared block.", func(s *infer.Stats) uint64 { return s.Passes })
	counter("mor_block_rows_total", "Rows that went through the shared block, all passes together.", func(s *infer.Stats) uint64 { return s.Rows })
	counter("mor_recursions_saved_total", "Recursions that tokens did not take.", func(s *infer.Stats) uint64 { return s.Saved })
	counter("mor_requests_cancelled_total", "Prompts whose client left, or whose time ran out.", func(s *infer.Stats) uint64 { return s.Cancelled })
	counter("mor_requests_failed_total", "Prompts that ended by an error.", func(s *infer.Stats) uint64 { return s.Failed })
	return c
}

// Describe is for prometheus.Collector.
func (c *engineCollector) Describe(out chan<- *prometheus.Desc) {
	for i := range c.values {
		out <- c.values[i].desc
	}
	out <- c.depth
	out <- c.refused
}

// Collect is for prometheus.Collector.
func (c *engineCollector) Collect(out chan<- prometheus.Metric) {
	s := c.stats()
	for i := range c.values {
		v := &c.values[i]
		out <- prometheus.MustNewConstMetric(v.desc, v.kind, v.of(&s))
	}
	buckets, count, sum := map[float64]uint64{}, uint64(0), 0.0
	for depth, n := range s.Depths {
		count += n
		sum += float64(depth) * float64(n)
		buckets[float64(depth)] = count
	}
	out <- prometheus.MustNewConstHistogram(c.depth, count, sum, buckets)
	for reason, n := range s.Rejected {
		out <- prometheus.MustNewConstMetric(c.refused, prometheus.CounterValue, float64(n), reason)
	}
}

// add sums up what engines have done and, of those that are alive, what they are doing.
func add(sum, s *infer.Stats, alive bool) {
	for i, n := range s.Depths {
		if i >= len(sum.Depths) {
			sum.Depths = append(sum.Depths, 0)
		}
		sum.Depths[i] += n
	}
	for reason, n := range s.Rejected {
		sum.Rejected[reason] += n
	}
	for _, f := range []struct{ to, from *uint64 }{
		{&sum.PrefixHits, &s.PrefixHits}, {&sum.CachedTokens, &s.CachedTokens}, {&sum.Ticks, &s.Ticks}, {&sum.Rows, &s.Rows}, {&sum.Passes, &s.Passes}, {&sum.Saved, &s.Saved},
		{&sum.PromptTokens, &s.PromptTokens}, {&sum.GeneratedTokens, &s.GeneratedTokens}, {&sum.Preempted, &s.Preempted}, {&sum.Requests, &s.Requests},
		{&sum.Cancelled, &s.Cancelled}, {&sum.Failed, &s.Failed},
	} {
		*f.to += *f.from
	}
	if alive {
		sum.Running += s.Running
		sum.Waiting += s.Waiting
		sum.WaitingTokens += s.WaitingTokens
		sum.PagesUsed += s.PagesUsed
		sum.PagesFree += s.PagesFree
		sum.PagesCached += s.PagesCached
	}
}
