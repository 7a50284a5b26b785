package report_test

import (
	"errors"
	"strings"
	"testing"

	"mor/internal/report"
)

func TestDepthsWithoutColor(t *testing.T) {
	for _, c := range []struct {
		name   string
		tokens []string
		depth  []int
		want   string
	}{
		{"line", []string{"func", " main", "()"}, []int{1, 3, 0}, "func main()\n1···3····0·\ndepth 0: 33 %  1: 33 %  2: 0 %  3: 33 %  mean depth 1.33 of 3\n"},
		{"newline in a token", []string{"a\n\tb", "c"}, []int{2, 3}, "a↵\n2·\n    bc\n·····3\ndepth 1: 0 %  2: 50 %  3: 50 %  mean depth 2.50 of 3\n"},
		{"wide characters", []string{"世", "界x"}, []int{2, 1}, "世界x\n2·1··\ndepth 1: 50 %  2: 50 %  3: 0 %  mean depth 1.50 of 3\n"},
		{"escape sequences", []string{"\x1b[2J"}, []int{1}, "\uFFFD[2J\n1···\ndepth 1: 100 %  2: 0 %  3: 0 %  mean depth 1.00 of 3\n"},
		{"part of a character", []string{"", "é"}, []int{1, 2}, "é\n2\ndepth 1: 50 %  2: 50 %  3: 0 %  mean depth 1.50 of 3\n"},
		{"nothing", nil, nil, "\ndepth 1: 0 %  2: 0 %  3: 0 %  mean depth 0.00 of 3\n"},
	} {
		var b strings.Builder
		if err := report.Depths(&b, c.tokens, c.depth, 3, false); err != nil {
			t.Fatal(err)
		}
		if b.String() != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, b.String(), c.want)
		}
	}
}

// TestDepthsWithColor: each depth has its background, no background reaches over the end of a line, and depth 0 stands apart.
func TestDepthsWithColor(t *testing.T) {
	var b strings.Builder
	if err := report.Depths(&b, []string{"a\n", "b", "c"}, []int{1, 3, 0}, 3, true); err != nil {
		t.Fatal(err)
	}
	want := "\x1b[38;5;16;48;5;230ma↵\x1b[0m\n\x1b[38;5;16;48;5;203mb\x1b[0m\x1b[38;5;16;48;5;253mc\x1b[0m\n"
	if text, _, _ := strings.Cut(b.String(), "depth"); text != want {
		t.Errorf("got %q, want %q", text, want)
	}
	if !strings.Contains(b.String(), "mean depth 1.33 of 3") {
		t.Errorf("no mean in %q", b.String())
	}
}

func TestDepthsRefuses(t *testing.T) {
	var b strings.Builder
	for _, err := range []error{
		report.Depths(&b, []string{"a"}, nil, 3, false),
		report.Depths(&b, []string{"a"}, []int{4}, 3, false),
		report.Depths(&b, []string{"a"}, []int{-1}, 3, false),
		report.Depths(full{}, []string{"a"}, []int{1}, 3, true),
	} {
		if err == nil {
			t.Error("expected an error")
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }
