package corpus

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	parquetgo "github.com/parquet-go/parquet-go"
)

// shard returns a Parquet file with a column of texts.
func shard(t testing.TB, texts ...string) string {
	t.Helper()
	type row struct {
		N    int    `parquet:"n"`
		Text string `parquet:"text"`
	}
	var b bytes.Buffer
	w := parquetgo.NewGenericWriter[row](&b, parquetgo.Compression(&parquetgo.Snappy))
	for i, text := range texts {
		if _, err := w.Write([]row{{i, text}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestDatasetFolder: of a dataset's folder only the texts of its train split are read.
func TestDatasetFolder(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"hub", map[string]string{
			"README.md": "about", "dataset_infos.json": "{}", "data/train-00000-of-00002.parquet": shard(t, "a", "", "b"),
			"data/train-00001-of-00002.parquet": shard(t, "c"), "data/test-00000-of-00001.parquet": shard(t, "no"),
		}, []string{"data/train-00000-of-00002.parquet:0=a", "data/train-00000-of-00002.parquet:2=b", "data/train-00001-of-00002.parquet:0=c"}},
		{"folders", map[string]string{"train/0000.parquet": shard(t, "a"), "validation/0000.parquet": shard(t, "no"), "more.txt": "text"},
			[]string{"more.txt=text", "train/0000.parquet:0=a"}},
		{"no split", map[string]string{"x/0.parquet": shard(t, "a"), "x/test.parquet": shard(t, "b")}, []string{"x/0.parquet:0=a", "x/test.parquet:0=b"}},
		{"no dataset", map[string]string{"README.md": "text"}, []string{"README.md=text"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := read(t, Sources{Paths: []string{folder(t, c.files)}})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestBuildFromShards: the rows are documents, the manifest has the file's hash, and progress ends at the files' size.
func TestBuildFromShards(t *testing.T) {
	file := shard(t, "one", "two", "three")
	var last Progress
	opt := Options{Sources: Sources{Paths: []string{folder(t, map[string]string{"a.parquet": file}) + "/a.parquet"}}, CacheDir: t.TempDir(),
		Progress: func(p Progress) { last = p }}
	d := mustBuild(t, opt, byteEncoder())
	if diff := cmp.Diff([]string{"one", "two", "three"}, decode(t, d.Train)); diff != "" {
		t.Error(diff)
	}
	if m := d.Manifest.Sources; len(m) != 1 || m[0].Size != int64(len(file)) || len(m[0].SHA) != 64 {
		t.Errorf("sources %+v", m)
	}
	if last.Done != last.Total || last.Total != int64(len(file)) || last.Documents != 3 {
		t.Errorf("the last progress is %+v", last)
	}
}

func TestDatasetErrors(t *testing.T) {
	good := shard(t, "a")
	for _, c := range []struct {
		name, text, field string
		want              []string
	}{
		{"a.parquet", good[:len(good)/2], "", []string{"a.parquet", "is the Parquet file complete?"}},
		{"a.parquet", "text", "", []string{"a.parquet", "too short"}},
		{"a.parquet", good, "body", []string{`no column "body"`, "--text-field", `"text"`}},
		{"a.parquet", good, "n", []string{`column "n" holds no text`}},
		{"a.parquet.gz", gz(good), "", []string{"unpacked on the disk"}},
		{"data.arrow", "x", "", []string{"data.arrow", "to_parquet"}},
	} {
		dir := folder(t, map[string]string{c.name: c.text})
		_, err := read(t, Sources{Paths: []string{dir + "/" + c.name}, TextField: c.field})
		wantError(t, err, c.want...)
	}
}
