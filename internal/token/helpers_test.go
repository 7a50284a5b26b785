package token

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
)

// sample is a little text with much in it.
const sample = `The quick brown fox jumps over the lazy dog; the dog's owner doesn't mind, and they're all the better for it.
	if (x == 0x1F) { return x*1024 + 42; } // 3.14159, 2024-06-01

Über die Brücke, où l'été s'en va, нещо на български, 漢字かな交じり文, कखग, ½ ² ٣, 🚀🙂‍↔️.
the then there these those this that thus   thin   thick  think thing things
`

// smallTokenizer is trained on sample, with three special tokens.
var smallTokenizer = sync.OnceValue(func() *Tokenizer {
	t, err := Train(context.Background(), texts(sample, sample), TrainOptions{
		VocabSize: 420, Special: []string{"<|endoftext|>", "<|im_start|>", "<|im_end|>"}, Workers: 1,
	})
	if err != nil {
		panic(err)
	}
	return t
})

func texts(all ...string) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		var buffer []byte
		for _, text := range all {
			buffer = append(buffer[:0], text...) // the same buffer again, as a reader of files would
			if !yield(buffer) {
				return
			}
		}
	}
}

// withPre returns the small tokenizer with another pre-tokenizer, given as JSON, and other replacements in its file.
func withPre(t testing.TB, pre string, more ...string) *Tokenizer {
	t.Helper()
	old := `{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},` +
		`{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}]}`
	tok, err := Parse([]byte(replaceAll(t, string(smallTokenizer().appendJSON(nil)), append([]string{old, pre}, more...)...)))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// replaceAll replaces pairs of old and new, each of which must occur.
func replaceAll(t testing.TB, text string, pairs ...string) string {
	t.Helper()
	for pair := range slices.Chunk(pairs, 2) {
		if !strings.Contains(text, pair[0]) {
			t.Fatalf("%q does not occur", pair[0])
		}
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	return text
}

// pieces returns the pre-tokens of a text, joined by "|".
func (t *Tokenizer) pieces(text string) string {
	if t.pre.fast != nil {
		var out [][]byte
		for i := 0; i < len(text); {
			end := t.pre.fast.next(t.pre.fast, []byte(text), i)
			out = append(out, []byte(text[i:end]))
			i = end
		}
		return string(bytes.Join(out, []byte("|")))
	}
	e := newEncoder()
	t.appendText(e, nil, []byte(text))
	var out []string
	for _, s := range e.spans {
		out = append(out, text[s.start:s.end])
	}
	return strings.Join(out, "|")
}

// naiveMerges is the definition of training: count all pairs, merge the best one, again.
func naiveMerges(words map[string]int64, vocab []string, size int, least int64) (merges []mergePair) {
	rows := map[string][]string{}
	for word := range words {
		for _, b := range []byte(word) {
			rows[word] = append(rows[word], string(byteRunes[b]))
		}
	}
	for len(vocab) < size {
		counts := map[[2]int]int64{}
		for word, row := range rows {
			for i := 1; i < len(row); i++ {
				counts[[2]int{slices.Index(vocab, row[i-1]), slices.Index(vocab, row[i])}] += words[word]
			}
		}
		keys := slices.SortedFunc(maps.Keys(counts), func(a, b [2]int) int {
			if counts[a] != counts[b] {
				return int(counts[b] - counts[a])
			}
			return slices.Compare(a[:], b[:])
		})
		if len(keys) == 0 || counts[keys[0]] < least {
			break
		}
		left, right := vocab[keys[0][0]], vocab[keys[0][1]]
		if !slices.Contains(vocab, left+right) {
			vocab = append(vocab, left+right)
		}
		merges = append(merges, mergePair{left, right})
		for word, row := range rows {
			rows[word] = naiveMerge(row, left, right)
		}
	}
	return merges
}

// naiveMerge joins left and right wherever they meet, from left to right.
func naiveMerge(row []string, left, right string) []string {
	var out []string
	for i := 0; i < len(row); i++ {
		if i+1 < len(row) && row[i] == left && row[i+1] == right {
			out = append(out, left+right)
			i++
		} else {
			out = append(out, row[i])
		}
	}
	return out
}
