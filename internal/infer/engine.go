// Package infer writes texts with a model, many at a time: cached decoding under causal routing, sampling, stop strings, and the depth of every token.
package infer

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"mor/internal/grammar"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/quant"
	"mor/internal/token"
)

// Schedule is how rows go through the depth of a model.
type Schedule string

// The schedules.
const (
	DepthWise    Schedule = "depth-wise"    // one pass of the shared block serves rows at different recursions
	SequenceWise Schedule = "sequence-wise" // the rows of a batch walk the whole depth together
)

// AutoFormat keeps keys and values as exactly as the weights: fp32 beside matrices in float32, else bf16.
const AutoFormat kernel.PageFormat = "auto"

// EngineOptions are the limits of an engine.
type EngineOptions struct {
	Schedule         Schedule
	MaxRunning       int               // most texts that run together
	MaxWaiting       int               // most requests that wait; more are refused
	MaxWaitingTokens int               // most prompt tokens that wait
	TokenBudget      int               // most rows that enter the model in a tick
	CacheBytes       int64             // keys and values of all texts
	PageSize         int               // tokens of a page
	CacheFormat      kernel.PageFormat // or AutoFormat
	PrefixReuse      bool              // keys and values of a prompt's beginning that another text has left are used again
	LongPrefill      int               // texts of more tokens are read aside of those that decode; others as fast as can be, in a tick that is longer by that once
}

// DefaultEngineOptions serve some dozens of requests.
func DefaultEngineOptions() EngineOptions {
	return EngineOptions{Schedule: DepthWise, MaxRunning: 32, MaxWaiting: 256, MaxWaitingTokens: 1 << 20, TokenBudget: 256, CacheBytes: 1 << 30, PageSize: 16, CacheFormat: AutoFormat, PrefixReuse: true, LongPrefill: 128}
}

// Validate names the first option that is out of range, as an OptionError.
func (o *EngineOptions) Validate() error {
	switch {
	case o.Schedule != DepthWise && o.Schedule != SequenceWise:
		return &OptionError{Name: "schedule", Found: o.Schedule, Expected: fmt.Sprintf("%s or %s", DepthWise, SequenceWise)}
	case o.MaxRunning < 1:
		return &OptionError{Name: "max_running", Found: o.MaxRunning, Expected: "1 or more"}
	case o.MaxWaiting < 1:
		return &OptionError{Name: "max_waiting", Found: o.MaxWaiting, Expected: "1 or more"}
	case o.MaxWaitingTokens < 1:
		return &OptionError{Name: "max_waiting_tokens", Found: o.MaxWaitingTokens, Expected: "1 or more"}
	case o.TokenBudget < 1:
		return &OptionError{Name: "token_budget", Found: o.TokenBudget, Expected: "1 or more"}
	case o.LongPrefill < 0:
		return &OptionError{Name: "long_prefill_token_threshold", Found: o.LongPrefill, Expected: "0 or more"}
	case o.PageSize < 1:
		return &OptionError{Name: "page_size", Found: o.PageSize, Expected: "1 or more"}
	case o.CacheFormat != AutoFormat && !slices.Contains(kernel.PageFormats(), o.CacheFormat):
		return &OptionError{Name: "cache_format", Found: o.CacheFormat, Expected: "auto, fp32, bf16 or int8"}
	case o.CacheBytes < 1:
		return &OptionError{Name: "cache_bytes", Found: o.CacheBytes, Expected: "1 or more"}
	}
	return nil
}

// ErrClosed ends the requests of an engine that was closed.
var ErrClosed = errors.New("engine: closed")

// QueueFullError refuses a request because too many wait already. It may be sent again later.
type QueueFullError struct {
	Name         string // max_waiting or max_waiting_tokens
	Found, Limit int
}

func (e *QueueFullError) Error() string {
	return fmt.Sprintf("queue full: %s: %d of %d: try again later", e.Name, e.Found, e.Limit)
}

// TooLongError refuses a request that can never fit.
type TooLongError struct {
	PromptTokens int
	Limit        int
	Name         string // what the limit is: max_position_embeddings or cache_bytes
}

func (e *TooLongError) Error() string {
	return fmt.Sprintf("prompt: %d tokens: prompt and text together fit %d (%s): shorten it", e.PromptTokens, e.Limit, e.Name)
}

// Stats is what an engine does and has done.
type Stats struct {
	Running, Waiting int // texts; requests
	WaitingTokens    int // of prompts
	PagesUsed        int
	PagesFree        int
	PagesCached      int // free to be taken, and held for prefixes until then
	PrefixHits       uint64
	CachedTokens     uint64 // prompt tokens that were not computed
	Ticks            uint64
	Rows             uint64   // that went through the block, all passes together
	Passes           uint64   // of the block
	Depths           []uint64 // tokens by depth
	Saved            uint64   // recursions that tokens did not take
	PromptTokens     uint64
	GeneratedTokens  uint64
	Drafted          uint64 // tokens that were guessed
	Accepted         uint64 // guesses that held
	ReadAside        uint64 // tokens that were read beside texts that decode, a few layers a tick
	Preempted        uint64
	Requests         uint64            // that ended well
	Cancelled        uint64            // by their context
	Failed           uint64            // by an error
	Rejected         map[string]uint64 // by reason: queue_full, too_long, option, closed
}

// Engine writes texts for any number of requests at a time with one model. Its methods may be called by any goroutine; the model's CPU is the
// engine's alone while requests run.
type Engine struct {
	m   *model.Model
	tok *token.Tokenizer
	o   EngineOptions
	eot int32 // -1 where the tokenizer has none

	mu      sync.Mutex
	inbox   []*Stream // submitted, and not seen by the loop yet
	waiting int       // requests, those in the inbox among them
	tokens  int       // prompt tokens of these
	closed  bool
	stats   Stats

	wake    chan struct{}
	stopped chan struct{}
	trie    func() *grammar.Trie // of the vocabulary without control tokens

	// The loop's.
	queue    []*Stream   // requests that wait
	running  []*Sequence // in the order of their age
	parked   []*Sequence // preempted, in the order of their age
	count    Stats
	ids      int32
	longest  int // tokens of a text
	cache    *Cache
	flow     *model.Flow
	seats    []int32 // free ones
	entering []int32 // seats of a pass
	live     []int32
	idle     int         // of live, the last ones
	decoding int         // texts that decode
	aside    aside       // long prompts beside these
	from     *model.Flow // whose rows are drawn from
	leaving  []int32
	draws    []*Sequence // whose last row has left
	picked   []int32     // rows of those that left whose logits are computed
	scored   []int32     // places of a prompt's rows that are scored
	logits   []float32
	drafts   []*draft // by worker

	segmentFLOPs []float64 // of a row, without attention
	headFLOPs    float64
}

// NewEngine returns an engine at work. A tokenizer with more tokens than the model's vocabulary is refused.
func NewEngine(m *model.Model, tok *token.Tokenizer, o EngineOptions) (*Engine, error) {
	e, err := newEngine(m, tok, o)
	if err != nil {
		return nil, err
	}
	go e.loop()
	return e, nil
}

// newEngine returns an engine whose loop does not run yet.
func newEngine(m *model.Model, tok *token.Tokenizer, o EngineOptions) (*Engine, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if tok.VocabSize() > m.Config.VocabSize {
		return nil, fmt.Errorf("tokenizer: %d tokens, the model has %d (vocab_size): this is not the model's tokenizer", tok.VocabSize(), m.Config.VocabSize)
	}
	if o.CacheFormat == AutoFormat {
		o.CacheFormat = formatFor(m)
	}
	e := &Engine{m: m, tok: tok, o: o, eot: -1, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
	if eot, ok := tok.EOT(); ok {
		e.eot = eot
	}
	e.trie = sync.OnceValue(func() *grammar.Trie {
		return grammar.NewTrie(m.Config.VocabSize, func(id int32) []byte {
			if tok.IsSpecial(id) {
				return nil
			}
			return tok.TokenBytes(id)
		})
	})
	return e, e.build()
}

// formatFor is AutoFormat beside a model's weights.
func formatFor(m *model.Model) kernel.PageFormat {
	for i := range m.Layout.Tensors {
		if w := m.Matrix(&m.Layout.Tensors[i]); w != nil && w.Type != quant.F32 {
			return kernel.PageBF16
		}
	}
	return kernel.PageFP32
}

// build makes what the loop works on.
func (e *Engine) build() error {
	c, o := e.m.Config, &e.o
	n := c.Recursions()
	e.stats.Depths, e.stats.Rejected, e.count.Depths = make([]uint64, n+1), map[string]uint64{}, make([]uint64, n+1)
	heads := kernel.Heads{H: c.NumAttentionHeads, K: c.NumKeyValueHeads, E: c.HeadDim}
	seats := o.MaxRunning + n*o.TokenBudget + asideRows // a row that enters, but aside, is under way for n ticks at most
	pages := int(min(o.CacheBytes/kernel.PageBytes(o.PageSize, o.CacheFormat, heads), 1<<30))
	text := (c.MaxPositionEmbeddings+o.PageSize-1)/o.PageSize + 1 // pages of a slot
	most := e.m.Plan.Slots * text * o.MaxRunning
	if o.PrefixReuse {
		most *= 2 // as many again
	}
	pages = min(pages, most)
	e.cache = NewCache(e.m, max(pages, 1), o.PageSize, seats, o.CacheFormat)
	if e.longest = min(c.MaxPositionEmbeddings, e.cache.longest()); e.longest < 2 {
		return &OptionError{Name: "cache_bytes", Found: o.CacheBytes, Expected: fmt.Sprintf("room for two pages of %d tokens in each of %d slots", o.PageSize, len(e.cache.slots))}
	}
	e.flow = e.m.NewFlow(seats, e.cache.attend)
	e.cache.flow = e.flow
	e.aside = aside{walk: e.flow.Walk(), rows: asideRows / 2}
	for i := range seats {
		e.seats = append(e.seats, int32(seats-1-i))
	}
	for range e.m.CPU().Pool().Workers() {
		e.drafts = append(e.drafts, &draft{cpu: e.m.CPU()})
	}
	ones := make([]float64, len(c.Shares()))
	for i := range ones {
		ones[i] = 1
	}
	cost, err := model.CountShares(c, 1, ones)
	if err != nil {
		return err
	}
	e.headFLOPs = cost.HeadFLOPs
	for _, s := range cost.Segments {
		e.segmentFLOPs = append(e.segmentFLOPs, s.MatrixFLOPs+s.RouterFLOPs)
	}
	e.publish()
	return nil
}

// Encode returns the tokens of a prompt, behind those that the tokenizer puts before every text. An empty prompt is the end-of-text token, behind
// which a new text begins.
func (e *Engine) Encode(prompt string) ([]int32, error) {
	tokens := append(e.tok.Prefix(), e.tok.Encode(prompt)...)
	if len(tokens) > 0 {
		return tokens, nil
	}
	if e.eot < 0 {
		return nil, fmt.Errorf("prompt: empty, and the tokenizer has no end-of-text token to begin with: give some text")
	}
	return []int32{e.eot}, nil
}

// Submit queues a request. It is refused with an OptionError, TooLongError, QueueFullError or ErrClosed. The context ends it in every phase.
func (e *Engine) Submit(ctx context.Context, r *Request) (*Stream, error) {
	reason, err := e.check(r)
	var g *grammar.Grammar
	if err == nil {
		if g, err = e.constraint(&r.Options); err != nil {
			reason = "option"
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.accept(ctx, r, g, reason, err)
}

// accept queues a request unless err refuses it, or the queue does. e.mu is held.
func (e *Engine) accept(ctx context.Context, r *Request, g *grammar.Grammar, reason string, err error) (*Stream, error) {
	switch {
	case err != nil:
	case e.closed:
		reason, err = "closed", ErrClosed
	case e.waiting >= e.o.MaxWaiting:
		reason, err = "queue_full", &QueueFullError{"max_waiting", e.waiting, e.o.MaxWaiting}
	case e.waiting > 0 && e.tokens+len(r.Prompt) > e.o.MaxWaitingTokens:
		reason, err = "queue_full", &QueueFullError{"max_waiting_tokens", e.tokens + len(r.Prompt), e.o.MaxWaitingTokens}
	}
	if err != nil {
		e.stats.Rejected[reason]++
		return nil, err
	}
	s := &Stream{request: *r, done: make(chan struct{}), more: make(chan struct{}, 1), submitted: time.Now(), ctx: ctx, grammar: g}
	e.inbox = append(e.inbox, s)
	e.waiting++
	e.tokens += len(r.Prompt)
	select {
	case e.wake <- struct{}{}:
	default:
	}
	return s, nil
}

// check refuses a request that is wrong in itself or can never fit.
func (e *Engine) check(r *Request) (reason string, err error) {
	if err := r.Validate(); err != nil {
		return "option", err
	}
	if err := r.check(e.m.Config); err != nil {
		return "option", err
	}
	if len(r.Prompt) == 0 {
		return "option", &OptionError{Name: "prompt", Found: "empty", Expected: "at least one token"}
	}
	for i, id := range r.Prompt {
		if id < 0 || int(id) >= e.m.Config.VocabSize {
			return "option", &OptionError{Name: "prompt", Found: fmt.Sprintf("token %d at place %d", id, i), Expected: fmt.Sprintf("0 to %d: is this the model's tokenizer?", e.m.Config.VocabSize-1)}
		}
	}
	if limit := e.m.Config.MaxPositionEmbeddings; len(r.Prompt) >= limit {
		return "too_long", &TooLongError{len(r.Prompt), limit, "max_position_embeddings"}
	}
	if len(r.Prompt) >= e.longest {
		return "too_long", &TooLongError{len(r.Prompt), e.longest, "cache_bytes"}
	}
	return "", nil
}

// Options are those of the engine, AutoFormat resolved.
func (e *Engine) Options() EngineOptions { return e.o }

// Stats returns what the engine does and has done.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Waiting, s.WaitingTokens = e.waiting, e.tokens
	s.Depths = slices.Clone(s.Depths)
	s.Rejected = map[string]uint64{}
	for k, v := range e.stats.Rejected {
		s.Rejected[k] = v
	}
	return s
}

// Close ends all requests with ErrClosed and waits until nothing is held any more.
func (e *Engine) Close() error {
	e.mu.Lock()
	if !e.closed {
		e.closed = true
		close(e.wake)
	}
	e.mu.Unlock()
	<-e.stopped
	return nil
}

// loop ticks while there is something to do.
func (e *Engine) loop() {
	defer close(e.stopped)
	for range e.wake {
		for e.collect() {
			e.guarded()
		}
	}
	e.collect()
	for _, s := range e.queue {
		e.leave(s)
		e.close(s, ErrClosed)
	}
	e.fail(ErrClosed)
	e.cache.forget(e.cache.total)
	e.publish()
}

// guarded runs a tick. A panic that cannot be laid to one request ends all that run.
func (e *Engine) guarded() {
	defer func() {
		if v := recover(); v != nil {
			e.fail(recovered(v))
		}
	}()
	e.tick()
}

// fail ends all texts.
func (e *Engine) fail(err error) {
	for _, list := range [2][]*Sequence{e.running, e.parked} {
		for _, q := range list {
			e.finish(q, err)
		}
	}
	e.running, e.parked = e.running[:0], e.parked[:0]
}

// collect takes what was submitted, and tells whether there is something to do.
func (e *Engine) collect() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = append(e.queue, e.inbox...)
	e.inbox = e.inbox[:0]
	return !e.closed && len(e.queue)+len(e.running)+len(e.parked) > 0
}

// leave tells that a request waits no longer.
func (e *Engine) leave(s *Stream) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting--
	e.tokens -= len(s.request.Prompt)
}

// recovered turns a panic inside a request into its error.
func recovered(v any) error { return fmt.Errorf("engine: internal error: %v\n%s", v, debug.Stack()) }
