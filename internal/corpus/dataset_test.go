package corpus

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	parquetgo "github.com/parquet-go/parquet-go"

	"mor/internal/format/arrow/arrowtest"
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

// arrowShard returns an Arrow stream with a column of texts.
func arrowShard(texts ...string) string { return string(arrowtest.Stream("text", texts)) }

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
		{"saved", savedFiles("", arrowShard("a", "", arrowtest.Nil, "b"), arrowShard("c")),
			[]string{"data-00000-of-00002.arrow:0=a", "data-00000-of-00002.arrow:3=b", "data-00001-of-00002.arrow:0=c"}},
		{"saved, with caches", join(savedFiles("", arrowShard("a")), map[string]string{"cache-1f.arrow": arrowShard("no"), "more.txt": "text"}),
			[]string{"data-00000-of-00001.arrow:0=a", "more.txt=text"}},
		{"saved dict", join(savedFiles("x/train/", arrowShard("a")), savedFiles("x/weird/", arrowShard("no")), savedFiles("x/test/", arrowShard("no")),
			map[string]string{"x/dataset_dict.json": `{"splits": ["train", "weird", "test"]}`}), []string{"x/train/data-00000-of-00001.arrow:0=a"}},
		{"saved dict without train", join(savedFiles("a/", arrowShard("a")), savedFiles("test/", arrowShard("b")), map[string]string{"dataset_dict.json": `{"splits": ["a", "test"]}`}),
			[]string{"a/data-00000-of-00001.arrow:0=a", "test/data-00000-of-00001.arrow:0=b"}},
		{"another program's state", map[string]string{"state.json": "text", "dataset_dict.json": `{"a": 1}`, "x/y.arrow": arrowShard("a")},
			[]string{"x/y.arrow:0=a"}},
		{"no shards", map[string]string{"state.json": `{"_data": 1}`}, []string{`state.json={"_data": 1}`}},
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

// saved returns the files of a folder as datasets' save_to_disk writes it.
func savedFiles(dir string, shards ...string) map[string]string {
	files, list := map[string]string{dir + "dataset_info.json": "{}"}, []string(nil)
	for i, s := range shards {
		name := fmt.Sprintf("data-%05d-of-%05d.arrow", i, len(shards))
		files[dir+name] = s
		list = append(list, fmt.Sprintf(`{"filename": %q}`, name))
	}
	files[dir+"state.json"] = `{"_data_files": [` + strings.Join(list, ", ") + `], "_split": null}`
	return files
}

func join(all ...map[string]string) map[string]string {
	files := map[string]string{}
	for _, m := range all {
		maps.Copy(files, m)
	}
	return files
}

// TestSavedErrors: what a saved folder says of itself must be true.
func TestSavedErrors(t *testing.T) {
	arrow := arrowShard("a")
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"state.json", `{"_data_files": [{"filename": "b.arrow"}]}`, []string{"state.json", `"b.arrow"`, "is the dataset complete?"}},
		{"state.json", `{"_data_files": [{"filename": "../a.arrow"}]}`, []string{"state.json", `"../a.arrow"`, "of the same folder"}},
		{"state.json", `{"_data_files": [{"filename": "a.arrow"}], "_indices_data_files": [{"filename": "i.arrow"}]}`, []string{"state.json", "indices"}},
		{"state.json", `{"_data_files": [`, []string{"state.json", "unexpected end"}},
		{"state.json", `{"_data_files": 7}`, []string{"state.json", "_data_files"}},
		{"dataset_dict.json", `{"splits": ["train"]}`, []string{"dataset_dict.json", "train/state.json is not there"}},
	} {
		_, err := read(t, Sources{Paths: []string{folder(t, map[string]string{"a.arrow": arrow, c.name: c.text})}})
		wantError(t, err, c.want...)
	}
}

// TestSavedSplits: another split is read where it is named, and the files of those that are not are counted.
func TestSavedSplits(t *testing.T) {
	dir := folder(t, join(savedFiles("train/", arrowShard("a"), arrowShard("b")), savedFiles("test/", arrowShard("c", "d")), map[string]string{
		"dataset_dict.json": `{"splits": ["train", "test"]}`, "train/cache-1.arrow": arrowShard("no")}))
	for path, want := range map[string][]string{
		"": {"a", "b"}, "/test": {"c", "d"}, "/te*": {"c", "d"}, "/test/data-00000-of-00001.arrow": {"c", "d"}, "/*/data-*.arrow": {"c", "d", "a", "b"},
	} {
		d := mustBuild(t, Options{Sources: Sources{Paths: []string{dir + path}}, CacheDir: t.TempDir()}, byteEncoder())
		if diff := cmp.Diff(want, decode(t, d.Train)); diff != "" {
			t.Errorf("%q: %s", path, diff)
		}
		left := LeftOut{}
		if path == "" {
			left.Shards = 2
		}
		if got := d.Manifest.LeftOut; got != left {
			t.Errorf("%q: %s", path, got)
		}
	}
}

// TestBuildFromShards: the rows are documents, the manifest has the file's hash, and progress ends at the files' size.
func TestBuildFromShards(t *testing.T) {
	texts := []string{"one", "two", "three"}
	for name, file := range map[string]string{"a.parquet": shard(t, texts...), "a.arrow": arrowShard(texts...)} {
		var last Progress
		opt := Options{Sources: Sources{Paths: []string{folder(t, map[string]string{name: file}) + "/" + name}}, CacheDir: t.TempDir(),
			Progress: func(p Progress) { last = p }}
		d := mustBuild(t, opt, byteEncoder())
		if diff := cmp.Diff(texts, decode(t, d.Train)); diff != "" {
			t.Error(diff)
		}
		if m := d.Manifest.Sources; len(m) != 1 || m[0].Size != int64(len(file)) || len(m[0].SHA) != 64 {
			t.Errorf("sources %+v", m)
		}
		if last.Done != last.Total || last.Total != int64(len(file)) || last.Documents != 3 {
			t.Errorf("the last progress is %+v", last)
		}
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
		{"data.arrow", "x", "", []string{"data.arrow", "too short for an Arrow stream"}},
		{"data.arrow", arrowShard("a"), "body", []string{"data.arrow", `no column "body"`, "--text-field", `"text"`}},
		{"data.arrow.gz", gz("x"), "", []string{"unpacked on the disk"}},
	} {
		dir := folder(t, map[string]string{c.name: c.text})
		_, err := read(t, Sources{Paths: []string{dir + "/" + c.name}, TextField: c.field})
		wantError(t, err, c.want...)
	}
}
