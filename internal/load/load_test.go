package load_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mor/internal/load"
	"mor/internal/load/loadtest"
)

func options(s *loadtest.Server) load.Options {
	o := load.DefaultOptions()
	o.URL, o.Requests, o.Concurrency, o.PromptTokens, o.MaxTokens = s.URL, 40, 4, load.Fixed(6), load.Fixed(5)
	return o
}

func drive(t *testing.T, o load.Options) *load.Run {
	t.Helper()
	r, err := load.Drive(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestClosedLoop: each client has one request at a time, all requests are answered, and the report has what the server did.
func TestClosedLoop(t *testing.T) {
	for _, chat := range []bool{false, true} {
		s := loadtest.New(t, loadtest.Options{Pause: time.Millisecond})
		o := options(s)
		o.Chat, o.Verify = chat, true
		r := drive(t, o)
		if err := r.Verify(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		p := r.Report()
		if err := p.Err(); err != nil {
			t.Error(err)
		}
		if c := s.Counts(); c.MaxRunning > 4 || c.Completed != 80 {
			t.Errorf("the server saw %+v: expected at most 4 requests at once, and 40 twice", c)
		}
		if p.Requests != 40 || p.Completed != 40 || p.OutputTokens != 200 || p.PromptTokens != 200 || p.CachedTokens != 80 || p.MeanDepth != 1.5 || p.MaxRunning > 4 {
			t.Errorf("got %+v", p)
		}
		if p.TTFT.Count != 40 || p.TPOT.Count != 40 || p.ITL.Count != 160 || p.E2EL.Count != 40 || p.Refusal.Count != 0 {
			t.Errorf("got %d, %d, %d, %d, %d times", p.TTFT.Count, p.TPOT.Count, p.ITL.Count, p.E2EL.Count, p.Refusal.Count)
		}
		if p.TTFT.Median < 1 || p.E2EL.Median < 5*p.ITL.Median/2 || p.ITL.Max > p.E2EL.Max {
			t.Errorf("TTFT %v, ITL %v, E2EL %v", p.TTFT, p.ITL, p.E2EL)
		}
		sum := 0
		for _, n := range p.TokensBySecond {
			sum += n
		}
		if sum != 200 || !cmp.Equal(p.Statuses, map[string]int{"200": 40}) {
			t.Errorf("%d tokens by second, statuses %v", sum, p.Statuses)
		}
		if p.Server != (load.Server{Model: "test-model", NumRecursion: 3, Router: "expert", Routing: "causal"}) {
			t.Errorf("server %+v", p.Server)
		}
		if v := p.Verified; v.Alone != 40 || v.Completed != 40 || v.Different != 0 {
			t.Errorf("verified %+v", v)
		}
	}
}

// TestSoak: requests that are given up or malformed are no failures, and the server sees both.
func TestSoak(t *testing.T) {
	s := loadtest.New(t, loadtest.Options{Pause: 5 * time.Millisecond})
	o := options(s)
	o.Requests, o.Concurrency, o.CancelShare, o.MalformedShare, o.Prompts, o.Verify = 120, 32, 0.4, 0.2, 7, true
	o.MaxTokens = load.Fixed(30)
	r := drive(t, o)
	if err := r.Verify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	p := r.Report()
	if err := p.Err(); err != nil {
		t.Error(err, p.Details)
	}
	if p.Completed+p.Cancelled+p.Malformed != 120 || p.Cancelled < 20 || p.Malformed < 10 || p.Completed < 30 {
		t.Errorf("%d completed, %d cancelled, %d malformed of 120", p.Completed, p.Cancelled, p.Malformed)
	}
	if v := p.Verified; v.Alone > 7 || v.Completed != p.Completed || v.Beginnings == 0 || v.Different != 0 {
		t.Errorf("verified %+v", v)
	}
	if c := s.Counts(); int(c.Malformed) != p.Malformed || c.Cancelled == 0 {
		t.Errorf("the server saw %+v", c)
	}
}

// TestSameRequests: what is sent depends on the seed, not on how many clients there are or how the loop goes.
func TestSameRequests(t *testing.T) {
	bodies := func(change func(*load.Options)) map[string]int {
		s := loadtest.New(t, loadtest.Options{})
		o := options(s)
		o.PromptTokens, o.MaxTokens = mustLengths(t, "3-9"), mustLengths(t, "5~2")
		change(&o)
		drive(t, o)
		count := map[string]int{}
		for _, b := range s.Bodies() {
			count[b]++
		}
		return count
	}
	want := bodies(func(*load.Options) {})
	if got := bodies(func(o *load.Options) { o.Concurrency = 1 }); !cmp.Equal(got, want) {
		t.Error("one client sends other requests than four")
	}
	if got := bodies(func(o *load.Options) { o.Rate = 1000 }); !cmp.Equal(got, want) {
		t.Error("an open loop sends other requests than a closed one")
	}
	if got := bodies(func(o *load.Options) { o.Seed = 2 }); cmp.Equal(got, want) {
		t.Error("another seed sends the same requests")
	}
	if got := bodies(func(o *load.Options) { o.Prompts = 5 }); len(got) != 5 {
		t.Errorf("%d different requests, expected 5", len(got))
	}
}

// TestOpenLoop: requests arrive while none is answered, and those beyond the server's room are refusals.
func TestOpenLoop(t *testing.T) {
	s := loadtest.New(t, loadtest.Options{Pause: 20 * time.Millisecond, MaxRunning: 3})
	o := options(s)
	o.Rate, o.Concurrency = 400, 0
	p := drive(t, o).Report()
	if err := p.Err(); err != nil {
		t.Error(err)
	}
	if p.Loop != "open" || p.Refused == 0 || p.Completed == 0 || p.Refused+p.Completed != 40 || p.Refusal.Count != p.Refused || p.Statuses["503"] != p.Refused {
		t.Errorf("got %+v", p)
	}
	if p.MaxRunning <= 3 {
		t.Errorf("at most %d requests at once: the loop waits", p.MaxRunning)
	}
}

// TestRefusedClientWaits: a client of a closed loop that is refused does not ask again at once.
func TestRefusedClientWaits(t *testing.T) {
	s := loadtest.New(t, loadtest.Options{Pause: 20 * time.Millisecond, MaxRunning: 1})
	o := options(s)
	o.Concurrency, o.Requests, o.Duration = 4, 0, 600*time.Millisecond
	if p := drive(t, o).Report(); p.Refused == 0 || p.Refused > 3 || p.Completed == 0 {
		t.Errorf("%d refused: expected each of three clients once at most, %d completed", p.Refused, p.Completed)
	}
}

// TestDuration: no request is sent behind the end, and those under way end.
func TestDuration(t *testing.T) {
	for _, rate := range []float64{0, 100} {
		s := loadtest.New(t, loadtest.Options{Pause: 5 * time.Millisecond})
		o := options(s)
		o.Requests, o.Duration, o.Rate = 0, 100*time.Millisecond, rate
		p := drive(t, o).Report()
		if err := p.Err(); err != nil || p.Completed == 0 || p.Completed != p.Requests {
			t.Errorf("rate %g: %v: %d of %d completed", rate, err, p.Completed, p.Requests)
		}
	}
}

// TestFailures: what a client may not see is counted by its kind, described, and an error.
func TestFailures(t *testing.T) {
	for _, c := range []struct {
		name   string
		server loadtest.Options
		change func(*load.Options)
		want   string
	}{
		{"500", loadtest.Options{Fail: true}, nil, "status 500"},
		{"no end", loadtest.Options{Break: true}, nil, "broken stream"},
		{"slow", loadtest.Options{Pause: time.Minute}, func(o *load.Options) { o.Timeout = 200 * time.Millisecond }, "timeout"},
		{"lenient", loadtest.Options{Lenient: true}, func(o *load.Options) { o.MalformedShare = 1 }, "malformed, accepted"},
	} {
		o := options(loadtest.New(t, c.server))
		o.Requests = 4
		if c.change != nil {
			c.change(&o)
		}
		p := drive(t, o).Report()
		if p.Err() == nil || p.Failed != 4 || p.Errors[c.want] != 4 {
			t.Errorf("%s: %v, errors %v: expected 4 of %q", c.name, p.Err(), p.Errors, c.want)
		}
	}
	o := options(loadtest.New(t, loadtest.Options{Unsteady: true}))
	o.Verify = true
	r := drive(t, o)
	if err := r.Verify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Report().Err(); err == nil || !strings.Contains(err.Error(), "40 of 40 answers differ") {
		t.Errorf("answers that differ: got %v", err)
	}
}

// TestInterrupted: a run that is broken off comes back with what it has.
func TestInterrupted(t *testing.T) {
	s := loadtest.New(t, loadtest.Options{Pause: 10 * time.Millisecond})
	o := options(s)
	o.Requests = 1000
	ctx, cancel := context.WithCancel(t.Context())
	r, err := load.Drive(ctx, o, func(done, _ int) {
		if done == 8 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || r == nil {
		t.Fatalf("got %v", err)
	}
	if p := r.Report(); p.Completed < 8 || p.Requests >= 1000 {
		t.Errorf("%d of %d completed", p.Completed, p.Requests)
	}
}

func TestAPIKey(t *testing.T) {
	s := loadtest.New(t, loadtest.Options{APIKey: "sesame"})
	o := options(s)
	if _, err := load.Drive(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), "401") || !strings.Contains(err.Error(), "API key") {
		t.Errorf("without a key: got %v", err)
	}
	o.APIKey = "sesame"
	o.URL += "/v1/"
	if p := drive(t, o).Report(); p.Completed != 40 {
		t.Errorf("%d completed", p.Completed)
	}
}

func TestOptionsRefused(t *testing.T) {
	for want, change := range map[string]func(*load.Options){
		"127.0.0.1:8080: expected the address": func(o *load.Options) { o.URL = "127.0.0.1:8080" },
		"--requests 0":                         func(o *load.Options) { o.Requests = 0 },
		"--rate -1":                            func(o *load.Options) { o.Rate = -1 },
		"--concurrency 0":                      func(o *load.Options) { o.Concurrency = 0 },
		"--timeout 0s":                         func(o *load.Options) { o.Timeout = 0 },
		"--malformed-share 0.6":                func(o *load.Options) { o.CancelShare, o.MalformedShare = 0.5, 0.6 },
		"--verify":                             func(o *load.Options) { o.Verify, o.Temperature = true, 1 },
		"--extra":                              func(o *load.Options) { o.Extra = map[string]json.RawMessage{"a": json.RawMessage("{")} },
	} {
		o := load.DefaultOptions()
		o.URL = "http://127.0.0.1:1"
		change(&o)
		if _, err := load.Drive(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, expected %s", err, want)
		}
	}
}

func mustLengths(t *testing.T, s string) load.Lengths {
	t.Helper()
	l, err := load.ParseLengths(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
