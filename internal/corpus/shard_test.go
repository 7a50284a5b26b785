package corpus

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// makeShard writes a shard of the documents' tokens; every token stands for one byte.
func makeShard(t testing.TB, enc Encoder, docs ...[]int32) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.tokens")
	w, err := createShard(path, enc)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		w.begin()
		if err := errors.Join(w.add(d, len(d)), w.end()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.finish(); err != nil {
		t.Fatal(err)
	}
	return path
}

func openShard(t testing.TB, path string) *Shard {
	t.Helper()
	s, err := OpenShard(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestShardRoundTrip(t *testing.T) {
	for _, vocab := range []int{300, 1 << 16, 1<<16 + 1, math.MaxInt32} {
		enc := Encoder{VocabSize: vocab, EOT: int32(vocab - 1), Hash: "sha256:abc"}
		docs := [][]int32{{1, 2, 3}, {}, {int32(vocab - 2), 0}, {7}}
		s := openShard(t, makeShard(t, enc, docs...))
		want := ShardInfo{Tokens: 10, Bytes: 6, Documents: 4, VocabSize: vocab, EOT: enc.EOT, Tokenizer: enc.Hash}
		if s.ShardInfo != want {
			t.Errorf("vocabulary %d: %+v, want %+v", vocab, s.ShardInfo, want)
		}
		at, text := int64(0), int64(0)
		for i, d := range docs {
			if a, b := s.document(int64(i)); a != at || b != text {
				t.Errorf("vocabulary %d: document %d at token %d, byte %d; want %d, %d", vocab, i, a, b, at, text)
			}
			for _, id := range append(d[:len(d):len(d)], enc.EOT) {
				if got := s.token(at); got != id {
					t.Errorf("vocabulary %d: token %d is %d, want %d", vocab, at, got, id)
				}
				at++
			}
			text += int64(len(d))
		}
	}
}

// Any flipped bit and any cut is noticed.
func TestShardCorruption(t *testing.T) {
	data, err := os.ReadFile(makeShard(t, byteEncoder(), []int32{1, 2, 3}, []int32{4}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseShard(data); err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(data) {
		data[bit/8] ^= 1 << (bit % 8)
		if _, err := parseShard(data); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("bit %d of byte %d flipped: %v", bit%8, bit/8, err)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
	for n := range data {
		if _, err := parseShard(data[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	if _, err := OpenShard(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) && err == nil {
		t.Error(err)
	}
}

// seal makes the checksum of a shard right, so that only the bounds are left to save the reader.
func seal(data []byte) {
	if len(data) < headerSize {
		return
	}
	h := sha256.New()
	h.Write(data[headerSize:])
	h.Write(data[:sumOffset])
	h.Sum(data[:sumOffset])
}

func TestShardBounds(t *testing.T) {
	path := makeShard(t, byteEncoder(), []int32{1, 2, 3}, []int32{4})
	docs := headerSize + 16 // 6 tokens of 2 bytes, padded
	for name, change := range map[string]func(b []byte){
		"token":          func(b []byte) { binary.LittleEndian.PutUint16(b[headerSize:], 257) },
		"vocabulary":     func(b []byte) { binary.LittleEndian.PutUint32(b[40:], 4) },
		"first document": func(b []byte) { b[docs] = 1 },
		"document order": func(b []byte) { b[docs+entrySize] = 0 },
		"document start": func(b []byte) { b[docs+entrySize] = 6 },
		"bytes":          func(b []byte) { b[docs+entrySize+8] = 5 },
		"negative start": func(b []byte) { b[docs+entrySize+7] = 0x80 },
		"huge count":     func(b []byte) { binary.LittleEndian.PutUint64(b[16:], 1<<63+6) },
		"huge documents": func(b []byte) { binary.LittleEndian.PutUint64(b[32:], 1<<60+2) },
		"version":        func(b []byte) { b[8] = 2 },
		"width":          func(b []byte) { b[12] = 8 },
	} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		change(b)
		seal(b)
		if _, err := parseShard(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzShard(f *testing.F) {
	for _, path := range []string{
		makeShard(f, byteEncoder(), []int32{1, 2, 3}, []int32{4}),
		makeShard(f, Encoder{VocabSize: 1 << 20, EOT: 3, Hash: "h"}, []int32{1 << 19, 2, 3}, nil),
	} {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		seal(b)
		s, err := parseShard(b)
		if err != nil {
			return
		}
		w, err := NewWindows(s, 3, 5)
		if err != nil {
			t.Fatal(err)
		}
		tokens, targets, n := make([]int32, 6), make([]int32, 6), int64(0)
		for {
			rows, _ := w.Next(tokens, targets, nil)
			if rows == 0 {
				break
			}
			n += int64(rows)
			for _, id := range targets[:rows] {
				if id < 0 || int(id) >= s.VocabSize {
					t.Fatalf("token %d of %d", id, s.VocabSize)
				}
			}
		}
		if n != w.Tokens() {
			t.Errorf("%d targets, want %d", n, w.Tokens())
		}
		if l, err := NewLoader(s, 2, 1, Position{}); err == nil {
			l.Next(tokens, targets, nil)
		}
	})
}
