package token

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// randomText returns words of few letters, so that pairs overlap and tie.
func randomText(seed uint64, n int) string {
	r := rand.New(rand.NewPCG(seed, 1))
	var b strings.Builder
	for range n {
		b.WriteByte("aaabbc  é1"[r.IntN(11)])
	}
	return b.String()
}

func TestTrainMatchesNaive(t *testing.T) {
	for seed := range uint64(6) {
		text := randomText(seed, 400)
		tok, err := Train(context.Background(), texts(text), TrainOptions{VocabSize: 330, MinCount: 1, Pre: "gpt-2"})
		if err != nil {
			t.Fatal(err)
		}
		words := map[string]int64{}
		for word := range strings.SplitSeq(tok.pieces(text), "|") {
			words[word]++
		}
		vocab := []string{"<|endoftext|>"}
		for _, b := range byteOrder() {
			vocab = append(vocab, string(byteRunes[b]))
		}
		if diff := cmp.Diff(naiveMerges(words, vocab, 330, 1), tok.mergeTexts()); diff != "" {
			t.Fatalf("seed %d: merges differ (-naive +got):\n%s", seed, diff)
		}
	}
}

// The result depends neither on the number of workers nor on how the text is cut into batches.
func TestTrainWorkers(t *testing.T) {
	long := strings.Repeat(sample, batchBytes*3/len(sample))
	var parts []string
	for i := range 40 {
		parts = append(parts, randomText(uint64(i), 5000))
	}
	var want string
	for _, workers := range []int{1, 2, 3, 7} {
		tok, err := Train(context.Background(), texts(append(parts, long)...), TrainOptions{VocabSize: 600, Workers: workers})
		if err != nil {
			t.Fatal(err)
		}
		if want == "" {
			want = tok.Hash()
		}
		if tok.Hash() != want {
			t.Errorf("%d workers train another tokenizer than one", workers)
		}
	}
}

func TestCutPoint(t *testing.T) {
	text := []byte(strings.Repeat(sample, 20))
	for _, name := range PreTokenizers() {
		named, err := preByName(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := newPreTokenizer(named.steps())
		if err != nil {
			t.Fatal(err)
		}
		whole, cut := newWordCounts(), newWordCounts()
		whole.addBatch(&batch{text, []int{len(text)}}, p.fast)
		ends := []int{}
		for at := 0; at < len(text); {
			at += cutPoint(text[at:], 100)
			ends = append(ends, at)
		}
		cut.addBatch(&batch{text, ends}, p.fast)
		if diff := cmp.Diff(collect(whole), collect(cut)); diff != "" || len(ends) < 10 {
			t.Errorf("%s: %d cuts change the words:\n%s", name, len(ends), diff)
		}
	}
}

func collect(w *wordCounts) map[string]int64 {
	all := map[string]int64{}
	for word, n := range w.all {
		all[string(word)] = n
	}
	return all
}

func TestTrainSpecial(t *testing.T) {
	tok, err := Train(context.Background(), texts(strings.Repeat("abab ab ", 50)), TrainOptions{
		VocabSize: 270, Special: []string{"ab", "<s>"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := tok.ID("ab"); !ok || id != 0 || !tok.IsSpecial(0) || !tok.IsSpecial(1) || tok.IsSpecial(2) {
		t.Errorf("special tokens: ID(ab) = %d %v, want 0 true", id, ok)
	}
	if ids := tok.EncodePlain("abab ab"); slices.Contains(ids, 0) {
		t.Errorf("EncodePlain = %v: holds the special token 0", ids)
	}
	if got := tok.Decode(tok.EncodePlain("abab ab")); got != "abab ab" {
		t.Errorf("decoded %q", got)
	}
	if tok.VocabSize() >= 270 || tok.VocabSize() < 258 {
		t.Errorf("vocabulary %d: want fewer than 270, there are not so many pairs", tok.VocabSize())
	}
}

func TestTrainErrors(t *testing.T) {
	reason := errors.New("disk on fire")
	stopped, cancel := context.WithCancelCause(context.Background())
	cancel(reason)
	background := context.Background()
	for _, c := range []struct {
		name string
		ctx  context.Context
		text string
		o    TrainOptions
		want string
	}{
		{"too small", background, sample, TrainOptions{VocabSize: 256}, "vocabulary of 256 is too small: expected at least 257"},
		{"too large", background, sample, TrainOptions{VocabSize: 1 << 30}, "too large"},
		{"empty", background, "", TrainOptions{VocabSize: 300}, "texts are empty"},
		{"pre-tokenizer", background, sample, TrainOptions{VocabSize: 300, Pre: "gpt2"}, `pre-tokenizer "gpt2" is none to train with: expected gpt-2`},
		{"special twice", background, sample, TrainOptions{VocabSize: 300, Special: []string{"<s>", "<s>"}}, `"<s>" is given twice`},
		{"special short", background, sample, TrainOptions{VocabSize: 300, Special: []string{"a"}}, `special token "a"`},
		{"workers", background, sample, TrainOptions{VocabSize: 300, Workers: -1}, "-1 workers"},
		{"count", background, sample, TrainOptions{VocabSize: 300, MinCount: -1}, "least count of -1"},
		{"cancelled", stopped, sample, TrainOptions{VocabSize: 300}, "disk on fire"},
	} {
		_, err := Train(c.ctx, texts(c.text), c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

func TestTrainProgress(t *testing.T) {
	var stages []TrainStage
	var last int64
	_, err := Train(context.Background(), texts(sample, sample), TrainOptions{VocabSize: 300, Progress: func(stage TrainStage, done, _ int64) {
		stages, last = append(stages, stage), done
	}})
	if err != nil {
		t.Fatal(err)
	}
	if stages = slices.Compact(stages); !slices.Equal(stages, []TrainStage{Reading, Merging}) || last != 300 {
		t.Errorf("stages %v, at last %d, want reading, merging and 300", stages, last)
	}
}
