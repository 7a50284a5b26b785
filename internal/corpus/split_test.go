package corpus

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// texts makes n different documents.
func texts(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("%c/%03d.txt", 'a'+i%7, i)] = strings.Repeat(fmt.Sprintf("document %d\n", i), 1+i%20)
	}
	return files
}

func TestHeldOutBelow(t *testing.T) {
	many := Options{Sources: Sources{Paths: []string{folder(t, texts(500))}}, ValidFraction: 0.1}
	bound, err := heldOutBelow(t.Context(), many)
	if err != nil || bound != uint64(math.Ldexp(0.1, 64)) {
		t.Errorf("bound %d, %v; want a tenth of 2^64", bound, err)
	}
	few := Options{Sources: Sources{Paths: []string{folder(t, map[string]string{"a": "A", "b": "B", "b2": "B"})}}, ValidFraction: 1e-9}
	if bound, err = heldOutBelow(t.Context(), few); err != nil {
		t.Fatal(err)
	}
	ka, _ := keys([]byte("A"))
	kb, _ := keys([]byte("B"))
	if bound != min(ka, kb)+1 {
		t.Errorf("bound %d holds out other than one of %d and %d", bound, ka, kb)
	}
	if bound, err := heldOutBelow(t.Context(), Options{Sources: few.Sources}); bound != 0 || err != nil {
		t.Errorf("fraction 0: bound %d, %v", bound, err)
	}
	same := Options{Sources: Sources{Paths: []string{folder(t, map[string]string{"a": "A", "b": "A"})}}, ValidFraction: 1e-9}
	_, err = heldOutBelow(t.Context(), same)
	wantError(t, err, "too short", "--data")
}

// The picker's choice is the longest run of smallest keys that fits, whatever the order.
func TestPicker(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		n, max := 1+rng.IntN(60), int64(rng.IntN(300))
		docs := make([]picked, n)
		for i := range docs {
			docs[i] = picked{key: uint64(rng.IntN(1000)), seq: int64(i), text: make([]byte, 1+rng.IntN(30))}
		}
		p := newPicker(max)
		for _, i := range rng.Perm(n) {
			p.add(docs[i].key, docs[i].seq, docs[i].text, nil)
		}
		p.trim()
		slices.SortStableFunc(docs, func(a, b picked) int { return int(a.key) - int(b.key) })
		want, size := 0, int64(0)
		for want < n && (want == 0 || size+int64(len(docs[want].text)) <= max) {
			size += int64(len(docs[want].text))
			want++
		}
		ok := len(p.items) == want && p.dropped == int64(n-want)
		for i := 0; ok && i < want; i++ {
			ok = p.items[i].seq == docs[i].seq
		}
		if !ok {
			t.Fatalf("limit %d: picked %d of %d, want %d", max, len(p.items), n, want)
		}
	}
}

func TestSample(t *testing.T) {
	files := texts(500)
	opt := Options{Sources: Sources{Paths: []string{folder(t, files)}}, ValidFraction: 0.2}
	got, err := Sample(t.Context(), opt, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	size, folders := 0, map[int]bool{}
	for _, b := range got {
		size += len(b)
		if k, _ := keys(b); k < 1<<63/5*2 {
			t.Errorf("held-out document %.20q in the sample", b)
		}
		var i int
		fmt.Sscanf(string(b), "document %d", &i)
		folders[i%7] = true
	}
	if size > 10_000 || size < 9_000 || len(folders) != 7 {
		t.Errorf("%d bytes of %d folders", size, len(folders))
	}
	all, err := Sample(t.Context(), opt, 1<<30)
	if err != nil || len(all) < 350 || len(all) > 450 {
		t.Errorf("%d of 500 documents are training text, %v", len(all), err)
	}
	// The order of the paths changes nothing.
	var paths []string
	for _, c := range "gfedcba" {
		paths = append(paths, opt.Paths[0]+"/"+string(c))
	}
	again, err := Sample(t.Context(), Options{Sources: Sources{Paths: paths}, ValidFraction: 0.2}, 10_000)
	if err != nil || !slices.EqualFunc(got, again, func(a, b []byte) bool { return string(a) == string(b) }) {
		t.Errorf("another order of reading gives another sample (%v)", err)
	}
	_, err = Sample(t.Context(), opt, 0)
	wantError(t, err, "sample of 0 bytes")
}

func TestOptionErrors(t *testing.T) {
	src := Sources{Paths: []string{folder(t, map[string]string{"a": "A"})}}
	zero := 0.0
	for _, c := range []struct {
		opt  Options
		want string
	}{
		{Options{}, "no source"},
		{Options{Sources: src, ValidFraction: -0.1}, "-0.1"},
		{Options{Sources: src, ValidFraction: 1}, "below 1"},
		{Options{Sources: src, ValidFraction: zero / zero}, "NaN"},
		{Options{Sources: src, ValidMaxBytes: -1}, "-1 bytes"},
		{Options{Sources: Sources{Paths: src.Paths, MaxBytes: -5}}, "-5 bytes"},
	} {
		c.opt.CacheDir = t.TempDir()
		_, err := Build(t.Context(), c.opt, byteEncoder())
		wantError(t, err, c.want)
		_, err = Sample(t.Context(), c.opt, 1)
		wantError(t, err, c.want)
	}
	for want, change := range map[string]func(*Encoder){
		"no encoding function":  func(e *Encoder) { e.Append = nil },
		"vocabulary of 0":       func(e *Encoder) { e.VocabSize = 0 },
		"end-of-text token 257": func(e *Encoder) { e.EOT = 257 },
		"end-of-text token -1":  func(e *Encoder) { e.EOT = -1 },
		"hash \"\"":             func(e *Encoder) { e.Hash = "" },
		"token 98 for \"a\"": func(e *Encoder) {
			e.VocabSize, e.EOT, e.Append = 98, 0, func(d []int32, _ []byte) []int32 { return append(d, 98) }
		},
		"expected 1 to 128 byte": func(e *Encoder) { e.Hash = strings.Repeat("x", 129) },
	} {
		enc := byteEncoder()
		change(&enc)
		_, err := Build(t.Context(), Options{Sources: src, CacheDir: t.TempDir()}, enc)
		wantError(t, err, want)
	}
}
