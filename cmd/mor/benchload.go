package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mor/internal/load"
	"mor/internal/report"
)

// loadBench holds the flags of `mor bench serve`.
type loadBench struct {
	o       load.Options
	keyFile string
	extra   string
	plot    string
	json    bool
}

func newBenchServe() *cobra.Command {
	b := &loadBench{o: load.DefaultOptions()}
	cmd := &cobra.Command{
		Use:   "serve URL",
		Short: "Any OpenAI-compatible server under load: output tokens/s, times to the first and between tokens, refusals, errors",
		Long: `Send a bounded run of streamed requests to an OpenAI-compatible server and measure what the clients see. Without --rate the loop is closed: --concurrency
clients each send their next request when they have the answer to the last one. With --rate it is open: requests arrive as a Poisson process, whether or not
earlier ones were answered. Prompts are words of a fixed list; the request at each place depends on --seed alone.

Lengths are a number (64), a range (16-128) or a normal distribution (64~16: mean and standard deviation). TTFT is the time from sending a request to its
first token; TPOT a completed request's mean time between tokens; ITL the time between one token and the next; E2EL the time to the end of an answer.
A 503 or 429 is a refusal and no failure; nor is a 4xx to a request that was malformed on purpose. The exit status is 1 where a request failed.

The API key is the first of --api-key-file or, without one, of the variable MOR_API_KEYS.`,
		Example: `  mor bench serve http://127.0.0.1:8080
  mor bench serve http://127.0.0.1:8080 --concurrency 32 --requests 64 --max-tokens 128 --ignore-eos --plot load.svg
  mor bench serve http://127.0.0.1:8080 --rate 20 --duration 1m --max-tokens 16-128 --json
  mor bench serve http://127.0.0.1:8080 --concurrency 64 --requests 2000 --cancel-share 0.1 --malformed-share 0.1 --prompts 200 --verify
  mor bench serve http://127.0.0.1:8080 --extra '{"max_recursion": 2}'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b.o.URL = args[0]
			if b.o.Duration > 0 && !cmd.Flags().Changed("requests") {
				b.o.Requests = 0
			}
			return b.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&b.o.Model, "model", "", "model to ask for (default: the first that the server lists)")
	f.BoolVar(&b.o.Chat, "chat", false, "use /v1/chat/completions")
	f.IntVar(&b.o.Requests, "requests", b.o.Requests, "requests; 0: as many as --duration has time for")
	f.DurationVar(&b.o.Duration, "duration", 0, "send no request later than this; without --requests the only bound")
	f.IntVar(&b.o.Concurrency, "concurrency", b.o.Concurrency, "clients of the closed loop")
	f.Float64Var(&b.o.Rate, "rate", 0, "open loop: requests that arrive a second")
	f.Var(&b.o.PromptTokens, "prompt-tokens", "words of each prompt")
	f.Var(&b.o.MaxTokens, "max-tokens", "tokens that each request asks for")
	f.IntVar(&b.o.Prompts, "prompts", 0, "different requests, which repeat (default: all differ)")
	f.Float64Var(&b.o.Temperature, "temperature", 0, "temperature of each request")
	f.BoolVar(&b.o.IgnoreEOS, "ignore-eos", false, "go on behind the end of a text, by the field ignore_eos")
	f.StringVar(&b.extra, "extra", "", "further fields of each request, as a JSON object")
	f.Float64Var(&b.o.CancelShare, "cancel-share", 0, "share of the requests that are given up at a random moment")
	f.Float64Var(&b.o.MalformedShare, "malformed-share", 0, "share of the requests that no server can understand")
	f.BoolVar(&b.o.Verify, "verify", false, "send the requests again, one at a time and not streamed, and compare the answers")
	f.IntVar(&b.o.PID, "pid", 0, "process of a server on this machine, to watch its resident memory")
	f.DurationVar(&b.o.Timeout, "timeout", b.o.Timeout, "of each request")
	f.StringVar(&b.keyFile, "api-key-file", "", "file whose first line is the API key")
	f.Uint64Var(&b.o.Seed, "seed", b.o.Seed, "of lengths, prompts, arrivals")
	f.StringVar(&b.plot, "plot", "", "draw tokens by second and the distributions of times into this .svg or .png")
	f.BoolVar(&b.json, "json", false, "print one JSON record")
	return cmd
}

func (b *loadBench) run(ctx context.Context, w io.Writer) error {
	if err := b.prepare(); err != nil {
		return err
	}
	var p progress
	started := time.Now()
	r, err := load.Drive(ctx, b.o, func(done, total int) {
		if total > 0 {
			p.say("requests", int64(done), int64(total))
		} else {
			p.say("seconds", int64(time.Since(started).Seconds()), int64(b.o.Duration.Seconds()))
		}
	})
	p.finish()
	if r == nil {
		return err
	}
	if err == nil && b.o.Verify {
		err = r.Verify(ctx, func(done, total int) { p.say("alone", int64(done), int64(total)) })
		p.finish()
	}
	// What was measured is shown also where the run was interrupted.
	return errors.Join(b.show(w, r.Report()), err)
}

// prepare reads what flags name and refuses what could not be written at the end.
func (b *loadBench) prepare() error {
	b.o.APIKey, _, _ = strings.Cut(os.Getenv("MOR_API_KEYS"), ",")
	if b.keyFile != "" {
		keys, err := os.ReadFile(b.keyFile)
		if err != nil {
			return fmt.Errorf("--api-key-file: %w", err)
		}
		b.o.APIKey, _, _ = strings.Cut(strings.TrimSpace(string(keys)), "\n")
	}
	b.o.APIKey = strings.TrimSpace(b.o.APIKey)
	if b.extra != "" {
		if err := json.Unmarshal([]byte(b.extra), &b.o.Extra); err != nil {
			return fmt.Errorf("--extra %s: expected a JSON object: %w", b.extra, err)
		}
	}
	if b.plot != "" {
		if _, err := report.PlotFormat(b.plot); err != nil {
			return fmt.Errorf("--plot %w", err)
		}
		if _, err := os.Stat(filepath.Dir(b.plot)); err != nil {
			return fmt.Errorf("--plot: %w", err)
		}
	}
	return nil
}

func (b *loadBench) show(w io.Writer, r *load.Report) error {
	var err error
	if b.json {
		err = json.NewEncoder(w).Encode(r)
	} else {
		_, err = io.WriteString(w, loadText(r))
	}
	if err == nil && b.plot != "" {
		err = plotLoad(b.plot, r)
	}
	return errors.Join(err, r.Err())
}

// loadText is a report for people.
func loadText(r *load.Report) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-11s"+format+"\n", append([]any{name}, args...)...)
	}
	loop := fmt.Sprintf("closed loop of %d clients", r.Concurrency)
	if r.Loop == "open" {
		loop = fmt.Sprintf("open loop, %g requests/s", r.Rate)
	}
	line("server", "%s  %s  %s", r.URL, r.Server.Model, r.Endpoint)
	line("load", "%s, seed %d; at most %d requests at once", loop, r.Seed, r.MaxRunning)
	line("requests", "%d in %.2f s: %d completed, %d cancelled, %d malformed, %d refused, %d failed", r.Requests, r.Seconds, r.Completed, r.Cancelled, r.Malformed, r.Refused, r.Failed)
	line("statuses", "%s", counts(r.Statuses))
	line("throughput", "%.1f output tokens/s, %.2f requests/s", r.OutputPerS, r.RequestsPerS)
	line("tokens", "%s in the prompts of completed requests (%s cached), %s put out", group(r.PromptTokens), group(r.CachedTokens), group(r.OutputTokens))
	if r.MeanDepth > 0 {
		line("depth", "%s", depthOf(r))
	}
	fmt.Fprintf(&b, "%-11s%9s%9s%9s%9s%9s%9s\n", "ms", "p50", "p95", "p99", "max", "mean", "count")
	for _, t := range []struct {
		name string
		load.Times
	}{{"TTFT", r.TTFT}, {"TPOT", r.TPOT}, {"ITL", r.ITL}, {"E2EL", r.E2EL}, {"refusal", r.Refusal}} {
		if t.Count > 0 {
			fmt.Fprintf(&b, "%-11s%9.1f%9.1f%9.1f%9.1f%9.1f%9d\n", t.name, t.Median, t.P95, t.P99, t.Max, t.Mean, t.Count)
		}
	}
	if m := r.Memory; m != nil {
		line("memory", "%s before, %s when a tenth of the time was over, %s at the end, peak %s", formatSize(m.Before), formatSize(m.Warm), formatSize(m.End), formatSize(m.Peak))
	}
	if r.Failed > 0 {
		line("errors", "%s", counts(r.Errors))
	}
	for _, d := range r.Details {
		line("", "%s", d)
	}
	if v := r.Verified; v != nil {
		line("verified", "%d answers and %d beginnings against %d computed alone: %d differ", v.Completed, v.Beginnings, v.Alone, v.Different)
		for _, e := range v.Examples {
			line("", "%s", e)
		}
	}
	return b.String()
}

func depthOf(r *load.Report) string {
	s := fmt.Sprintf("%.2f", r.MeanDepth)
	if r.Server.NumRecursion > 0 {
		s += fmt.Sprintf(" of %d", r.Server.NumRecursion)
	}
	if r.Server.Routing != "" {
		s += " " + r.Server.Routing
	}
	return s
}

// counts writes a map in the order of its keys.
func counts(m map[string]int) string {
	var parts []string
	for k, n := range m {
		parts = append(parts, fmt.Sprintf("%s: %d", k, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// plotPoints is as many as a distribution is drawn with.
const plotPoints = 400

// loadPanels are the diagrams of a report.
func loadPanels(r *load.Report) []report.Panel {
	rate := report.Line{Name: "output tokens"}
	for i, n := range r.TokensBySecond {
		rate.X, rate.Y = append(rate.X, float64(i)), append(rate.Y, float64(n))
	}
	times := report.Panel{Title: "Times of requests and tokens", X: "ms", Y: "share that is no longer", LogX: true}
	for _, t := range []struct {
		name string
		load.Times
	}{{"TTFT", r.TTFT}, {"TPOT", r.TPOT}, {"ITL", r.ITL}, {"E2EL", r.E2EL}, {"refusal", r.Refusal}} {
		if t.Count > 0 {
			times.Lines = append(times.Lines, report.Cumulative(t.name, t.Sorted(), plotPoints))
		}
	}
	panels := []report.Panel{{Title: "Output of the server", X: "s", Y: "tokens a second", Lines: []report.Line{rate}}, times}
	if m := r.Memory; m != nil {
		megabytes := report.Line{Name: "resident", X: m.Times}
		for _, b := range m.Bytes {
			megabytes.Y = append(megabytes.Y, b/1e6)
		}
		panels = append(panels, report.Panel{Title: "Memory of the server", X: "s", Y: "MB", Lines: []report.Line{megabytes}})
	}
	return panels
}

// plotLoad writes the plot beside its place first, so that no half of it is left.
func plotLoad(path string, r *load.Report) error {
	format, err := report.PlotFormat(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp*")
	if err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	defer os.Remove(f.Name())
	err = report.Plot(f, format, loadPanels(r))
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	return os.Rename(f.Name(), path)
}
