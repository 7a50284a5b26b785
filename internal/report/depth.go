// Package report turns the records of a run into what people look at.
package report

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
)

// depthColors are 256-colour backgrounds of falling lightness, all readable under black text, whatever the terminal's own colours are.
var depthColors = []int{230, 222, 215, 209, 203}

// skippedColor marks tokens that took no recursion.
const skippedColor = 253

// DepthWriter writes text token by token and shows how many recursions each took: by background colour, or by a line under each line of
// text that has a token's depth below its first column. It is a picture, not a copy: a newline shows as ↵, a tab as spaces.
type DepthWriter struct {
	w     *bufio.Writer
	max   int
	color bool

	count     []int           // tokens by depth
	under     strings.Builder // without colour: depths of the line at hand
	line      int             // columns of it
	tokens    int
	recursion int // sum of depths
}

// NewDepthWriter returns a writer of tokens with depths from 0 to maxDepth.
func NewDepthWriter(w io.Writer, maxDepth int, color bool) *DepthWriter {
	return &DepthWriter{w: bufio.NewWriter(w), max: maxDepth, color: color, count: make([]int, maxDepth+1)}
}

// Depths writes the tokens of a text with the depth of each, a legend and the mean.
func Depths(w io.Writer, tokens []string, depth []int, maxDepth int, color bool) error {
	if len(tokens) != len(depth) {
		return fmt.Errorf("depths: %d tokens, %d depths: expected one each", len(tokens), len(depth))
	}
	d := NewDepthWriter(w, maxDepth, color)
	for i, text := range tokens {
		if err := d.Token(text, depth[i]); err != nil {
			return err
		}
	}
	return d.Close()
}

// Token writes one token. A text may be empty: part of a character that a later token completes.
func (d *DepthWriter) Token(text string, depth int) error {
	if depth < 0 || depth > d.max {
		return fmt.Errorf("depths: a token has depth %d: expected 0 to %d", depth, d.max)
	}
	d.count[depth]++
	d.tokens++
	d.recursion += depth
	for start := true; text != ""; start = false {
		part, rest, ended := strings.Cut(text, "\n")
		part = strings.Map(printable, strings.ReplaceAll(part, "\t", "    "))
		if ended {
			part += "↵"
		}
		d.part(part, depth, start)
		if ended {
			d.endLine()
		}
		text = rest
	}
	if d.color {
		return d.w.Flush() // whoever reads along sees each token
	}
	return nil
}

// printable keeps the text from moving the cursor or changing colours.
func printable(r rune) rune {
	if unicode.IsControl(r) {
		return unicode.ReplacementChar
	}
	return r
}

// part writes what a token has on one line.
func (d *DepthWriter) part(text string, depth int, start bool) {
	if d.color {
		fmt.Fprintf(d.w, "\x1b[38;5;16;48;5;%dm%s\x1b[0m", d.colorOf(depth), text)
		return
	}
	d.w.WriteString(text)
	width := uniseg.StringWidth(text)
	if width == 0 {
		return
	}
	mark := "·"
	if start {
		mark = digit(depth)
	}
	d.under.WriteString(mark + strings.Repeat("·", width-1))
	d.line += width
}

func (d *DepthWriter) endLine() {
	d.w.WriteByte('\n')
	if d.line > 0 {
		d.w.WriteString(d.under.String() + "\n")
	}
	d.under.Reset()
	d.line = 0
}

// colorOf spreads the depths from 1 to the largest over the colours.
func (d *DepthWriter) colorOf(depth int) int {
	if depth == 0 {
		return skippedColor
	}
	if d.max == 1 {
		return depthColors[0]
	}
	return depthColors[(depth-1)*(len(depthColors)-1)/(d.max-1)]
}

// digit is one column wide for every depth below 36.
func digit(depth int) string { return strconv.FormatInt(int64(depth), 36) }

// Close ends the text and writes the legend, with the share of the tokens at each depth, and the mean.
func (d *DepthWriter) Close() error {
	d.endLine()
	d.w.WriteString("depth ")
	for depth, n := range d.count {
		if depth == 0 && n == 0 {
			continue
		}
		share := 0.0
		if d.tokens > 0 {
			share = 100 * float64(n) / float64(d.tokens)
		}
		if d.color {
			d.part(fmt.Sprintf(" %d ", depth), depth, true)
		} else {
			d.w.WriteString(digit(depth) + ":")
		}
		fmt.Fprintf(d.w, " %.0f %%  ", share)
	}
	fmt.Fprintf(d.w, "mean depth %.2f of %d\n", d.Mean(), d.max)
	return d.w.Flush()
}

// Mean is the mean depth of the tokens written so far.
func (d *DepthWriter) Mean() float64 {
	if d.tokens == 0 {
		return 0
	}
	return float64(d.recursion) / float64(d.tokens)
}
