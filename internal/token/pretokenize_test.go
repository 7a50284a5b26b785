package token

import (
	"strings"
	"testing"

	"github.com/dlclark/regexp2"
)

const byteLevelWithout = `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}`

func sequence(steps ...string) string {
	return `{"type":"Sequence","pretokenizers":[` + strings.Join(steps, ",") + `]}`
}

func splitStep(pattern, behavior, invert string) string {
	return `{"type":"Split","pattern":` + pattern + `,"behavior":"` + behavior + `","invert":` + invert + `}`
}

// The wanted pieces follow from the rules in Hugging Face's normalizer.rs.
func TestSplitBehaviors(t *testing.T) {
	for _, c := range []struct{ behavior, invert, want string }{
		{isolated, "false", "-|-|the|-|final|-|-|-|x"},
		{removed, "false", "the|final|x"},
		{removed, "true", "-|-|-|-|-|-"},
		{mergedWithPrevious, "false", "-|-|the-|final-|-|-|x"},
		{mergedWithNext, "false", "-|-the|-final|-|-|-x"},
		{contiguous, "false", "--|the|-|final|---|x"},
	} {
		for _, pattern := range []string{`{"String":"-"}`, `{"Regex":"-"}`} {
			tok := withPre(t, sequence(splitStep(pattern, c.behavior, c.invert), byteLevelWithout))
			if got := tok.pieces("--the-final---x"); got != c.want {
				t.Errorf("%s invert %s %s: %s, want %s", c.behavior, c.invert, pattern, got, c.want)
			}
		}
	}
}

func TestPreTokenizers(t *testing.T) {
	const text = " it's 1234 ½x\n\n  (A'Lſ)\r\n!\n\t'ſa"
	for _, c := range []struct{ name, pre, want string }{
		{"gpt-2", `{"type":"ByteLevel","use_regex":true,"add_prefix_space":false,"trim_offsets":true}`,
			" it|'s| 1234| ½|x|\n\n | (|A|'|Lſ|)|\r|\n|!|\n|\t|'|ſa"},
		{"smollm", sequence(`{"type":"Digits","individual_digits":true}`, strings.Replace(byteLevelWithout, "use_regex\":false", "use_regex\":true", 1)),
			" it|'s| |1|2|3|4| |½|x|\n\n | (|A|'|Lſ|)|\r|\n|!|\n|\t|'|ſa"},
		{"digits together", sequence(`{"type":"Digits","individual_digits":false}`, strings.Replace(byteLevelWithout, "use_regex\":false", "use_regex\":true", 1)),
			" it|'s| |1234| |½|x|\n\n | (|A|'|Lſ|)|\r|\n|!|\n|\t|'|ſa"},
	} {
		if got := withPre(t, c.pre).pieces(text); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

// A scanner does what its pattern says, which regexp2 knows.
func FuzzScanner(f *testing.F) {
	for _, seed := range []string{sample, "  a  1  \n \r\n x", "don't DON'T 'ſ 'S'll'LL", "a\xff\xc3 \xe2\x80", "\u0085\u00a0\u3000x ½²٣ \u200d\u0301", "((a (((a !\n\n x", "12345 1 2"} {
		f.Add(seed)
	}
	digit := regexp2.MustCompile(`\p{N}`, regexp2.None)
	var patterns []*regexp2.Regexp
	known := []string{patternGPT2, patternLlama3, patternQwen2}
	for _, p := range known {
		patterns = append(patterns, regexp2.MustCompile(strings.ReplaceAll(p, `(?i:'s`, `(?i:'s|'ſ`), regexp2.None))
	}
	f.Fuzz(func(t *testing.T, text string) {
		for i, p := range known {
			compareScanner(t, knownPattern(p), splitter{regex: patterns[i], behavior: isolated}, text)
		}
		single := scanner{next: (*scanner).nextGPT2, plane: planeClasses(), digits: digitsIndividual}
		compareScanner(t, &single, splitter{regex: digit, behavior: isolated}, text, splitter{regex: patterns[0], behavior: isolated})
		single.digits = digitsContiguous
		compareScanner(t, &single, splitter{regex: digit, behavior: contiguous}, text, splitter{regex: patterns[0], behavior: isolated})
	})
}

func compareScanner(t *testing.T, s *scanner, first splitter, text string, more ...splitter) {
	t.Helper()
	e := newEncoder()
	want := first.appendSpans(e, nil, []byte(text), span{0, len(text)})
	for _, next := range more {
		var finer []span
		for _, piece := range want {
			finer = next.appendSpans(e, finer, []byte(text), piece)
		}
		want = finer
	}
	at := 0
	for _, piece := range want {
		if end := s.next(s, []byte(text), at); end != piece.end {
			t.Fatalf("%q: at %d the piece ends at %d, want %d", text, at, end, piece.end)
		}
		at = piece.end
	}
	if at != len(text) {
		t.Fatalf("%q: pieces end at %d of %d", text, at, len(text))
	}
}
