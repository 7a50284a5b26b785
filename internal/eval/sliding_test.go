package eval

import (
	"math"
	"reflect"
	"testing"

	"mor/internal/golden"
	"mor/internal/model"
)

// TestSlide: every token but the first of a window is predicted once, and where windows overlap all but the text's first.
func TestSlide(t *testing.T) {
	for _, c := range []struct {
		n, context, stride, least int
		want                      []window
	}{
		{10, 4, 2, 0, []window{{0, 1, 4}, {2, 4, 6}, {4, 6, 8}, {6, 8, 10}}},
		{9, 4, 3, 1, []window{{0, 1, 4}, {3, 4, 7}, {6, 7, 9}}},
		{9, 4, 4, 0, []window{{0, 1, 4}, {4, 5, 8}}},
		{3, 8, 2, 0, []window{{0, 1, 3}}},
		{13, 4, 4, 2, []window{{0, 2, 4}, {4, 6, 8}, {8, 10, 12}}},
		{8, 4, 2, 3, []window{{0, 3, 4}, {2, 5, 6}, {4, 7, 8}}},
		{3, 8, 2, 3, nil},
	} {
		if got := slide(c.n, &TextOptions{Context: c.context, Stride: c.stride, MinContext: c.least}); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestRunText against full logits of each window, and whatever the batch.
func TestRunText(t *testing.T) {
	m, tok, _ := setup(t, golden.Kinds()[9].Config, 2)
	text := []byte("func (r *Reader) Read(p []byte) (n int, err error) { return 42, io.EOF }\nreturn 42, io.EOF")
	o := TextOptions{Context: 12, Stride: 5, Batch: 1}
	got, err := RunText(t.Context(), m, tok, text, o)
	if err != nil {
		t.Fatal(err)
	}
	o.Batch = 7
	if more, err := RunText(t.Context(), m, tok, text, o); err != nil || !reflect.DeepEqual(more, got) {
		t.Errorf("batch 7: %+v, %v; batch 1: %+v", more, err, got)
	}
	tokens := tok.EncodePlain(string(text))
	sum, bytes, v := 0.0, 0, m.Config.VocabSize
	for end, lo := 1, 0; end < len(tokens); lo += 5 {
		in := tokens[lo:min(lo+12, len(tokens))]
		tape := m.NewTape()
		if err := m.Forward(tape, model.NewBatch(in), model.Mode{}, false); err != nil {
			t.Fatal(err)
		}
		logits := make([]float32, len(in)*v)
		m.Logits(logits, tape, 0, len(in))
		for ; end < lo+len(in); end++ {
			sum += naiveLoss(logits[(end-1-lo)*v:][:v], tokens[end])
			bytes += len(tok.TokenBytes(tokens[end]))
		}
	}
	if want := sum / float64(len(tokens)-1); math.Abs(got.Loss-want) > 1e-5 || got.Tokens != int64(len(tokens)-1) {
		t.Errorf("loss %v over %d tokens, want %v over %d", got.Loss, got.Tokens, want, len(tokens)-1)
	}
	if want := sum / math.Ln2 / float64(bytes); math.Abs(got.BitsPerByte-want) > 1e-5 {
		t.Errorf("bits per byte %v, want %v", got.BitsPerByte, want)
	}
	checkSums(t, got)
	if got.StdErr <= 0 {
		t.Errorf("standard error %v", got.StdErr)
	}
	o.MinContext = 11
	if few, err := RunText(t.Context(), m, tok, text, o); err != nil || few.MinContext != 11 || few.Tokens >= got.Tokens {
		t.Errorf("least context of 11: %+v, %v", few, err)
	}
	o.MinContext = len(tokens)
	if _, err := RunText(t.Context(), m, tok, text, o); err == nil {
		t.Error("a text was measured that is shorter than the least context")
	}
	o.MinContext = 0
	if _, err := RunText(t.Context(), m, tok, []byte{}, o); err == nil {
		t.Error("an empty text was measured")
	}
}
