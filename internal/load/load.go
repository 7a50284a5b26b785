// Package load drives an OpenAI-compatible server with a bounded run of requests and measures what its clients see.
package load

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Options say what a run sends. Request i depends on Seed and i alone, so that two servers are sent the same.
type Options struct {
	URL            string        // of the server, with or without /v1
	Model          string        // "": the first that the server lists
	APIKey         string        // "": none is sent
	Chat           bool          // /v1/chat/completions, not /v1/completions
	Requests       int           // at most; 0: as many as Duration has time for
	Concurrency    int           // closed loop: clients, each of which sends its next request when it has the answer to the last
	Rate           float64       // open loop: requests a second that arrive whether or not earlier ones were answered; 0: closed loop
	Duration       time.Duration // no request is sent later; 0: as long as the requests take
	Timeout        time.Duration // of one request
	PromptTokens   Lengths       // words of a prompt; most tokenizers make about one token of each
	MaxTokens      Lengths       // tokens that a request asks for
	Prompts        int           // different requests, which repeat; 0: all differ
	Temperature    float64
	IgnoreEOS      bool    // ask for max_tokens tokens whatever they are, by a field that not every server has
	CancelShare    float64 // of the requests, given up at a random moment
	MalformedShare float64 // of the requests, which no server can understand
	Verify         bool    // keep the answers, for Run.Verify
	Seed           uint64
	PID            int                        // of the server, whose memory is watched where it runs on this machine; 0: none
	Extra          map[string]json.RawMessage // further fields of each request
}

// DefaultOptions is one closed loop of 8 clients.
func DefaultOptions() Options {
	return Options{Requests: 64, Concurrency: 8, Timeout: 5 * time.Minute, PromptTokens: Fixed(64), MaxTokens: Fixed(64), Seed: 1}
}

// Validate names the first option that is out of range by its flag.
func (o *Options) Validate() error {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("%s: expected the address of a server, such as http://127.0.0.1:8080", o.URL)
	case o.Requests < 0 || o.Requests == 0 && o.Duration <= 0:
		return fmt.Errorf("--requests %d: expected 1 or more, or 0 with a --duration", o.Requests)
	case o.Rate < 0:
		return fmt.Errorf("--rate %g: expected requests a second, or 0 for a closed loop", o.Rate)
	case o.Rate == 0 && o.Concurrency < 1:
		return fmt.Errorf("--concurrency %d: expected 1 or more clients", o.Concurrency)
	case o.Duration < 0 || o.Timeout <= 0:
		return fmt.Errorf("--duration %v --timeout %v: expected 0 or more, and more than 0", o.Duration, o.Timeout)
	case !share(o.CancelShare) || !share(o.MalformedShare) || o.CancelShare+o.MalformedShare > 1:
		return fmt.Errorf("--cancel-share %g --malformed-share %g: expected shares from 0 to 1 that add up to at most 1", o.CancelShare, o.MalformedShare)
	case o.PID != 0 && resident(o.PID) == 0:
		return fmt.Errorf("--pid %d: expected a process of this machine, under a system with /proc", o.PID)
	case o.Prompts < 0:
		return fmt.Errorf("--prompts %d: expected 0 or more", o.Prompts)
	case !(o.Temperature >= 0):
		return fmt.Errorf("--temperature %g: expected 0 or more", o.Temperature)
	case o.Verify && o.Temperature != 0:
		return fmt.Errorf("--verify: answers are compared at --temperature 0, found %g", o.Temperature)
	}
	if _, err := json.Marshal(o.Extra); err != nil {
		return fmt.Errorf("--extra: expected an object in JSON: %w", err)
	}
	return nil
}

func share(x float64) bool { return x >= 0 && x <= 1 }

// base is the URL up to /v1.
func (o *Options) base() string {
	return strings.TrimSuffix(strings.TrimRight(o.URL, "/"), "/v1") + "/v1"
}

// Run is a run that has ended, or was interrupted.
type Run struct {
	Options Options
	Server  Server // what the server says about its model

	client   *http.Client
	started  time.Time
	elapsed  time.Duration
	outcomes []outcome // by request
	memory   []sample
	report   *Report
}

// Drive sends the requests of o and waits for their answers. progress, which may be nil, is told how many requests have ended, of how many (0: unknown).
// When ctx ends the run comes back as far as it went, with ctx's error.
func Drive(ctx context.Context, o Options, progress func(done, total int)) (*Run, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r := &Run{Options: o, client: newClient(&o)}
	defer r.client.CloseIdleConnections()
	if err := r.discover(ctx); err != nil {
		return nil, err
	}
	r.started = time.Now()
	defer r.watch()()
	var done int
	var mu sync.Mutex
	finish := func(i int, out outcome) {
		mu.Lock()
		defer mu.Unlock()
		for len(r.outcomes) <= i {
			r.outcomes = append(r.outcomes, outcome{})
		}
		r.outcomes[i] = out
		if done++; progress != nil {
			progress(done, o.Requests)
		}
	}
	if o.Rate > 0 {
		r.openLoop(ctx, finish)
	} else {
		r.closedLoop(ctx, finish)
	}
	r.elapsed = time.Since(r.started)
	return r, ctx.Err()
}

// newClient keeps a connection for each client of a closed loop.
func newClient(o *Options) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost, t.DisableCompression = 0, max(o.Concurrency, 64), true
	return &http.Client{Transport: t}
}

// more says whether request i is still sent.
func (r *Run) more(ctx context.Context, i int) bool {
	o := &r.Options
	return ctx.Err() == nil && (o.Requests == 0 || i < o.Requests) && (o.Duration == 0 || time.Since(r.started) < o.Duration)
}

// closedLoop has Concurrency clients, each with one request at a time. One that is refused waits as long as the refusal asks for.
func (r *Run) closedLoop(ctx context.Context, finish func(int, outcome)) {
	var mu sync.Mutex
	next := 0
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		if !r.more(ctx, next) {
			return 0, false
		}
		next++
		return next - 1, true
	}
	var wg sync.WaitGroup
	for range r.Options.Concurrency {
		wg.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				out := r.send(ctx, r.Options.request(i))
				finish(i, out)
				select {
				case <-time.After(out.wait):
				case <-ctx.Done():
				}
			}
		})
	}
	wg.Wait()
}

// openLoop sends requests at the times of a Poisson process, whether or not earlier ones have been answered.
func (r *Run) openLoop(ctx context.Context, finish func(int, outcome)) {
	rng := rand.New(rand.NewPCG(r.Options.Seed, arrivals))
	var wg sync.WaitGroup
	due := r.started
	for i := 0; ; i++ {
		due = due.Add(time.Duration(rng.ExpFloat64() / r.Options.Rate * float64(time.Second)))
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
		}
		if !r.more(ctx, i) {
			break
		}
		wg.Go(func() { finish(i, r.send(ctx, r.Options.request(i))) })
	}
	wg.Wait()
}
