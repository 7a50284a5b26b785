package eval

import (
	"context"
	"fmt"

	"mor/internal/model"
	"mor/internal/token"
)

// TextOptions say how a text is read.
type TextOptions struct {
	Context    int // tokens of a window
	Stride     int // tokens between the beginnings of two windows, at most Context
	MinContext int // of a predicted token: tokens before it in its window; 0 is 1
	Batch      int // windows computed at once; the result does not depend on it
	Mode       model.Mode
	Progress   func(done, total int64) // windows; may be nil
}

// RunText measures a model on one text with a sliding window: windows of Context tokens begin every Stride tokens, and each predicts those that no window
// before it held and that have MinContext tokens before them there, from all of these. The first token of a window is never predicted: with Stride below Context
// that is only the text's first. Control tokens in the text are ordinary text.
func RunText(ctx context.Context, m *model.Model, tok *token.Tokenizer, text []byte, o TextOptions) (*Result, error) {
	tokens := tok.AppendEncodePlain(append([]int32(nil), tok.Prefix()...), text)
	if len(tokens) < 2 {
		return nil, fmt.Errorf("the text has %d tokens: expected at least 2", len(tokens))
	}
	windows := slide(len(tokens), &o)
	if len(windows) == 0 {
		return nil, fmt.Errorf("the text has %d tokens: expected more than the %d of the least context", len(tokens), o.MinContext)
	}
	s, b := newSums(m, tok), &model.Batch{}
	bytes := int64(0)
	for at := 0; at < len(windows); at += o.Batch {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b.Tokens, b.Targets, b.Positions, b.Starts = b.Tokens[:0], b.Targets[:0], b.Positions[:0], append(b.Starts[:0], 0)
		for _, w := range windows[at:min(at+o.Batch, len(windows))] {
			bytes += w.fill(b, tok, tokens)
		}
		if err := s.add(b, o.Mode); err != nil {
			return nil, err
		}
		if o.Progress != nil {
			o.Progress(int64(min(at+o.Batch, len(windows))), int64(len(windows)))
		}
	}
	r, err := s.result(bytes, o.Context, o.Stride, o.Mode)
	if err == nil {
		r.MinContext = max(o.MinContext, 1)
	}
	return r, err
}

// window reads the tokens [lo,hi) and predicts those from first on.
type window struct{ lo, first, hi int }

// slide lays windows over n tokens.
func slide(n int, o *TextOptions) []window {
	var out []window
	for lo, end := 0, 0; end < n; lo += o.Stride {
		w := window{lo, max(end, lo+max(o.MinContext, 1)), min(lo+o.Context, n)}
		if end = w.hi; w.first < w.hi {
			out = append(out, w)
		}
	}
	return out
}

// fill appends the window to a batch and returns how many bytes it predicts.
func (w window) fill(b *model.Batch, tok *token.Tokenizer, tokens []int32) (bytes int64) {
	for i := w.lo; i < w.hi-1; i++ { // the last token predicts what no window needs
		target := int32(-1)
		if i+1 >= w.first {
			target = tokens[i+1]
			bytes += int64(len(tok.TokenBytes(target)))
		}
		b.Tokens, b.Targets, b.Positions = append(b.Tokens, tokens[i]), append(b.Targets, target), append(b.Positions, int32(i-w.lo))
	}
	b.Starts = append(b.Starts, int32(len(b.Tokens)))
	return bytes
}
