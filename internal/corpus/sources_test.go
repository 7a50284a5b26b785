package corpus

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSources(t *testing.T) {
	dir := folder(t, map[string]string{
		"b.txt": "B", "a/z.go": "Z", "a.md": "A", "a/.git/config": "no", ".hidden": "H", "a/b/c.txt": "C", "e.txt": "",
		"bin.dat": "x\x00y", "latin.txt": strings.Repeat("caf\xe9 ", 10), "more/a.md": "M",
	})
	if err := os.Symlink(filepath.Join(dir, "b.txt"), filepath.Join(dir, "link.txt")); err != nil {
		t.Skip(err)
	}
	os.Symlink(dir, filepath.Join(dir, "loop"))
	os.Symlink("nowhere", filepath.Join(dir, "broken"))
	other := filepath.Join(t.TempDir(), "linked")
	os.Symlink(dir, other)
	at := func(names ...string) (paths []string) {
		for _, n := range names {
			paths = append(paths, filepath.Join(dir, n))
		}
		return paths
	}
	whole := []string{".hidden=H", "a.md=A", "a/b/c.txt=C", "a/z.go=Z", "b.txt=B", "link.txt=B", "more/a.md=M"}
	for _, c := range []struct {
		name string
		src  Sources
		want []string
	}{
		{"folder", Sources{Paths: []string{dir}}, whole},
		{"linked folder", Sources{Paths: []string{other}}, whole},
		{"include", Sources{Paths: []string{dir}, Include: []string{"*.go", "*.md"}}, []string{"a.md=A", "a/z.go=Z", "more/a.md=M"}},
		{"files in the order given", Sources{Paths: at("b.txt", "a.md")}, []string{"b.txt=B", "a.md=A"}},
		{"twice", Sources{Paths: at("b.txt", "b.txt", "a/../b.txt")}, []string{"b.txt=B"}},
		{"glob", Sources{Paths: at("*.md")}, []string{"a.md=A"}},
		{"glob over folders", Sources{Paths: at("[am]*")}, []string{"c=C", "z.go=Z", "a.md=A", "a.md=M"}},
		{"glob skips binary", Sources{Paths: at("b*")}, []string{"b.txt=B"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := read(t, c.src)
			if err != nil {
				t.Fatal(err)
			}
			if c.name == "glob over folders" { // the folder comes before the file that sorts after it
				c.want[0] = "b/c.txt=C"
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestSourceErrors(t *testing.T) {
	dir := folder(t, map[string]string{
		"bin.dat": "x\x00y", "latin.txt": strings.Repeat("caf\xe9 ", 10), "empty.txt": "", "sub/e": "", "sub/b": "\x00",
		"cut.txt.gz": gz(strings.Repeat("some text ", 1000))[:50], "not.txt.gz": "plain", "not.txt.zst": "plain", "not.tar": strings.Repeat("plain", 200),
		"cut.zst": zst(strings.Repeat("some text ", 1000))[:20], "cut.tar": tarred("a.txt", strings.Repeat("a", 2000))[:2200],
	})
	os.Mkdir(filepath.Join(dir, "void"), 0o755)
	for _, c := range []struct {
		path string
		want []string
	}{
		{"", []string{"--data"}},
		{"missing.txt", []string{"missing.txt", "no such file", "--data"}},
		{"*.nothing", []string{"*.nothing", "matches no file"}},
		{"**/*.txt", []string{"**", "recursively"}},
		{"void", []string{"void", "no file found"}},
		{"empty.txt", []string{"empty.txt", "no text", "1 empty"}},
		{"sub", []string{"sub", "no text", "2 files", "1 binary, 1 empty"}},
		{"bin.dat", []string{"bin.dat", "not text", "offset 1"}},
		{"latin.txt", []string{"latin.txt", "UTF-8"}},
		{"cut.txt.gz", []string{"cut.txt.gz", "gzip", "unexpected EOF"}},
		{"cut.zst", []string{"cut.zst", "zstd", "unexpected EOF"}},
		{"cut.tar", []string{"cut.tar", "a.txt", "unexpected EOF"}},
		{"not.txt.gz", []string{"not.txt.gz", "no gzip data"}},
		{"not.txt.zst", []string{"not.txt.zst", "no zstd data"}},
		{"not.tar", []string{"not.tar", "invalid tar header"}},
	} {
		t.Run(c.path, func(t *testing.T) {
			src := Sources{}
			if c.path != "" {
				src.Paths = []string{filepath.Join(dir, c.path)}
			}
			_, err := read(t, src)
			wantError(t, err, c.want...)
		})
	}
	_, err := read(t, Sources{Paths: []string{dir}, Include: []string{"[x"}})
	wantError(t, err, "[x", "pattern")
}

// A folder is read past files that are not what their endings say, but never past text that is cut short.
func TestFolderWithBrokenFiles(t *testing.T) {
	dir := folder(t, map[string]string{"a.txt": "A", "b.gz": "plain", "c.tar": strings.Repeat("plain", 200), "d.zst": "x"})
	got, err := read(t, Sources{Paths: []string{dir}})
	if want := []string{"a.txt=A"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	os.WriteFile(filepath.Join(dir, "e.gz"), []byte(gz(strings.Repeat("some text ", 1000))[:50]), 0o644)
	_, err = read(t, Sources{Paths: []string{dir}})
	wantError(t, err, "e.gz", "unexpected EOF")
}

func TestMaxBytesDrawsFromEverywhere(t *testing.T) {
	files := map[string]string{}
	for i := range 400 {
		files[string(rune('a'+i%20))+"/"+string(rune('a'+i/20))+".txt"] = strings.Repeat("x", 100)
	}
	src := Sources{Paths: []string{folder(t, files)}, MaxBytes: 4000}
	got, err := read(t, src)
	if err != nil || len(got) != 40 || !slices.IsSorted(got) {
		t.Fatalf("%d documents, %v; want 40 in order", len(got), err)
	}
	first := map[byte]bool{}
	for _, s := range got {
		first[s[0]] = true
	}
	if len(first) < 10 {
		t.Errorf("text of only %d of 20 folders", len(first))
	}
	one := Sources{Paths: []string{filepath.Join(folder(t, map[string]string{"a.jsonl": strings.Repeat(`{"text":"0123456789"}`+"\n", 100)}), "a.jsonl")}, MaxBytes: 95}
	if got, err := read(t, one); err != nil || len(got) != 10 {
		t.Errorf("%d documents, %v; want the 10 that reach the limit", len(got), err)
	}
}

func TestGoSource(t *testing.T) {
	src, err := GoSource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for d, err := range Documents(t.Context(), src) {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(d.Name, ".go") {
			t.Fatalf("%q is not Go source", d.Name)
		}
		if n++; n == 50 {
			break
		}
	}
	t.Setenv("PATH", "")
	t.Setenv("GOROOT", "")
	_, err = GoSource(t.Context())
	wantError(t, err, "GOROOT", "--data")
	t.Setenv("GOROOT", t.TempDir())
	_, err = GoSource(t.Context())
	wantError(t, err, "no source files", "--data")
}

func TestDocumentsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	src := Sources{Paths: []string{folder(t, map[string]string{"a": "A", "b": "B"})}}
	n := 0
	for _, err := range Documents(ctx, src) {
		if n++; n == 2 && err == nil {
			t.Error("a document after the context was cancelled")
		}
		cancel()
	}
	if n != 2 {
		t.Errorf("%d turns, want a document and an error", n)
	}
}
