package corpus

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"mor/internal/format/parquet"
)

const shardExt = ".parquet"

func isShard(name string) bool { return strings.EqualFold(path.Ext(name), shardExt) }

// parquet reads one document a row; rows without text count as empty.
func (r *reader) parquet(f file, in io.ReaderAt) error {
	before := r.done
	p, err := parquet.Open(in, f.size)
	if err != nil {
		return err
	}
	row := int64(0)
	for text, err := range p.Texts(r.src.field()) {
		if err != nil {
			return err
		}
		if err := r.plain(fmt.Sprintf("%s:%d", f.name, row), bytes.NewReader(text), false, false); err != nil {
			return err
		}
		row++
		r.done = before + int64(float64(f.size)*min(1, float64(row)/float64(max(p.Rows(), 1))))
	}
	r.done = before + f.size
	return nil
}

// describing are files about a dataset.
var describing = []string{"README.md", ".gitattributes", "LICENSE", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}

// datasetFiles leaves out of a folder with Parquet files, a dataset as the Hugging Face hub has it, what is no training text: the files that describe it and,
// where shards are named for the train split, those of other splits.
func datasetFiles(all []file) []file {
	if !slices.ContainsFunc(all, func(f file) bool { return isShard(f.name) }) {
		return all
	}
	train := slices.ContainsFunc(all, func(f file) bool { return splitOf(f.name) == "train" })
	return slices.DeleteFunc(all, func(f file) bool {
		split := splitOf(f.name)
		return slices.Contains(describing, path.Base(f.name)) || train && split != "" && split != "train"
	})
}

// splitOf returns the split that a shard belongs to: data/train-00000-of-00002.parquet, validation/0000.parquet, test.parquet. "" where its name tells none.
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
