package token

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestAccessors(t *testing.T) {
	tok := smallTokenizer()
	if tok.VocabSize() != 420 {
		t.Errorf("vocabulary %d, want 420", tok.VocabSize())
	}
	for id := range int32(420) {
		if back, ok := tok.ID(string(tok.TokenBytes(id))); !ok || back != id {
			t.Errorf("ID(TokenBytes(%d)) = %d, %v", id, back, ok)
		}
		if tok.IsSpecial(id) != (id < 3) {
			t.Errorf("IsSpecial(%d) = %v", id, tok.IsSpecial(id))
		}
	}
	for _, id := range []int32{-1, 420, 1 << 30} {
		if tok.TokenBytes(id) != nil || tok.IsSpecial(id) || tok.Decode([]int32{id}) != "" {
			t.Errorf("id %d names a token", id)
		}
	}
	if id, ok := tok.EOT(); !ok || id != 0 {
		t.Errorf("EOT = %d, %v, want 0, true", id, ok)
	}
	if missing := tok.MissingBytes(); missing != nil {
		t.Errorf("missing bytes %v", missing)
	}
}

func TestSpecialTokens(t *testing.T) {
	tok := smallTokenizer()
	const text = "the<|im_start|>the<|im_end|><|im_"
	the, _ := tok.ID("the")
	rest := tok.Encode("<|im_")
	if got, want := tok.Encode(text), append([]int32{the, 1, the, 2}, rest...); !slices.Equal(got, want) {
		t.Errorf("Encode = %v, want %v", got, want)
	}
	plain := tok.EncodePlain(text)
	if slices.ContainsFunc(plain, tok.IsSpecial) || tok.Decode(plain) != text {
		t.Errorf("EncodePlain = %v, %q", plain, tok.Decode(plain))
	}
}

// The wanted tokens follow from the rules in Hugging Face's added_vocabulary.rs.
func TestAddedTokens(t *testing.T) {
	added := func(id, content, flags string) string {
		return `{"id":` + id + `,"content":"` + content + `",` + flags + `}`
	}
	tok := withPre(t, byteLevelWithout, `"added_tokens": [`, `"added_tokens": [`+strings.Join([]string{
		added("420", "[L]", `"single_word":false,"lstrip":true,"rstrip":false,"normalized":false,"special":true`),
		added("421", "[R]", `"single_word":false,"lstrip":false,"rstrip":true,"normalized":false,"special":true`),
		added("422", "[R]x", `"single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":false`),
		added("423", "one", `"single_word":true,"lstrip":false,"rstrip":false,"normalized":true,"special":false`),
		added("424", "L]", `"single_word":false,"lstrip":false,"rstrip":false,"normalized":true,"special":false`),
	}, ",")+",")
	for _, c := range []struct{ text, want string }{
		{"a \n[L] b", "a|#420| b"},
		{"a [R] \u3000b", "a |#421|b"},
		{"[R]x[R]", "#422|#421"},
		{"one onesie é_one.one", "#423| onesie é_one.|#423"},
		{"[L]L]", "#420|#424"},
		{"[R] [L]", "#421|#420"},
	} {
		var want []int32
		for part := range strings.SplitSeq(c.want, "|") {
			if id, ok := strings.CutPrefix(part, "#"); ok {
				want = append(want, 400+int32(id[1]-'0')*10+int32(id[2]-'0'))
			} else {
				want = append(want, tok.appendText(newEncoder(), nil, []byte(part))...)
			}
		}
		if got := tok.Encode(c.text); !slices.Equal(got, want) {
			t.Errorf("Encode(%q) = %v, want %v (%s)", c.text, got, want, c.want)
		}
	}
}

func TestPrefixSpace(t *testing.T) {
	tok := withPre(t, `{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}`)
	for text, want := range map[string]string{"": "", "the": " the", " the": " the", "the<|im_end|>the": " the<|im_end|> the"} {
		if got := tok.Decode(tok.Encode(text)); got != want {
			t.Errorf("Encode(%q) decodes to %q, want %q", text, got, want)
		}
	}
}

func TestUnknownBytes(t *testing.T) {
	without := []string{`"!": 3,`, ``} // nothing merges with "!"
	dropping := withPre(t, byteLevelWithout, without...)
	unknown := withPre(t, byteLevelWithout, append(without, `"unk_token": null`, `"unk_token": "<|im_end|>"`)...)
	fused := withPre(t, byteLevelWithout, append(without, `"unk_token": null`, `"unk_token": "<|im_end|>"`, `"fuse_unk": false`, `"fuse_unk": true`)...)
	if missing := dropping.MissingBytes(); string(missing) != "!" {
		t.Fatalf("missing bytes %q, want !", missing)
	}
	for _, c := range []struct {
		tok  *Tokenizer
		want string
	}{{dropping, "qq"}, {unknown, "q<|im_end|><|im_end|>q"}, {fused, "q<|im_end|>q"}} {
		if got := c.tok.Decode(c.tok.Encode("q!!q")); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestIgnoreMerges(t *testing.T) {
	for pre, want := range map[string]string{"gpt-2": "ab|c", "llama-bpe": "abc"} {
		v := Vocab{Pre: pre, Merges: []string{"a b"}}
		for _, r := range byteRunes {
			v.Tokens = append(v.Tokens, string(r))
		}
		v.Tokens = append(v.Tokens, "ab", "abc")
		tok, err := New(v)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, id := range tok.Encode("abc") {
			got = append(got, string(tok.TokenBytes(id)))
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%s: %q, want %s", pre, got, want)
		}
	}
}

func TestDecoderNeverSplits(t *testing.T) {
	tok := smallTokenizer()
	d := tok.NewDecoder()
	for _, c := range []struct {
		text string
		want []string // what each byte releases, then what Flush does
	}{
		{"é", []string{"", "é", ""}},
		{"🙂a", []string{"", "", "", "🙂", "a", ""}},
		{"\xffa", []string{"\xff", "a", ""}},
		{"\xf0\x9f", []string{"", "", "\xf0\x9f"}},
		{"\xe2a", []string{"", "\xe2a", ""}},
		{"\xf0\xf0\x9f\x99\x82", []string{"", "\xf0", "", "", "🙂", ""}},
		{"\x80", []string{"\x80", ""}},
	} {
		var got []string
		for _, b := range []byte(c.text) {
			got = append(got, d.Write(tok.byteIDs[b]))
		}
		if got = append(got, d.Flush()); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

// Any bytes come back, in one piece and streamed, with warm caches and cold ones, by both ways of merging.
func FuzzRoundTrip(f *testing.F) {
	for _, seed := range []string{"", " ", sample, "\xff\xfe\x00a", "<|endoftext|>", strings.Repeat("the", 40), "a\xc3", "\xe2\x80\xe2\x80\x8d"} {
		f.Add([]byte(seed))
	}
	tok := smallTokenizer()
	f.Fuzz(func(t *testing.T, text []byte) {
		ids := tok.AppendEncode(nil, text)
		if got := tok.AppendDecode(nil, ids); string(got) != string(text) {
			t.Fatalf("decoded %q, want %q", got, text)
		}
		if cold := tok.appendPass(newEncoder(), nil, text, &tok.added, 0); !slices.Equal(cold, ids) {
			t.Fatalf("the cache changes the tokens of %q: %v, without %v", text, ids, cold)
		}
		plain := tok.EncodePlain(string(text))
		if tok.Decode(plain) != string(text) || slices.ContainsFunc(plain, tok.IsSpecial) {
			t.Fatalf("EncodePlain(%q) = %v", text, plain)
		}
		d := tok.NewDecoder()
		var streamed strings.Builder
		for _, id := range ids {
			streamed.WriteString(d.Write(id))
		}
		if streamed.WriteString(d.Flush()); streamed.String() != string(text) {
			t.Fatalf("streamed %q, want %q", streamed.String(), text)
		}
		short := tok.appendSymbols(nil, text[:min(len(text), shortPiece)])
		long := slices.Clone(short)
		short = short[:mergeShort(&tok.merges, short)]
		if long = long[:newEncoder().mergeLong(&tok.merges, long)]; !slices.Equal(short, long) {
			t.Fatalf("%q: merged by scanning %v, by a heap %v", text, short, long)
		}
	})
}

func TestConcurrent(t *testing.T) {
	tok := smallTokenizer()
	want := tok.Encode(sample)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				if got := tok.Encode(sample); !slices.Equal(got, want) {
					t.Errorf("tokens differ between goroutines")
				}
				_ = tok.Hash()
			}
		})
	}
	group.Wait()
}

func TestNoAllocations(t *testing.T) {
	for name, tok := range map[string]*Tokenizer{
		"scanner": smallTokenizer(),
		"steps":   withPre(t, `{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}`),
	} {
		text := []byte(sample + "<|im_start|>" + strings.Repeat("x", 200))
		e, dst := newEncoder(), make([]int32, 0, len(text))
		allocs := testing.AllocsPerRun(10, func() { dst = tok.appendPass(e, dst[:0], text, &tok.added, 0) })
		if allocs != 0 {
			t.Errorf("%s: %v allocations, want none", name, allocs)
		}
	}
}

// A megabyte without a border takes no more than n log n steps.
func TestLongPiece(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, 1<<20)
	for i := range text {
		text[i] = "the"[r.IntN(3)]
	}
	tok := smallTokenizer()
	if got := tok.AppendDecode(nil, tok.AppendEncode(nil, text)); string(got) != string(text) {
		t.Error("a long piece does not come back")
	}
}

func TestSaveLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokenizer.json")
	if err := smallTokenizer().Save(path); err != nil {
		t.Fatal(err)
	}
	tok, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if tok.Hash() != smallTokenizer().Hash() || !slices.Equal(tok.Encode(sample), smallTokenizer().Encode(sample)) {
		t.Error("the tokenizer changes by saving and loading")
	}
	if _, err := Load(filepath.Join(t.TempDir(), "absent")); err == nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: error %v", err)
	}
}
