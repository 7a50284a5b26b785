package eval

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mor/internal/golden"
	"mor/internal/kernel"
	"mor/internal/model"
)

// treeRequests are requests of which many begin alike, some are the same, and one is the beginning of another.
func treeRequests(c *model.Config) []request {
	seq := golden.Sequences(c, 20, 7, 12, 3, 9)
	join := func(parts ...[]int32) []int32 { return slices.Concat(parts...) }
	of := func(tokens []int32, targets ...int32) request { return request{tokens, targets} }
	a, b, x, y, z := seq[0], seq[1], seq[2], seq[3], seq[4]
	return []request{
		of(join(a, x), x[5:]...), of(join(a, y), y...), of(join(a, z[:2], x), x[3:]...), of(join(a, z), 7, 8), of(join(b, x), 1), of(join(b, x), 2), of(a, 3), of(a[:4], 5, 6),
		of(join(a, y), 9), of(z, z[1:]...), of(y[:1], 4),
	}
}

// alone scores a request with a pass of its own and naive logits.
func alone(t *testing.T, m *model.Model, tape *model.Tape, mode model.Mode, r request) Score {
	if err := m.Forward(tape, model.NewBatch(r.tokens), mode, false); err != nil {
		t.Fatal(err)
	}
	s := Score{Greedy: true, Depths: make([]int64, m.Config.Recursions()+1)}
	for _, d := range tape.Depth {
		s.Depths[d]++
	}
	v, n := m.Config.VocabSize, len(r.tokens)
	logits := make([]float32, n*v)
	m.Logits(logits, tape, 0, n)
	for i, target := range r.targets {
		row := logits[(n-len(r.targets)+i)*v:][:v]
		s.LogProb -= naiveLoss(row, target)
		for id, x := range row {
			if x > row[target] || x == row[target] && id < int(target) {
				s.Greedy = false
			}
		}
	}
	return s
}

// TestScoresDoNotDependOnTheBatch: with shared beginnings, alone, in other orders and on more workers, the same bits; near those of naive logits.
func TestScoresDoNotDependOnTheBatch(t *testing.T) {
	for _, k := range golden.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			var want [][]Score
			for _, workers := range []int{1, 3} {
				cpu, err := kernel.Open(workers)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(cpu.Close)
				m := model.New(k.Config, cpu)
				m.Init(5)
				for i, mode := range append(modes(k.Config), model.Mode{MaxRecursion: cyclicDepth(k.Config)}) {
					checkScores(t, m, mode, &want, i)
				}
			}
		})
	}
}

// cyclicDepth is 1 where recursions can be left out.
func cyclicDepth(c *model.Config) int {
	if c.Recursion != nil && c.Recursion.Sharing.Cyclic() {
		return 1
	}
	return 0
}

func checkScores(t *testing.T, m *model.Model, mode model.Mode, want *[][]Score, i int) {
	t.Helper()
	requests := treeRequests(m.Config)
	s := newScorer(m, mode)
	got, err := s.score(requests)
	if err != nil {
		t.Fatal(err)
	}
	if i == len(*want) {
		*want = append(*want, got)
	}
	if !reflect.DeepEqual(got, (*want)[i]) {
		t.Errorf("%+v: workers change the scores", mode)
	}
	if rows, want := len(s.batch.Tokens), differentRows(requests); !s.plain && rows != want {
		t.Errorf("%d rows were computed, want the %d that differ", rows, want)
	}
	if m.CPU().Pool().Workers() > 1 {
		return
	}
	tape := m.NewTape()
	for j := range requests {
		one, err := s.score(requests[j : j+1])
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(one[0], got[j]) {
			t.Errorf("%+v, request %d: alone %+v, in the batch %+v", mode, j, one[0], got[j])
		}
		naive := alone(t, m, tape, mode, requests[j])
		if d := naive.LogProb - got[j].LogProb; d > 1e-4 || d < -1e-4 || naive.Greedy != got[j].Greedy || !slices.Equal(naive.Depths, got[j].Depths) {
			t.Errorf("%+v, request %d: %+v, naive %+v", mode, j, got[j], naive)
		}
	}
}

// differentRows counts the different beginnings.
func differentRows(requests []request) int {
	seen := map[string]bool{}
	for _, r := range requests {
		for n := range r.tokens {
			seen[fmt.Sprint(r.tokens[:n+1])] = true
		}
	}
	return len(seen)
}

// TestPairs: how contexts and continuations become tokens.
func TestPairs(t *testing.T) {
	_, tok, _ := setup(t, golden.Kinds()[0].Config, 1)
	eot, _ := tok.EOT()
	text := func(r request) string {
		var b []byte
		for _, id := range append(slices.Clone(r.tokens), r.targets[len(r.targets)-1]) {
			if id != eot {
				b = append(b, tok.TokenBytes(id)...)
			}
		}
		return string(b)
	}
	p := pairs{tok: tok, limit: 8}
	for _, c := range []struct{ context, continuation, cut string }{{"func (r", " *Reader)", ""}, {"return \t", " 42", "return"}, {"", "err", ""}} {
		p.limit = 100
		r, err := p.encode(c.context, c.continuation)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(r); got != c.context+c.continuation {
			t.Errorf("%q + %q: the tokens say %q", c.context, c.continuation, got)
		}
		if c.cut != "" {
			var b []byte
			for _, id := range r.targets {
				b = append(b, tok.TokenBytes(id)...)
			}
			if want := strings.TrimPrefix(c.context+c.continuation, c.cut); string(b) != want {
				t.Errorf("the continuation is %q, want the white space before it too: %q", b, want)
			}
		}
		p.limit = len(r.targets)
		short, err := p.encode(c.context, c.continuation)
		if err != nil || len(short.tokens) != p.limit || !slices.Equal(short.tokens, r.tokens[len(r.tokens)-p.limit:]) || !slices.Equal(short.targets, r.targets) {
			t.Errorf("cut to %d: %v, %v", p.limit, short, err)
		}
		if p.limit--; p.limit > 0 {
			if _, err := p.encode(c.context, c.continuation); err == nil {
				t.Errorf("a continuation of %d tokens in a context of %d was accepted", p.limit+1, p.limit)
			}
		}
	}
}

// TestRunTask: results do not depend on the batch; an interrupted run goes on and ends alike; other options are refused.
func TestRunTask(t *testing.T) {
	m, tok, _ := setup(t, golden.Kinds()[9].Config, 2)
	dir := t.TempDir()
	var lines strings.Builder
	for _, w := range []string{"func", "Read", "return", "byte", "error", "io.EOF", "(n int)", "Reader"} {
		lines.WriteString(`{"query":"` + w + ` (r","choices":["*Reader","p []byte","` + w + `"],"gold":1}` + "\n")
	}
	if err := os.WriteFile(filepath.Join(dir, "hellaswag_validation.jsonl"), []byte(lines.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	task, _ := FindTask("hellaswag")
	run := func(ctx context.Context, o TaskOptions) (*TaskResult, error) {
		o.DataDir, o.Context = dir, 64
		return RunTask(ctx, m, tok, task, o)
	}
	want, err := run(t.Context(), TaskOptions{BatchTokens: 1})
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	_, err = run(ctx, TaskOptions{BatchTokens: 20, Out: out, Progress: func(done, _ int64) {
		if done > 3 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "kept in") {
		t.Fatalf("interrupted: %v", err)
	}
	file := filepath.Join(out, "hellaswag.causal.jsonl")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	done := strings.Count(string(data), "\n")
	if err := os.WriteFile(file, append(data, `{"item":7,"gol`...), 0o666); err != nil { // killed while it wrote
		t.Fatal(err)
	}
	first := int64(-1)
	got, err := run(t.Context(), TaskOptions{BatchTokens: 1000, Out: out, Progress: func(done, _ int64) {
		if first < 0 {
			first = done
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if first != int64(done) || done < 4 || done == 8 {
		t.Errorf("went on at %d of %d items", first, done)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("resumed %+v, want %+v", got, want)
	}
	if _, err := run(t.Context(), TaskOptions{BatchTokens: 10, Out: out, Limit: 3}); err == nil || !strings.Contains(err.Error(), "limit was 0, now 3") {
		t.Errorf("another limit: %v", err)
	}
	if _, err := run(t.Context(), TaskOptions{BatchTokens: 10, Out: out, Model: "b"}); err == nil || !strings.Contains(err.Error(), "model was , now b") {
		t.Errorf("another model: %v", err)
	}
}
