package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mor/internal/corpus"
	"mor/internal/token"
)

// tokenizerStats holds the flags of `mor tokenizer stats`.
type tokenizerStats struct {
	sources corpus.Sources
	threads int
	top     int
	json    bool
	bar     progress
}

func newTokenizerStats() *cobra.Command {
	s := &tokenizerStats{}
	cmd := &cobra.Command{
		Use:   "stats TOKENIZER",
		Short: "Describe a tokenizer, and with --data measure it: bytes per token, MB/s, unused tokens",
		Long: `Describe a tokenizer, and with --data measure it on text: tokens, bytes per token, MB/s, which tokens the text uses most and which not at all. MB/s (10^6 bytes) is
that of encoding alone, as mor train encodes: text that is read and unpacked already, on --threads threads.`,
		Example: `  mor tokenizer stats tokenizer.json
  mor tokenizer stats tokenizer.json --data corpus.tar.gz --max-bytes 20000000 --threads 1
  mor tokenizer stats model.gguf --data book.txt --json | jq .bytes_per_token`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return s.run(cmd.Context(), cmd.OutOrStdout(), args[0]) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&s.sources.Paths, "data", nil, "files, folders or globs of text to measure on, as those of mor train")
	f.StringVar(&s.sources.TextField, "text-field", "text", trainUsage["text_field"])
	f.Int64Var(&s.sources.MaxBytes, "max-bytes", 0, trainUsage["max_bytes"])
	f.IntVar(&s.top, "top", 10, "how many of the longest and of the most frequent tokens to list")
	f.BoolVar(&s.json, "json", false, "print one JSON object")
	threadsFlag(cmd, &s.threads)
	return cmd
}

// tokenizerStatistics is what --json prints.
type tokenizerStatistics struct {
	Tokenizer    string         `json:"tokenizer"`
	Kind         string         `json:"kind"`
	Hash         string         `json:"hash"`
	VocabSize    int            `json:"vocab_size"`
	Special      int            `json:"special_tokens"`
	MissingBytes int            `json:"missing_bytes"` // bytes that no token stands for
	Longest      []tokenCount   `json:"longest_tokens"`
	Text         *tokenizedText `json:"text,omitempty"`
}

// tokenizedText is what a tokenizer did to a text.
type tokenizedText struct {
	Documents     int64        `json:"documents"`
	Bytes         int64        `json:"bytes"`
	Tokens        int64        `json:"tokens"`
	BytesPerToken float64      `json:"bytes_per_token"`
	Threads       int          `json:"threads"`
	Seconds       float64      `json:"seconds"` // of encoding alone
	MBPerSecond   float64      `json:"mb_per_second"`
	Unused        int          `json:"unused_tokens"` // special ones do not count
	UnusedIDs     []int32      `json:"unused_ids"`
	Frequent      []tokenCount `json:"frequent_tokens"`

	counts []int64 // by id
}

type tokenCount struct {
	ID    int32  `json:"id"`
	Token string `json:"token"`
	Bytes int    `json:"bytes"`
	Count *int64 `json:"count,omitempty"` // null without a text
}

func (s *tokenizerStats) run(ctx context.Context, out io.Writer, path string) error {
	switch {
	case s.threads < 0:
		return fmt.Errorf("--threads: %d: expected 1 or more, or 0 for one for each CPU", s.threads)
	case s.top < 0:
		return fmt.Errorf("--top: %d: expected 0 or more", s.top)
	case s.threads == 0:
		s.threads = runtime.GOMAXPROCS(0)
	}
	tok, err := openTokenizer(path)
	if err != nil {
		return err
	}
	r := tokenizerStatistics{Tokenizer: path, Kind: tok.String(), Hash: tok.Hash(), VocabSize: tok.VocabSize(), MissingBytes: len(tok.MissingBytes())}
	ids := ordinary(tok)
	for id := range int32(tok.VocabSize()) {
		if tok.IsSpecial(id) {
			r.Special++
		}
	}
	if len(s.sources.Paths) > 0 {
		if r.Text, err = s.measure(ctx, tok); err != nil {
			return err
		}
		r.Text.use(tok, ids, s.top)
	}
	slices.SortStableFunc(ids, func(a, b int32) int { return cmp.Compare(len(tok.TokenBytes(b)), len(tok.TokenBytes(a))) })
	r.Longest = listTokens(tok, ids[:min(s.top, len(ids))], r.Text)
	if s.json {
		return json.NewEncoder(out).Encode(r)
	}
	return r.print(out)
}

// ordinary lists the tokens that are not special.
func ordinary(tok *token.Tokenizer) (ids []int32) {
	for id := range int32(tok.VocabSize()) {
		if tok.TokenBytes(id) != nil && !tok.IsSpecial(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func listTokens(tok *token.Tokenizer, ids []int32, text *tokenizedText) []tokenCount {
	out := []tokenCount{}
	for _, id := range ids {
		t := tokenCount{ID: id, Token: string(tok.TokenBytes(id)), Bytes: len(tok.TokenBytes(id))}
		if text != nil {
			t.Count = &text.counts[id]
		}
		out = append(out, t)
	}
	return out
}

// encodeBatch is how much text is read before it is encoded, so that reading does not count.
const encodeBatch = 32 << 20

// measure reads text and encodes it, in turns.
func (s *tokenizerStats) measure(ctx context.Context, tok *token.Tokenizer) (*tokenizedText, error) {
	t := &tokenizedText{Threads: s.threads, counts: make([]int64, tok.VocabSize()), UnusedIDs: []int32{}}
	var text []byte
	var ends []int
	ids := make([][]int32, s.threads)
	for d, err := range corpus.Documents(ctx, s.sources) {
		if err != nil {
			return nil, err
		}
		text = append(text, d.Text...)
		ends = append(ends, len(text))
		if !d.More {
			t.Documents++
		}
		if len(text) >= encodeBatch {
			t.encode(tok, text, ends, ids)
			text, ends = text[:0], ends[:0]
			s.bar.set("encode", t.Bytes, -1, true)
		}
	}
	t.encode(tok, text, ends, ids)
	s.bar.finish()
	t.BytesPerToken, t.MBPerSecond = float64(t.Bytes)/float64(t.Tokens), float64(t.Bytes)/1e6/t.Seconds
	return t, nil
}

// encode encodes texts that lie one behind the other, with a goroutine for each of ids, where the tokens go.
func (t *tokenizedText) encode(tok *token.Tokenizer, text []byte, ends []int, ids [][]int32) {
	var next atomic.Int64
	var group sync.WaitGroup
	started := time.Now()
	for w := range ids {
		group.Go(func() {
			out := ids[w][:0]
			for i := int(next.Add(1)) - 1; i < len(ends); i = int(next.Add(1)) - 1 {
				start := 0
				if i > 0 {
					start = ends[i-1]
				}
				out = tok.AppendEncodePlain(out, text[start:ends[i]])
			}
			ids[w] = out
		})
	}
	group.Wait()
	t.Seconds += time.Since(started).Seconds()
	t.Bytes += int64(len(text))
	for _, part := range ids {
		t.Tokens += int64(len(part))
		for _, id := range part {
			t.counts[id]++
		}
	}
}

// use says which tokens the text used.
func (t *tokenizedText) use(tok *token.Tokenizer, ids []int32, top int) {
	for _, id := range ids {
		if t.counts[id] == 0 {
			t.UnusedIDs = append(t.UnusedIDs, id)
		}
	}
	t.Unused = len(t.UnusedIDs)
	byCount := slices.Clone(ids)
	slices.SortStableFunc(byCount, func(a, b int32) int { return cmp.Compare(t.counts[b], t.counts[a]) })
	t.Frequent = listTokens(tok, byCount[:min(top, len(ids)-t.Unused)], t)
}

func (r *tokenizerStatistics) print(out io.Writer) error {
	fmt.Fprintf(out, "tokenizer  %s\nhash       %s\n", r.Kind, r.Hash)
	fmt.Fprintf(out, "tokens     %s, of which %s special; %d bytes have no token\n", group(r.VocabSize), group(r.Special), r.MissingBytes)
	if t := r.Text; t != nil {
		fmt.Fprintf(out, "text       %s in %s documents\nencoded    %s tokens, %.3f bytes per token\n", formatSize(t.Bytes), group(t.Documents), group(t.Tokens), t.BytesPerToken)
		fmt.Fprintf(out, "speed      %.1f MB/s, %s tokens/s on %d threads\n", t.MBPerSecond, short(float64(t.Tokens)/t.Seconds), t.Threads)
		fmt.Fprintf(out, "unused     %s tokens, %.1f %%\n", group(t.Unused), 100*ratio(t.Unused, r.VocabSize))
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	table := func(title string, list []tokenCount) {
		if len(list) == 0 {
			return
		}
		fmt.Fprintf(w, "\n%s\tbytes\toccurs\ttoken\n", title)
		for _, c := range list {
			count := "–"
			if c.Count != nil {
				count = group(*c.Count)
			}
			fmt.Fprintf(w, "%d\t%d\t%s\t%s\n", c.ID, c.Bytes, count, abbreviate(c.Token))
		}
	}
	table("longest", r.Longest)
	if r.Text != nil {
		table("most frequent", r.Text.Frequent)
	}
	return w.Flush()
}

// abbreviate shows a token's bytes on one short line.
func abbreviate(text string) string {
	const most = 60
	shown := text
	if len(text) > most {
		shown = strings.ToValidUTF8(text[:most], "")
	}
	quoted := fmt.Sprintf("%q", shown)
	if len(text) > most {
		quoted += "…"
	}
	return quoted
}
