package corpus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestContainers(t *testing.T) {
	lines := `{"text":"one","id":1}` + "\n\n" + `{"id":2,"text":"two \u00e9","body":"zwei"}` + "\r\n" + `{"text":""}`
	archive := tarred("d/a.txt", "A", "d/.git/x", "no", "./b.md", "B", "bin", "\x00", "../../etc/c.txt", "C", "l.jsonl", lines, "z.txt.gz", gz("Z"), "in.tar", tarred("x", "X"))
	entries := []string{":d/a.txt=A", ":./b.md=B", ":../../etc/c.txt=C", ":l.jsonl:1=one", ":l.jsonl:3=two é", ":z.txt.gz=Z"}
	for _, c := range []struct {
		name, text, field string
		want              []string
	}{
		{"a.txt", "hello", "", []string{"a.txt=hello"}},
		{"A.TXT.GZ", gz("hello"), "", []string{"A.TXT.GZ=hello"}},
		{"two.gz", gz("hel") + gz("lo"), "", []string{"two.gz=hello"}},
		{"a.md.zst", zst("hello"), "", []string{"a.md.zst=hello"}},
		{"two.zst", zst("hel") + zst("lo"), "", []string{"two.zst=hello"}},
		{"l.jsonl", lines, "", []string{"l.jsonl:1=one", "l.jsonl:3=two é"}},
		{"l.ndjson.gz", gz(lines), "", []string{"l.ndjson.gz:1=one", "l.ndjson.gz:3=two é"}},
		{"l.jsonl.zst", zst(lines), "", []string{"l.jsonl.zst:1=one", "l.jsonl.zst:3=two é"}},
		{"body.jsonl", `{"body":"b","text":7}`, "body", []string{"body.jsonl:1=b"}},
		{"x.tar", archive, "", entries},
		{"x.tgz", gz(archive), "", entries},
		{"x.tar.gz", gz(archive), "", entries},
		{"x.tar.zst", zst(archive), "", entries},
		{"x.tzst", zst(archive), "", entries},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t, map[string]string{c.name: c.text})
			got, err := read(t, Sources{Paths: []string{dir}, TextField: c.field})
			if err != nil {
				t.Fatal(err)
			}
			for i := range c.want {
				if strings.HasPrefix(c.want[i], ":") {
					c.want[i] = c.name + c.want[i]
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			for i := range c.want {
				c.want[i] = strings.TrimPrefix(c.want[i], c.name)
			}
		})
	}
}

func TestJSONLErrors(t *testing.T) {
	good := `{"text":"x"}` + "\n"
	for _, c := range []struct {
		text string
		want []string
	}{
		{good + `{"body":"x"}`, []string{"line 2", `no field "text"`, "--text-field"}},
		{good + good + `{"text":`, []string{"line 3", "one JSON object a line"}},
		{`[1]`, []string{"line 1", "one JSON object a line"}},
		{`{"text":{"a":1}}`, []string{"line 1", `"text"`, "expected a string", "--text-field"}},
		{`{"text":null}`, []string{"line 1", "expected a string"}},
		{`{"text":"` + strings.Repeat("x", maxLine) + `"}`, []string{"line 1", "longer than"}},
	} {
		path := filepath.Join(folder(t, map[string]string{"l.jsonl": c.text}), "l.jsonl")
		_, err := read(t, Sources{Paths: []string{path}})
		wantError(t, err, append(c.want, path)...)
		_, err = read(t, Sources{Paths: []string{filepath.Join(folder(t, map[string]string{"x.tar": tarred("in/l.jsonl", c.text)}), "x.tar")}})
		wantError(t, err, append(c.want, "x.tar", "in/l.jsonl")...)
	}
}

func TestLongTextsAreCut(t *testing.T) {
	var lines, blob strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&lines, "line %d é\n", i)
		blob.WriteString("é")
	}
	for _, c := range []struct {
		name, file, text string
	}{
		{"lines", "a.txt", lines.String()},
		{"no line end", "a.txt", blob.String()},
		{"jsonl", "a.jsonl", lines.String()},
		{"exactly one part", "a.txt", strings.Repeat("x", minPart)},
		{"one byte more", "a.txt", strings.Repeat("x", minPart+1)},
		{"invalid bytes", "a.txt", strings.Repeat("x", minPart-2) + "\xc3\x28\xff\xff" + strings.Repeat("y", minPart)},
	} {
		t.Run(c.name, func(t *testing.T) {
			packed := c.text
			if c.file == "a.jsonl" {
				packed = fmt.Sprintf(`{"text":%q}`, c.text)
			}
			src := Sources{Paths: []string{folder(t, map[string]string{c.file: packed})}}
			var all strings.Builder
			part, more := 0, false
			for d, err := range Documents(t.Context(), src) {
				if err != nil {
					t.Fatal(err)
				}
				if d.Part != part || len(d.Text) == 0 || len(d.Text) > minPart {
					t.Errorf("part %d has number %d and %d bytes", part, d.Part, len(d.Text))
				}
				if d.More && c.name == "lines" && d.Text[len(d.Text)-1] != '\n' || utf8.ValidString(c.text) && !utf8.Valid(d.Text) {
					t.Errorf("part %d ends in %q", part, d.Text[len(d.Text)-5:])
				}
				all.Write(d.Text)
				part, more = part+1, d.More
			}
			if all.String() != c.text || more {
				t.Errorf("the parts are not the text: %d bytes of %d, more %t", all.Len(), len(c.text), more)
			}
			if want := (len(c.text) + minPart - 1) / minPart; part < want || part > want+1 {
				t.Errorf("%d parts, want about %d", part, want)
			}
		})
	}
}

func TestUnpackingBombs(t *testing.T) {
	spaces := strings.Repeat(" ", 96<<20)
	for name, text := range map[string]string{"a.txt.zst": zst(spaces), "a.txt.gz": gz(spaces)} {
		path := filepath.Join(folder(t, map[string]string{name: text}), name)
		_, err := read(t, Sources{Paths: []string{path}})
		wantError(t, err, path, "1000 times")
	}
}

func TestNotText(t *testing.T) {
	for _, c := range []struct {
		text string
		bad  bool
	}{
		{"", false}, {"plain", false}, {"héé", false}, {"a\x00", true}, {"\xff\xfea\x00", true},
		{strings.Repeat("x", 1000) + strings.Repeat("\xff", 10), false}, {strings.Repeat("x", 1000) + strings.Repeat("\xff", 12), true},
		{"cut in a characte\xc3", false}, {"\x89PNG\r\n\x1a\n\xff\xff\xff\xff", true},
	} {
		if why := notText([]byte(c.text)); (why != "") != c.bad {
			t.Errorf("%.20q: %q", c.text, why)
		}
	}
}

// fuzzReader reads b as a file called name and checks what must hold for any bytes.
func fuzzReader(t *testing.T, name string, b string) error {
	n := 0
	r := &reader{ctx: context.Background(), part: 64, buf: make([]byte, 65)}
	r.yield = func(d Document) error {
		if len(d.Text) == 0 || len(d.Text) > 64 {
			t.Errorf("%q part %d has %d bytes", d.Name, d.Part, len(d.Text))
		}
		if n++; n > 1<<16 {
			return errStop
		}
		return nil
	}
	err := r.stream(name, strings.NewReader(b), true, false)
	if err == io.EOF {
		t.Error("the end of the file is not an error")
	}
	return err
}

func FuzzJSONL(f *testing.F) {
	f.Add(`{"text":"one"}` + "\n" + `{"text":"` + strings.Repeat("é", 100) + `"}`)
	f.Add(`{"text":1}`)
	f.Add("\n\n{")
	f.Add(strings.Repeat("[", 20000))
	f.Fuzz(func(t *testing.T, b string) {
		if err := fuzzReader(t, "x.jsonl", b); err != nil && !strings.Contains(err.Error(), "line ") {
			t.Errorf("error without a line: %v", err)
		}
	})
}

func FuzzArchive(f *testing.F) {
	archive := tarred("a.txt", "A", "b.jsonl", `{"text":"b"}`, "c.gz", gz("C"), "d.zst", zst("D"))
	f.Add(archive)
	f.Add(archive[:700])
	f.Add(gz(archive))
	f.Add(zst(archive))
	f.Fuzz(func(t *testing.T, b string) {
		fuzzReader(t, "x.tar", b)
		fuzzReader(t, "x.tgz", b)
		fuzzReader(t, "x.tar.zst", b)
		if err := fuzzReader(t, "x.txt", b); err != nil && !strings.Contains(err.Error(), "not text") && !errors.Is(err, errStop) {
			t.Error(err)
		}
	})
}
