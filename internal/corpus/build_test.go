package corpus

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func mustBuild(t *testing.T, opt Options, enc Encoder) *Dataset {
	t.Helper()
	d, err := Build(t.Context(), opt, enc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// decode gives the documents of a shard of byteEncoder, each without its end-of-text token.
func decode(t *testing.T, s *Shard) (docs []string) {
	t.Helper()
	size := int64(0)
	for i := range s.Documents {
		start, _ := s.document(i)
		end, text := s.document(i + 1)
		var b []byte
		for at := start; at < end-1; at++ {
			b = append(b, byte(s.token(at)))
		}
		if s.token(end-1) != s.EOT {
			t.Errorf("document %d does not end in an end-of-text token", i)
		}
		docs = append(docs, string(b))
		if size += int64(len(b)); size != text {
			t.Errorf("document %d ends at byte %d, want %d", i, text, size)
		}
	}
	return docs
}

func TestBuild(t *testing.T) {
	files := texts(400)
	files["copy/of.txt"] = files["a/007.txt"]
	opt := Options{Sources: Sources{Paths: []string{folder(t, files)}}, ValidFraction: 0.1, CacheDir: t.TempDir()}
	var last Progress
	opt.Progress = func(p Progress) {
		if p.Stage == last.Stage && p.Done < last.Done || p.Done > p.Total {
			t.Errorf("progress %+v after %+v", p, last)
		}
		last = p
	}
	d := mustBuild(t, opt, byteEncoder())
	train, valid := decode(t, d.Train), decode(t, d.Valid)
	var wantTrain, wantValid []string
	for doc, err := range Documents(t.Context(), opt.Sources) {
		if err != nil {
			t.Fatal(err)
		}
		if k, _ := keys(doc.Text); k < 1<<63/5 {
			wantValid = append(wantValid, string(doc.Text))
		} else {
			wantTrain = append(wantTrain, string(doc.Text))
		}
	}
	if diff := cmp.Diff(wantTrain, train); diff != "" {
		t.Error("training documents:", diff)
	}
	text, err := d.ValidText()
	if err != nil || string(text) != strings.Join(wantValid, "") || int64(len(text)) != d.Valid.Bytes {
		t.Errorf("held-out text of %d bytes, %v", len(text), err)
	}
	if slices.Sort(valid); !slices.Equal(valid, slices.Sorted(slices.Values(wantValid))) || len(valid) < 20 || len(valid) > 60 {
		t.Errorf("%d held-out documents, want %d", len(valid), len(wantValid))
	}
	if last.Stage != "encode" || last.Done != last.Total || last.Documents != 401 {
		t.Errorf("last progress %+v", last)
	}
	m := d.Manifest
	if len(m.Sources) != 401 || m.Sources[0].Name != "a/000.txt" || len(m.Sources[0].SHA) != 64 || m.Tokenizer != "bytes" {
		t.Errorf("manifest: %d sources, first %+v, tokenizer %q", len(m.Sources), m.Sources[0], m.Tokenizer)
	}
}

// The bytes of the cache depend neither on the number of workers nor on where the sources lie.
func TestBuildIsDeterministic(t *testing.T) {
	files := texts(300)
	files["long.txt"] = strings.Repeat("a line that is cut into parts\n", 20_000)
	var want map[string]string
	for _, workers := range []int{1, 2, 7} {
		opt := Options{Sources: Sources{Paths: []string{folder(t, files)}}, ValidFraction: 0.05, CacheDir: t.TempDir(), Workers: workers}
		d := mustBuild(t, opt, byteEncoder())
		got := map[string]string{"key": filepath.Base(d.Dir)}
		for _, name := range []string{trainName, validName, textName} {
			b, err := os.ReadFile(filepath.Join(d.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			got[name] = string(b)
		}
		if want == nil {
			want = got
		}
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("%d workers: another %s", workers, name)
			}
		}
	}
}

// A text cut into parts is one training document, interrupted only where a part of it is held out.
func TestPartsAreOneDocument(t *testing.T) {
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	opt := Options{Sources: Sources{Paths: []string{folder(t, map[string]string{"a.txt": b.String(), "b.txt": "short"})}}, CacheDir: t.TempDir()}
	d := mustBuild(t, opt, byteEncoder())
	if got := decode(t, d.Train); d.Valid != nil || len(got) != 2 || got[0] != b.String() {
		t.Errorf("%d documents, want the 2 files", len(got))
	}
	opt.ValidFraction = 1e-9
	d = mustBuild(t, opt, byteEncoder())
	train, valid := decode(t, d.Train), decode(t, d.Valid)
	if len(valid) != 1 || len(train) > 3 || d.Train.Bytes+d.Valid.Bytes != int64(b.Len()+5) {
		t.Fatalf("%d training and %d held-out documents", len(train), len(valid))
	}
	if strings.Join(train, "\x00") != strings.Replace(b.String(), valid[0], "\x00", 1)+"\x00short" {
		t.Error("the training text is not the text without the part held out")
	}
}

func TestValidMaxBytes(t *testing.T) {
	opt := Options{Sources: Sources{Paths: []string{folder(t, texts(400))}}, ValidFraction: 0.5, ValidMaxBytes: 2000, CacheDir: t.TempDir()}
	d := mustBuild(t, opt, byteEncoder())
	if d.Valid.Bytes > 2000 || d.Valid.Bytes < 1700 || d.Manifest.Unused+d.Valid.Documents+d.Train.Documents != 400 {
		t.Errorf("%d bytes held out, %d documents, %d unused, %d to train on", d.Valid.Bytes, d.Valid.Documents, d.Manifest.Unused, d.Train.Documents)
	}
}

func TestBuildErrors(t *testing.T) {
	opt := Options{Sources: Sources{Paths: []string{folder(t, texts(5))}}, ValidFraction: 0.9999999, CacheDir: t.TempDir()}
	_, err := Build(t.Context(), opt, byteEncoder())
	wantError(t, err, "no text to train on")
	opt.CacheDir = filepath.Join(folder(t, map[string]string{"file": ""}), "file", "cache")
	_, err = Build(t.Context(), opt, byteEncoder())
	wantError(t, err, "token cache", "file")
}

// counted counts the calls of an encoder.
func counted(n *atomic.Int64) Encoder {
	enc := byteEncoder()
	inner := enc.Append
	enc.Append = func(dst []int32, text []byte) []int32 {
		n.Add(1)
		return inner(dst, text)
	}
	return enc
}

func TestCache(t *testing.T) {
	dir := folder(t, texts(50))
	var log bytes.Buffer
	opt := Options{Sources: Sources{Paths: []string{dir}}, ValidFraction: 0.1, CacheDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil))}
	past := time.Now().Add(-time.Hour)
	target := filepath.Join(dir, "a", "000.txt")
	var n atomic.Int64
	var key string
	for _, c := range []struct {
		name    string
		change  func()
		encoded bool
		newKey  bool
	}{
		{"first", func() {}, true, true},
		{"again", func() {}, false, false},
		{"touched", func() { os.Chtimes(target, past, past) }, false, false},
		{"stamps gone", func() { forgetStamps(opt.CacheDir) }, false, false},
		{"stamps not JSON", func() {
			forgetStamps(opt.CacheDir)
			mustBuild(t, opt, byteEncoder())
			m, _ := filepath.Glob(filepath.Join(opt.CacheDir, "stamps-*"))
			os.WriteFile(m[0], []byte("{"), 0o644)
		}, false, false},
		{"same size and time, other text", func() {
			b, _ := os.ReadFile(target)
			b[0] = 'D'
			os.WriteFile(target, b, 0o644)
			os.Chtimes(target, past, past)
		}, true, true},
		{"one file more", func() { os.WriteFile(target+".md", []byte("more"), 0o644) }, true, true},
		{"renamed", func() { os.Rename(target+".md", target+".rst") }, true, true},
		{"other fraction", func() { opt.ValidFraction = 0.2 }, true, true},
	} {
		before := n.Load()
		c.change()
		d := mustBuild(t, opt, counted(&n))
		if encoded := n.Load() > before; encoded != c.encoded {
			t.Errorf("%s: encoded %t, want %t", c.name, encoded, c.encoded)
		}
		if newKey := d.Manifest.Key != key; newKey != c.newKey {
			t.Errorf("%s: new key %t, want %t", c.name, newKey, c.newKey)
		}
		key = d.Manifest.Key
	}
	if log.Len() > 0 {
		t.Errorf("warnings: %s", &log)
	}
}

// A damaged cache is noticed, said and built again.
func TestDamagedCache(t *testing.T) {
	flip := func(path string) {
		b, _ := os.ReadFile(path)
		b[len(b)/2] ^= 4
		os.WriteFile(path, b, 0o644)
	}
	for name, damage := range map[string]func(dir string){
		"train bit":     func(dir string) { flip(filepath.Join(dir, trainName)) },
		"valid bit":     func(dir string) { flip(filepath.Join(dir, validName)) },
		"text bit":      func(dir string) { flip(filepath.Join(dir, textName)) },
		"cut":           func(dir string) { os.Truncate(filepath.Join(dir, trainName), 300) },
		"empty":         func(dir string) { os.Truncate(filepath.Join(dir, trainName), 0) },
		"no shard":      func(dir string) { os.Remove(filepath.Join(dir, validName)) },
		"no text":       func(dir string) { os.Remove(filepath.Join(dir, textName)) },
		"no manifest":   func(dir string) { os.Remove(filepath.Join(dir, manifestName)) },
		"bad manifest":  func(dir string) { os.WriteFile(filepath.Join(dir, manifestName), []byte("{"), 0o644) },
		"other corpus":  func(dir string) { os.WriteFile(filepath.Join(dir, manifestName), []byte(`{"version":1}`), 0o644) },
		"swapped files": func(dir string) { os.Rename(filepath.Join(dir, trainName), filepath.Join(dir, validName)) },
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			opt := Options{Sources: Sources{Paths: []string{folder(t, texts(50))}}, ValidFraction: 0.1, CacheDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&log, nil))}
			d, err := Build(t.Context(), opt, byteEncoder())
			if err != nil {
				t.Fatal(err)
			}
			want := decode(t, d.Train)
			d.Close()
			damage(d.Dir)
			again := mustBuild(t, opt, byteEncoder())
			if !slices.Equal(decode(t, again.Train), want) || !strings.Contains(log.String(), "built again") {
				t.Errorf("log %q", &log)
			}
		})
	}
}

// An interrupted build leaves nothing, and what a killed one left is swept once it is old.
func TestInterruptedBuild(t *testing.T) {
	opt := Options{Sources: Sources{Paths: []string{folder(t, texts(200))}}, ValidFraction: 0.1, CacheDir: t.TempDir(), Workers: 2}
	ctx, cancel := context.WithCancel(t.Context())
	enc := byteEncoder()
	inner := enc.Append
	enc.Append = func(dst []int32, text []byte) []int32 {
		cancel()
		return inner(dst, text)
	}
	if _, err := Build(ctx, opt, enc); err != context.Canceled {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if left, _ := filepath.Glob(filepath.Join(opt.CacheDir, "*")); len(left) != 1 || !strings.Contains(left[0], "stamps-") {
		t.Errorf("left behind: %q", left)
	}
	for name, age := range map[string]time.Duration{"tmp-old": 2 * tempAge, "tmp-new": 0, "other": 2 * tempAge} {
		dir := filepath.Join(opt.CacheDir, name)
		os.MkdirAll(dir, 0o755)
		path := filepath.Join(dir, trainName)
		os.WriteFile(path, nil, 0o644)
		at := time.Now().Add(-age)
		os.Chtimes(path, at, at)
		os.Chtimes(dir, at, at)
	}
	mustBuild(t, opt, byteEncoder())
	for name, want := range map[string]bool{"tmp-old": false, "tmp-new": true, "other": true} {
		if _, err := os.Stat(filepath.Join(opt.CacheDir, name)); (err == nil) != want {
			t.Errorf("%s: there %t, want %t", name, err == nil, want)
		}
	}
}

// A file that changes between hashing and encoding does not get into the cache under the old hash.
func TestSourceChangesMeanwhile(t *testing.T) {
	dir := folder(t, texts(3))
	opt := Options{Sources: Sources{Paths: []string{dir}}, CacheDir: t.TempDir(), Workers: 1}
	opt.Progress = func(p Progress) {
		if p.Stage == "hash" && p.Done == p.Total {
			os.WriteFile(filepath.Join(dir, "a", "000.txt"), []byte("other"), 0o644)
		}
	}
	_, err := Build(t.Context(), opt, byteEncoder())
	wantError(t, err, "000.txt", "changed while it was read")
	opt.Progress = nil
	mustBuild(t, opt, byteEncoder())
}

func TestConcurrentBuilds(t *testing.T) {
	opt := Options{Sources: Sources{Paths: []string{folder(t, texts(100))}}, ValidFraction: 0.1, CacheDir: t.TempDir()}
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() {
			d, err := Build(context.Background(), opt, byteEncoder())
			if err == nil {
				err = d.Close()
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(opt.CacheDir, tempPrefix+"*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestManifestIsReadable(t *testing.T) {
	opt := Options{Sources: Sources{Paths: []string{folder(t, texts(30))}}, ValidFraction: 0.2, CacheDir: t.TempDir()}
	d := mustBuild(t, opt, byteEncoder())
	b, err := os.ReadFile(filepath.Join(d.Dir, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.Manifest, m); diff != "" {
		t.Error(diff)
	}
}
