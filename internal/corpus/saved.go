package corpus

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Files in which datasets' save_to_disk says what a folder holds.
const (
	stateName = "state.json"        // of a Dataset
	dictName  = "dataset_dict.json" // of a DatasetDict, which has a folder with a Dataset for each split

	maxAbout = 16 << 20
)

// saved is a folder as datasets' save_to_disk writes it.
type saved struct {
	dir    string   // slash-separated, inside the folder that was asked for
	train  bool     // a DatasetDict with a train split
	shards []string // the Arrow files that a Dataset consists of, nil: a DatasetDict
}

// savedFolders reads the files of root that describe saved datasets. One that cannot be read is an error only where Arrow files lie with it: other programs
// have files of these names, too.
func savedFolders(root string, about []string, all []file) ([]saved, error) {
	var found []saved
	for _, name := range about {
		d := saved{dir: path.Dir(name)}
		read, dict := readState, path.Base(name) == dictName
		if dict {
			read = readDict
		}
		is, err := read(filepath.Join(root, filepath.FromSlash(name)), &d)
		withArrow := func(f file) bool {
			rel, ok := within(d.dir, f.name)
			return ok && isArrow(rel) && (dict || path.Dir(rel) == ".")
		}
		if err != nil && (is || slices.ContainsFunc(all, withArrow)) {
			return nil, err
		}
		if is {
			found = append(found, d)
		}
	}
	return found, nil
}

// readState reads a state.json and checks that the files that it lists are there. is: it describes a Dataset.
func readState(name string, d *saved) (is bool, err error) {
	var state struct {
		Data    *[]struct{ Filename string } `json:"_data_files"`
		Indices []any                        `json:"_indices_data_files"`
		Former  []any                        `json:"_indices_files"`
	}
	if err := readAbout(name, &state); err != nil || state.Data == nil {
		return false, err
	}
	if len(state.Indices)+len(state.Former) > 0 {
		return true, fmt.Errorf("data %q: the rows are chosen by a file of indices, as datasets before 2.0 wrote it: not supported: save the dataset again with a later version", name)
	}
	d.shards = []string{}
	for _, f := range *state.Data {
		if strings.ContainsAny(f.Filename, `/\`) || !isArrow(f.Filename) {
			return true, fmt.Errorf("data %q: _data_files lists %.80q: expected an .arrow file of the same folder", name, f.Filename)
		}
		info, err := os.Stat(filepath.Join(filepath.Dir(name), f.Filename))
		if err != nil || !info.Mode().IsRegular() {
			return true, fmt.Errorf("data %q: _data_files lists %.80q, which is not there: is the dataset complete?", name, f.Filename)
		}
		d.shards = append(d.shards, f.Filename)
	}
	return true, nil
}

// readDict reads a dataset_dict.json and checks that its train split is there. is: it describes a DatasetDict.
func readDict(name string, d *saved) (is bool, err error) {
	var dict struct{ Splits *[]string }
	if err := readAbout(name, &dict); err != nil || dict.Splits == nil {
		return false, err
	}
	if d.train = slices.Contains(*dict.Splits, "train"); !d.train {
		return true, nil
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(name), "train", stateName)); err != nil {
		return true, fmt.Errorf("data %q: splits lists train, but %s is not there: is the dataset complete?", name, "train/"+stateName)
	}
	return true, nil
}

func readAbout(name string, v any) error {
	info, err := os.Stat(name)
	if err == nil && info.Size() > maxAbout {
		err = fmt.Errorf("%d bytes: expected at most %d", info.Size(), maxAbout)
	}
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a file")
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(name)
	}
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("data %q: %w", name, rootCause(err))
	}
	return nil
}

// leavesOut reports whether a file is a shard of another split, or one that the dataset does not list, such as what its map method cached.
func (d *saved) leavesOut(name string) bool {
	rel, ok := within(d.dir, name)
	switch {
	case !ok || !isArrow(rel):
		return false
	case d.shards == nil:
		return d.train && !strings.HasPrefix(rel, "train/")
	}
	return path.Dir(rel) == "." && !slices.Contains(d.shards, rel)
}

// within returns a slash-separated path inside dir.
func within(dir, name string) (rel string, ok bool) {
	if dir == "." {
		return name, true
	}
	return strings.CutPrefix(name, dir+"/")
}
