package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"mor"
	"mor/internal/model"
	"mor/internal/report"
)

// eachText shows n texts with their tokens, one behind the other: the first as it is written, the others, which are written beside it, then. head is the
// line that a text begins with, "" where there is one text.
func eachText(text *mor.Text, n int, show func(head string, tokens iter.Seq2[mor.Token, error]) error) error {
	if n <= 1 {
		return show("", text.Tokens())
	}
	head := func(i int) string { return fmt.Sprintf("=== %d of %d ===\n", i+1, n) }
	held := make([][]mor.Token, n)
	err := show(head(0), func(yield func(mor.Token, error) bool) {
		for t, err := range text.Tokens() {
			if err == nil && t.Index > 0 {
				held[t.Index] = append(held[t.Index], t)
			} else if !yield(t, err) {
				return
			}
		}
	})
	for i := 1; i < n && err == nil; i++ {
		err = show(head(i), func(yield func(mor.Token, error) bool) {
			for _, t := range held[i] {
				if !yield(t, nil) {
					return
				}
			}
		})
	}
	return err
}

// writeText writes the prompt, once it is accepted, and its continuation.
func writeText(out io.Writer, tokens iter.Seq2[mor.Token, error], head, prompt string) error {
	last, shown := "", false
	show := func(text string) error {
		if text == "" {
			return nil
		}
		last = text
		_, err := io.WriteString(out, text)
		return err
	}
	for t, err := range tokens {
		if err == nil && !shown {
			shown, err = true, show(head+prompt)
		}
		if err == nil {
			err = show(t.Text)
		}
		if err != nil {
			if shown {
				fmt.Fprintln(out)
			}
			return err
		}
	}
	if !shown { // the text ended at once
		if err := show(head + prompt); err != nil {
			return err
		}
	}
	if strings.HasSuffix(last, "\n") {
		return nil
	}
	_, err := fmt.Fprintln(out)
	return err
}

// writeDepths writes a prompt and its continuation with the depth of every token.
func writeDepths(out io.Writer, text *mor.Text, tokens iter.Seq2[mor.Token, error], head string, maxDepth int, color bool) error {
	d := report.NewDepthWriter(out, maxDepth, color)
	shown := false
	showPrompt := func() error {
		if _, err := io.WriteString(out, head); err != nil {
			return err
		}
		for _, t := range text.Prompt() {
			if err := d.Token(t.Text, t.Depth); err != nil {
				return err
			}
		}
		shown = true
		return nil
	}
	for t, err := range tokens {
		if err == nil && !shown {
			err = showPrompt()
		}
		if err == nil {
			err = d.Token(t.Text, t.Depth)
		}
		if err != nil {
			if shown {
				err = errors.Join(err, d.Close())
			}
			return err
		}
	}
	if !shown { // the text ended at once
		if err := showPrompt(); err != nil {
			return err
		}
	}
	return d.Close()
}

// statistics writes the line of speeds and depths.
func (g *generateCommand) statistics(out io.Writer, r *mor.Result, recursions int) {
	if g.json {
		return
	}
	var finish []string
	for _, c := range r.Choices {
		finish = append(finish, cmp.Or(c.Finish, "interrupted"))
	}
	if len(finish) == 0 {
		finish = []string{"interrupted"}
	}
	guesses := ""
	if g.options.Speculate > 0 {
		guesses = fmt.Sprintf(" | %d of %d guesses held", r.Accepted, r.Drafted)
	}
	fmt.Fprintf(out, "prompt %d tokens, %.0f tokens/s, mean depth %.2f | generated %d tokens, %.0f tokens/s, mean depth %.2f of %d%s | routing %s | finish %s | seed %d\n",
		r.PromptTokens, rate(r.PromptTokens, r.Prefill), r.PromptDepth, r.Tokens, rate(r.Tokens, r.Decode), r.MeanDepth, recursions, guesses, model.Causal, strings.Join(finish, ", "), g.options.Seed)
}

// rate is n a second.
func rate(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}
