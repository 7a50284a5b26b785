package corpus

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"

	"mor/internal/format/arrow"
	"mor/internal/format/parquet"
)

// isShard reports whether a file is one of rows: Parquet or Arrow.
func isShard(name string) bool { return strings.EqualFold(path.Ext(name), ".parquet") || isArrow(name) }

func isArrow(name string) bool { return strings.EqualFold(path.Ext(name), ".arrow") }

// shard reads a file of rows.
func (r *reader) shard(f file, in io.ReaderAt) error {
	if isArrow(f.name) {
		a, err := arrow.Open(in, f.size)
		if err != nil {
			return err
		}
		return r.rows(f, a.Texts(r.src.field()), func(int64) int64 { return a.Done() })
	}
	p, err := parquet.Open(in, f.size)
	if err != nil {
		return err
	}
	return r.rows(f, p.Texts(r.src.field()), func(row int64) int64 {
		return int64(float64(f.size) * min(1, float64(row)/float64(max(p.Rows(), 1))))
	})
}

// rows reads one document a row; rows without text count as empty. done tells how many bytes of the file so many rows stand for.
func (r *reader) rows(f file, texts iter.Seq2[[]byte, error], done func(rows int64) int64) error {
	before, row := r.done, int64(0)
	for text, err := range texts {
		if err != nil {
			return err
		}
		if err := r.plain(fmt.Sprintf("%s:%d", f.name, row), bytes.NewReader(text), false, false); err != nil {
			return err
		}
		row++
		r.done = before + done(row)
	}
	r.done = before + f.size
	return nil
}

// describing are files about a dataset.
var describing = []string{"README.md", ".gitattributes", "LICENSE", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}

// datasetFiles leaves out of a folder with shards, a dataset as the Hugging Face hub has it or as save_to_disk writes it, what is no training text: the files
// that describe it, shards that a saved dataset does not list and, where shards are named for the train split, those of other splits.
func datasetFiles(all []file, folders []saved) ([]file, LeftOut) {
	var left LeftOut
	if !slices.ContainsFunc(all, func(f file) bool { return isShard(f.name) }) {
		return all, left
	}
	train := slices.ContainsFunc(all, func(f file) bool { return splitOf(f.name) == "train" })
	all = slices.DeleteFunc(all, func(f file) bool {
		split := splitOf(f.name)
		if train && split != "" && split != "train" || slices.ContainsFunc(folders, func(d saved) bool { return d.leavesOut(f.name) }) {
			left.Shards++
			return true
		}
		return slices.Contains(describing, path.Base(f.name))
	})
	return all, left
}

// splitOf returns the split that a shard belongs to: data/train-00000-of-00002.parquet, validation/0000.parquet,
// test.parquet, train/data-00000-of-00001.arrow. "" where its name tells none.
func splitOf(name string) string {
	if !isShard(name) {
		return ""
	}
	base := strings.ToLower(strings.TrimSuffix(path.Base(name), path.Ext(name)))
	head, _, _ := strings.Cut(base, "-")
	for _, part := range []string{head, strings.ToLower(path.Base(path.Dir(name)))} {
		switch part {
		case "train", "test", "validation":
			return part
		case "valid", "val", "dev":
			return "validation"
		}
	}
	return ""
}
