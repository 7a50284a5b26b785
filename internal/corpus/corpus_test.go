package corpus

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// byteEncoder has one token a byte and 256 as its end-of-text token.
func byteEncoder() Encoder {
	return Encoder{
		Append: func(dst []int32, text []byte) []int32 {
			for _, c := range text {
				dst = append(dst, int32(c))
			}
			return dst
		},
		VocabSize: 257, EOT: 256, Hash: "bytes",
	}
}

// folder makes a folder of the files.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func gz(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(s))
	w.Close()
	return b.String()
}

func zst(s string) string {
	w, _ := zstd.NewWriter(nil)
	return string(w.EncodeAll([]byte(s), nil))
}

// tarred packs name, text, name, text, ...
func tarred(files ...string) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o755})
	w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "/etc/passwd"})
	for f := range slices.Chunk(files, 2) {
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f[0], Size: int64(len(f[1])), Mode: 0o644})
		w.Write([]byte(f[1]))
	}
	w.Close()
	return b.String()
}

// read collects the documents as "name=text", a part as "name#1+=text" where the plus says that more follows.
func read(t testing.TB, src Sources) ([]string, error) {
	t.Helper()
	var all []string
	for d, err := range Documents(context.Background(), src) {
		if err != nil {
			return all, err
		}
		s := d.Name
		if d.Part > 0 || d.More {
			s += "#" + string(rune('0'+d.Part%10))
		}
		if d.More {
			s += "+"
		}
		all = append(all, s+"="+string(d.Text))
	}
	return all, nil
}

// wantError fails unless err is one line that has all the words.
func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error of several lines: %q", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}
