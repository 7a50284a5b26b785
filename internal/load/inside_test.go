package load

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTimes(t *testing.T) {
	var hundred []float64
	for i := range 100 {
		hundred = append(hundred, float64(100-i))
	}
	for _, c := range []struct {
		ms   []float64
		want Times
	}{
		{nil, Times{}},
		{[]float64{7}, Times{Count: 1, Mean: 7, Median: 7, P95: 7, P99: 7, Max: 7}},
		{[]float64{4, 2}, Times{Count: 2, Mean: 3, Median: 2, P95: 4, P99: 4, Max: 4}},
		{hundred, Times{Count: 100, Mean: 50.5, Median: 50, P95: 95, P99: 99, Max: 100}},
	} {
		got := timesOf(c.ms)
		got.sorted = nil
		if got.Count != c.want.Count || got.Mean != c.want.Mean || got.Median != c.want.Median || got.P95 != c.want.P95 || got.P99 != c.want.P99 || got.Max != c.want.Max {
			t.Errorf("%v: got %+v, expected %+v", c.ms, got, c.want)
		}
	}
}

func TestMaxRunning(t *testing.T) {
	at := func(start, end int) outcome { return outcome{start: time.Duration(start), end: time.Duration(end)} }
	for _, c := range []struct {
		outcomes []outcome
		want     int
	}{
		{nil, 0},
		{[]outcome{at(0, 5), at(5, 9)}, 1},
		{[]outcome{at(0, 5), at(4, 9), at(1, 3), at(4, 5)}, 3},
	} {
		if got := maxRunning(c.outcomes); got != c.want {
			t.Errorf("got %d, expected %d", got, c.want)
		}
	}
}

func TestLengths(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, s := range []string{"64", "16-128", "64~16", "1", "2~0.5"} {
		l, err := ParseLengths(s)
		if err != nil || l.String() != s {
			t.Errorf("%s: got %v, %v", s, l, err)
		}
		var drawn []int
		for range 2000 {
			drawn = append(drawn, l.draw(rng))
		}
		low, high := slices.Min(drawn), slices.Max(drawn)
		if low < 1 || s == "64" && (low != 64 || high != 64) || s == "16-128" && (low != 16 || high != 128) || s == "64~16" && (low > 40 || high < 88) {
			t.Errorf("%s: drew %d to %d", s, low, high)
		}
	}
	for _, s := range []string{"", "0", "-3", "5-4", "a", "64~", "64~0", "64~-1", "NaN~1", "1e9~1", "99999999", "1-99999999"} {
		if l, err := ParseLengths(s); err == nil {
			t.Errorf("%q: got %v, expected an error", s, l)
		}
	}
}

// FuzzLengths: what is read can be written, read again, and drawn from.
func FuzzLengths(f *testing.F) {
	for _, s := range []string{"64", "16-128", "64~16", "1~1e300", "-1", "1-", "~", "1048576", "0x10", "1~Inf"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLengths(s)
		if err != nil {
			return
		}
		again, err := ParseLengths(l.String())
		if n := l.draw(rand.New(rand.NewPCG(1, 2))); err != nil || again != l || n < 1 || n > maxLength {
			t.Errorf("%q: %v, again %v, %v, drew %d", s, l, again, err, n)
		}
	})
}

// TestMalformed: no malformed request can be understood, and all kinds are drawn.
func TestMalformed(t *testing.T) {
	for _, chat := range []bool{false, true} {
		o := DefaultOptions()
		o.Chat = chat
		rng := rand.New(rand.NewPCG(1, 2))
		kinds := map[string]bool{}
		for range 200 {
			body := o.malformed(rng)
			kinds[string(body)] = true
			var q struct {
				Prompt   *string          `json:"prompt"`
				Messages []map[string]any `json:"messages"`
			}
			if json.Unmarshal(body, &q) == nil && (q.Prompt != nil || q.Messages != nil) {
				t.Errorf("%s can be understood", body)
			}
		}
		if len(kinds) != 6 {
			t.Errorf("%d kinds, expected 6", len(kinds))
		}
	}
}

// FuzzEvents: whatever a server sends, its events come in order up to [DONE], or an error.
func FuzzEvents(f *testing.F) {
	for _, s := range []string{"data: {}\n\ndata: [DONE]\n\n", ": comment\ndata:{\"a\":1}\r\n\r\ndata: [DONE]", "data", "event: x\n\n", "data: [DONE]\ndata: more\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got []string
		err := events(strings.NewReader(s), func(data []byte) error {
			if bytes.ContainsAny(data, "\n") {
				t.Errorf("an event of more than a line: %q", data)
			}
			got = append(got, string(data))
			return nil
		})
		if (err == nil) != strings.Contains(done(s), "\ndata:[DONE]\n") {
			t.Errorf("%q: events %q, error %v", s, got, err)
		}
	})
}

// done is the stream with the blanks gone that may stand around [DONE].
func done(s string) string {
	var b strings.Builder
	b.WriteByte('\n')
	for line := range strings.SplitSeq(s, "\n") {
		if data, ok := strings.CutPrefix(strings.TrimSuffix(line, "\r"), "data:"); ok {
			line = "data:" + string(bytes.TrimSpace([]byte(data)))
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}
