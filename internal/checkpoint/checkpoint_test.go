package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func lock(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func content(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

// save writes a checkpoint of two files; a metric of 0 means none.
func save(t *testing.T, d *Dir, step int, metric float64) string {
	t.Helper()
	w, err := d.Create(step)
	if err != nil {
		t.Fatal(err)
	}
	if metric != 0 {
		if err := w.SetMetric(metric); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"model.safetensors", "trainer.json"} {
		if err := w.File(name, content(fmt.Sprintf("%s of step %d", name, step))); err != nil {
			t.Fatal(err)
		}
	}
	path, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// steps lists what is in a run's directory, complete or not.
func steps(t *testing.T, dir string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "step-*"))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range paths {
		paths[i] = filepath.Base(p)
	}
	return strings.Join(paths, " ")
}

func TestSaveAndOpen(t *testing.T) {
	d := lock(t, filepath.Join(t.TempDir(), "runs", "a"))
	if _, err := Latest(d.path); !errors.Is(err, ErrNone) {
		t.Errorf("Latest of an empty run: %v", err)
	}
	if _, err := Best(d.path); !errors.Is(err, ErrNone) {
		t.Errorf("Best of an empty run: %v", err)
	}
	save(t, d, 9, 2.5)
	path := save(t, d, 1_000_000, 0) // beyond six digits, and without a metric
	latest, err := Latest(d.path)
	if err != nil || latest.Path != path || latest.Step != 1_000_000 || latest.Metric != nil {
		t.Errorf("Latest is %+v (%v), expected %s", latest, err, path)
	}
	if best, err := Best(d.path); err != nil || best.Step != 9 || *best.Metric != 2.5 {
		t.Errorf("Best is %+v (%v), expected step 9", best, err)
	}
	c, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"model.safetensors", "trainer.json"}, c.Files()); diff != "" {
		t.Error(diff)
	}
	file, err := c.File("trainer.json")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "trainer.json of step 1000000" {
		t.Errorf("trainer.json is %q (%v)", text, err)
	}
	if _, err := c.File("config.json"); err == nil || !strings.Contains(err.Error(), "has no config.json") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestListIgnoresWhatIsNoCheckpoint(t *testing.T) {
	d := lock(t, t.TempDir())
	save(t, d, 3, 0)
	for _, name := range []string{"step-000004.tmp", "step-5", "step-0000006", "step--00007", "step-", "step-99999999999999999999", "other"} {
		if err := os.Mkdir(filepath.Join(d.path, name), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(d.path, "step-000008"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	list, err := List(d.path)
	if err != nil || len(list) != 1 || list[0].Step != 3 {
		t.Errorf("list is %+v (%v), expected step 3 only", list, err)
	}
	if _, err := List(filepath.Join(d.path, "none")); err == nil {
		t.Error("a missing directory has a list")
	}
}

// Every kind of damage is found, and the error says where, what, and which checkpoint to use instead.
func TestOpenFindsDamage(t *testing.T) {
	overwrite := func(file, text string) func(string) error {
		return func(path string) error { return os.WriteFile(filepath.Join(path, file), []byte(text), 0o666) }
	}
	tests := []struct {
		name, want string
		damage     func(path string) error
	}{
		{"truncated", "step-000030/model.safetensors: damaged: 10 bytes, expected 28;", func(path string) error {
			return os.Truncate(filepath.Join(path, "model.safetensors"), 10)
		}},
		{"changed", "step-000030/trainer.json: damaged: checksum (CRC-32C) is ", overwrite("trainer.json", "trainer.json of step 31")},
		{"file missing", "trainer.json: no such file", func(path string) error { return os.Remove(filepath.Join(path, "trainer.json")) }},
		{"directory for a file", "trainer.json: not a regular file", func(path string) error {
			return errors.Join(os.Remove(filepath.Join(path, "trainer.json")), os.Mkdir(filepath.Join(path, "trainer.json"), 0o777))
		}},
		{"no manifest", "step-000030: no complete checkpoint: ", func(path string) error { return os.Remove(filepath.Join(path, manifestName)) }},
		{"manifest truncated", "step-000030/manifest.json: not valid JSON", func(path string) error {
			return os.Truncate(filepath.Join(path, manifestName), 20)
		}},
		{"manifest of another step", "step-000030/manifest.json: step is 7, expected 30 by the directory's name",
			overwrite(manifestName, `{"version":1,"step":7,"files":[]}`)},
	}
	for _, test := range tests {
		d := lock(t, t.TempDir())
		sound := save(t, d, 10, 0)
		if err := os.Truncate(filepath.Join(save(t, d, 20, 0), "trainer.json"), 3); err != nil { // older, but damaged too
			t.Fatal(err)
		}
		path := save(t, d, 30, 0)
		if err := test.damage(path); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path)
		if err == nil {
			t.Errorf("%s: opens", test.name)
			continue
		}
		msg := filepath.ToSlash(err.Error())
		if !strings.Contains(msg, test.want) || !strings.HasSuffix(msg, "; move it away and use "+filepath.ToSlash(sound)) || strings.Contains(msg, "\n") {
			t.Errorf("%s: error %q, expected %q and the advice to use step 10", test.name, msg, test.want)
		}
	}
}

func TestOpenAdvisesWithoutAnOlderOne(t *testing.T) {
	d := lock(t, t.TempDir())
	path := save(t, d, 10, 0)
	save(t, d, 20, 0)
	moved := filepath.Join(d.path, "mine")
	if err := os.Truncate(filepath.Join(path, "trainer.json"), 3); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.HasSuffix(err.Error(), "no older checkpoint is sound") {
		t.Errorf("error %v", err)
	}
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(moved); err == nil || !strings.HasSuffix(err.Error(), "use another checkpoint") {
		t.Errorf("error %v", err)
	}
}

func TestParseManifestRefuses(t *testing.T) {
	const file = `{"name":"a","size":1,"crc32c":"00000000"}`
	tests := []struct{ text, want string }{
		{``, "not valid JSON"},
		{`[]`, ""},
		{`{"version":2,"step":1,"files":[]}`, "version is 2, expected 1"},
		{`{"version":1,"step":-1,"files":[]}`, "step is -1"},
		{`{"version":1,"step":1,"filez":[]}`, "filez"},
		{`{"version":1,"step":1,"files":[` + file + `,` + file + `]}`, "files[1]: a is there twice"},
		{`{"version":1,"step":1,"files":[{"name":"a","size":-1,"crc32c":""}]}`, "size is -1"},
		{`{"version":1,"step":1,"files":[{"name":"../a","size":1,"crc32c":""}]}`, `"../a" cannot be`},
		{`{"version":1,"step":1,"files":[{"name":"/a","size":1,"crc32c":""}]}`, `"/a" cannot be`},
		{`{"version":1,"step":1,"files":[{"name":"","size":1,"crc32c":""}]}`, `"" cannot be`},
		{`{"version":1,"step":1,"files":[{"name":"..","size":1,"crc32c":""}]}`, `".." cannot be`},
		{`{"version":1,"step":1,"files":[{"name":"manifest.json","size":1,"crc32c":""}]}`, "cannot be"},
		{strings.Repeat(" ", maxManifest+1), "more than"},
	}
	for _, test := range tests {
		if _, err := parseManifest([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.80s: error %v, expected %q", test.text, err, test.want)
		}
	}
}

// What parses stays inside its directory and parses again once written.
func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"version":1,"step":3,"metric":0.5,"files":[{"name":"a","size":1,"crc32c":"00000000"}]}`))
	f.Add([]byte(`{"version":1,"step":0,"files":[]}`))
	f.Add([]byte(`{"version":1,"files":[{"name":"a/b"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseManifest(text)
		if err != nil {
			return
		}
		for _, e := range m.Files {
			if path := filepath.Join("dir", e.Name); filepath.Dir(path) != "dir" {
				t.Fatalf("%q leads to %s", e.Name, path)
			}
		}
		again, err := m.encode()
		if err != nil {
			return // grown beyond the limit by indentation
		}
		if _, err := parseManifest(again); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
	})
}
