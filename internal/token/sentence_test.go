package token

import (
	"slices"
	"strings"
	"testing"
)

// sentence is a small vocabulary of SentencePiece's kind, with every byte.
func sentence(prepend bool) Sentence {
	v := Sentence{Tokens: []string{"<unk>", "<s>", "</s>"}, Unknown: 0, Prefix: []int32{1}, Prepend: prepend,
		Added: []AddedToken{{ID: 0, Content: "<unk>", Special: true}, {ID: 1, Content: "<s>", Special: true}, {ID: 2, Content: "</s>", Special: true}}}
	for b := range 256 {
		v.Tokens = append(v.Tokens, "<0x"+string("0123456789ABCDEF"[b>>4])+string("0123456789ABCDEF"[b&15])+">")
	}
	v.Scores = make([]float32, len(v.Tokens))
	for i, text := range []string{"▁t", "he", "▁the", "in", "▁", "t", "h", "e", "i", "n", "é"} {
		v.Tokens, v.Scores = append(v.Tokens, text), append(v.Scores, -float32(i))
	}
	return v
}

func TestSentenceEncode(t *testing.T) {
	for _, c := range []struct {
		text    string
		prepend bool
		want    []string
	}{
		{"the", true, []string{" the"}},
		{"the", false, []string{"t", "he"}},
		{" the", false, []string{" the"}},
		{"the  thin", true, []string{" the", " ", " t", "h", "in"}},
		{"é", true, []string{" ", "é"}},
		{"ü", true, []string{" ", "\xc3", "\xbc"}},
		{"a\n", false, []string{"a", "\n"}},
		{"</s>the", true, []string{"</s>", " the"}},
		{"\xff", false, []string{"\xff"}},
		{"", true, nil},
	} {
		tok, err := NewSentence(sentence(c.prepend))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, id := range tok.Encode(c.text) {
			got = append(got, string(tok.TokenBytes(id)))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q, prepend %v: got %q, want %q", c.text, c.prepend, got, c.want)
		}
		if !slices.Equal(tok.Prefix(), []int32{1}) {
			t.Errorf("prefix %v, want <s>", tok.Prefix())
		}
	}
}

// TestSentenceJSON: the tokenizer survives its file.
func TestSentenceJSON(t *testing.T) {
	for _, prepend := range []bool{false, true} {
		tok, err := NewSentence(sentence(prepend))
		if err != nil {
			t.Fatal(err)
		}
		data, _ := tok.MarshalJSON()
		again, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		text := "the thin  é ü\n"
		if got, want := again.Encode(text), tok.Encode(text); !slices.Equal(got, want) || again.Hash() != tok.Hash() || again.Decode(got) != text {
			t.Errorf("prepend %v: %v decodes to %q; want %v, %q", prepend, got, again.Decode(got), want, text)
		}
	}
}

// TestMetaspace: in newer files a pre-tokenizer writes the spaces. The wanted tokens are Hugging Face's.
func TestMetaspace(t *testing.T) {
	from, err := NewSentence(sentence(true))
	if err != nil {
		t.Fatal(err)
	}
	const old = `"normalizer": {"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},
 "pre_tokenizer": null`
	with := func(pre string) string {
		return replaceAll(t, string(from.appendJSON(nil)), old, `"normalizer": null, "pre_tokenizer": `+pre)
	}
	for _, c := range []struct {
		scheme, text string
		want         []string
	}{
		{prependFirst, "the", []string{" the"}},
		{prependFirst, " the", []string{" the"}},
		{prependFirst, "▁the", []string{" the"}},
		{prependFirst, "  the", []string{" ", " the"}},
		{prependFirst, "the</s>the", []string{" the", "</s>", "t", "he"}},
		{prependFirst, "</s>the", []string{"</s>", "t", "he"}},
		{prependAlways, "the</s>the</s> the", []string{" the", "</s>", " the", "</s>", " the"}},
	} {
		tok, err := Parse([]byte(with(`{"type":"Metaspace","replacement":"▁","prepend_scheme":"` + c.scheme + `","split":false}`)))
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(tok.appendJSON(nil))
		if err != nil || again.Hash() != tok.Hash() {
			t.Fatalf("it does not survive its file: %v", err)
		}
		for range 2 { // the second time with a used encoder
			var got []string
			for _, id := range tok.Encode(c.text) {
				got = append(got, string(tok.TokenBytes(id)))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s %q: got %q, want %q", c.scheme, c.text, got, c.want)
			}
		}
	}
	for pre, want := range map[string]string{
		`{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"}`:                "pre_tokenizer.split: true is not supported",
		`{"type":"Metaspace","replacement":"_","prepend_scheme":"first","split":false}`:  `pre_tokenizer.replacement: "_"`,
		`{"type":"Metaspace","replacement":"▁","prepend_scheme":"second","split":false}`: `pre_tokenizer.prepend_scheme: "second"`,
		`{"type":"Metaspace","replacement":"▁","prepend_scheme":"never","split":false}`:  "decoder: it does not undo",
	} {
		if _, err := Parse([]byte(with(pre))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", pre, err, want)
		}
	}
}

func TestSentenceRefuses(t *testing.T) {
	for want, edit := range map[string]func(*Sentence){
		"scores":        func(v *Sentence) { v.Scores = v.Scores[1:] },
		"unknown token": func(v *Sentence) { v.Unknown = 9999 },
		"before a text": func(v *Sentence) { v.Prefix = []int32{-1} },
		"UTF-8":         func(v *Sentence) { v.Tokens[5] = "\xff" },
	} {
		v := sentence(true)
		edit(&v)
		if _, err := NewSentence(v); err == nil {
			t.Errorf("no error about %s", want)
		}
	}
}

// FuzzSentence: decoding undoes encoding, in one piece and as a stream.
func FuzzSentence(f *testing.F) {
	for _, s := range []string{"", " ", "the thin", "  é\xff\xc3 </s> the"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, text string, prepend bool) {
		tok, err := NewSentence(sentence(prepend))
		if err != nil {
			t.Fatal(err)
		}
		ids := tok.EncodePlain(text)
		want := text
		if containsMetaspace(want) {
			return // ▁ reads as a space
		}
		d, streamed := tok.NewDecoder(), ""
		for _, id := range ids {
			streamed += d.Write(id)
		}
		streamed += d.Flush()
		if got := tok.Decode(ids); got != want || streamed != want {
			t.Errorf("%q came back as %q, streamed %q", want, got, streamed)
		}
	})
}

func containsMetaspace(s string) bool {
	for _, r := range s {
		if r == metaspace {
			return true
		}
	}
	return false
}
