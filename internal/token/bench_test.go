package token

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// openstax returns about limit bytes of plain English, one text a member of the archive.
func openstax(tb testing.TB, limit int) [][]byte {
	tb.Helper()
	f, err := os.Open(sharedFile(tb, "text", "openstax.tar.gz"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	var texts [][]byte
	for archive := tar.NewReader(z); limit > 0; {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			tb.Fatal(err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(archive, int64(limit)))
		if err != nil {
			tb.Fatal(err)
		}
		texts = append(texts, text)
		limit -= len(text)
	}
	return texts
}

func totalBytes(texts [][]byte) (n int64) {
	for _, text := range texts {
		n += int64(len(text))
	}
	return n
}

// BenchmarkEncode encodes 20 MB of English in pieces of 100 kB with SmolLM2's tokenizer, on one and on all cores.
func BenchmarkEncode(b *testing.B) {
	tok := loadShared(b, "tokenizers", "smollm2", "tokenizer.json")
	var pieces [][]byte
	for _, text := range openstax(b, 20e6) {
		pieces = slices.AppendSeq(pieces, slices.Chunk(text, 100_000))
	}
	for _, workers := range []int{1, runtime.NumCPU()} {
		b.Run(strconv.Itoa(workers), func(b *testing.B) {
			b.SetBytes(totalBytes(pieces))
			b.ReportAllocs()
			var tokens [64]int
			for b.Loop() {
				var group sync.WaitGroup
				for w := range workers {
					group.Go(func() {
						ids := make([]int32, 0, 100_000)
						n := 0
						for i := w; i < len(pieces); i += workers {
							ids = tok.AppendEncode(ids[:0], pieces[i])
							n += len(ids)
						}
						tokens[w] = n
					})
				}
				group.Wait()
			}
			n := 0
			for _, t := range tokens {
				n += t
			}
			b.ReportMetric(float64(n), "tokens")
		})
	}
}

// BenchmarkTrain trains on 20 MB of English, on one and on all cores.
func BenchmarkTrain(b *testing.B) {
	texts := openstax(b, 20e6)
	for _, vocab := range []int{8192, 32768} {
		for _, workers := range []int{1, runtime.NumCPU()} {
			b.Run(strconv.Itoa(vocab)+"/"+strconv.Itoa(workers), func(b *testing.B) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(workers))
				b.SetBytes(totalBytes(texts))
				for b.Loop() {
					if _, err := Train(context.Background(), slices.Values(texts), TrainOptions{VocabSize: vocab, Workers: workers}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	data, err := os.ReadFile(sharedFile(b, "tokenizers", "smollm2", "tokenizer.json"))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := Parse(data); err != nil {
			b.Fatal(err)
		}
	}
}
