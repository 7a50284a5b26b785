package infer

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// stopAt is the definition: read character by character, the text ends before the longest stop string that ends where the first one ends.
func stopAt(text string, stop []string) (string, bool) {
	for end := 1; end <= len(text); end++ {
		at := -1
		for _, s := range stop {
			if strings.HasSuffix(text[:end], s) && (at < 0 || end-len(s) < at) {
				at = end - len(s)
			}
		}
		if at >= 0 {
			return text[:at], true
		}
	}
	return text, false
}

// TestStopAnyTokens: wherever tokens cut a text, and characters in them, what comes out is what the definition says, never more at any time, and the
// text of each token is its own.
func TestStopAnyTokens(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	letters := []string{"a", "b", "é", "\n", "世"}
	word := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteString(letters[rng.IntN(len(letters))])
		}
		return b.String()
	}
	for range 5000 {
		text := word(rng.IntN(30))
		stop := make([]string, rng.IntN(4))
		for i := range stop {
			stop[i] = word(1 + rng.IntN(4))
		}
		want, wantStopped := stopAt(text, stop)
		var o outlet
		o.reset(stop)
		var got strings.Builder
		delivered, stopped := 0, false
		deliver := func() {
			for _, tok := range o.out {
				got.WriteString(tok.Text)
				if int(tok.ID) != delivered {
					t.Fatalf("token %d comes at place %d", tok.ID, delivered)
				}
				delivered++
			}
			o.out = o.out[:0]
			if !strings.HasPrefix(want, got.String()) {
				t.Fatalf("%q with stops %q: %q came out", text, stop, got.String())
			}
		}
		tokens := 0
		pending := ""
		for rest := text; rest != "" && !stopped; {
			n := min(1+rng.IntN(5), len(rest)) // bytes: characters are cut, too
			pending += rest[:n]
			rest = rest[n:]
			whole := completePrefix(pending)
			_, stopped = o.add(Token{ID: int32(tokens), Text: pending[:whole]}, whole < len(pending))
			pending = pending[whole:]
			tokens++
			deliver()
		}
		if !stopped {
			o.finish(pending)
			deliver()
			if delivered != tokens {
				t.Fatalf("%q with stops %q: %d tokens of %d came out", text, stop, delivered, tokens)
			}
		}
		if got.String() != want || stopped != wantStopped {
			t.Fatalf("%q with stops %q: got %q (stopped %v), want %q (%v)", text, stop, got.String(), stopped, want, wantStopped)
		}
	}
}

// completePrefix is the length of the whole characters that the text begins with.
func completePrefix(text string) int {
	for n := len(text); n > 0; n-- {
		if strings.ToValidUTF8(text[:n], "") == text[:n] {
			return n
		}
	}
	return 0
}

// TestStopKeepsUnfinishedCharacters: the bytes of a character that is never completed belong to the token that they came with.
func TestStopKeepsUnfinishedCharacters(t *testing.T) {
	var o outlet
	o.reset(nil)
	o.add(Token{Text: "a"}, true)
	if len(o.out) != 0 {
		t.Fatalf("came out early: %v", o.out)
	}
	o.finish("\xe4")
	if len(o.out) != 1 || o.out[0].Text != "a\xe4" {
		t.Errorf("got %+v", o.out)
	}
}

func TestStopIsValidated(t *testing.T) {
	for _, stop := range []string{"", "\xff"} {
		if err := validateStop([]string{"a", stop}); err == nil || !strings.HasPrefix(err.Error(), "stop[1]: ") {
			t.Errorf("%q: got %v", stop, err)
		}
	}
}
