package safetensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// The files of a model folder's weights, by Hugging Face's names.
const (
	WeightsFile = "model.safetensors"
	IndexFile   = "model.safetensors.index.json"
)

// Shards is the weights of a model folder: model.safetensors, or several files and the index that says which tensor lies in which.
type Shards struct {
	dir   string
	files []*File
	names []string         // of files
	of    map[string]*File // by tensor
}

// OpenShards opens the weights in a folder. Every tensor of every file must be where the index says it is.
func OpenShards(dir string) (*Shards, error) {
	s := &Shards{dir: dir, of: map[string]*File{}}
	path := filepath.Join(dir, IndexFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.open(WeightsFile); err != nil {
			return nil, missingWeights(dir, err)
		}
		for _, tensor := range s.files[0].Names() {
			s.of[tensor] = s.files[0]
		}
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	index, err := parseIndex(data)
	if err == nil {
		err = s.openIndexed(index)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// missingWeights says what a folder has in place of safetensors.
func missingWeights(dir string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		for _, name := range []string{"pytorch_model.bin", "pytorch_model.bin.index.json"} {
			if _, missing := os.Stat(filepath.Join(dir, name)); missing == nil {
				return fmt.Errorf("%s: no %s: the weights are in %s; save them with safe_serialization=True", dir, WeightsFile, name)
			}
		}
	}
	return err
}

func (s *Shards) open(name string) error {
	f, err := Open(filepath.Join(s.dir, name))
	if err != nil {
		return err
	}
	s.files, s.names = append(s.files, f), append(s.names, name)
	return nil
}

// openIndexed opens the files of an index.
func (s *Shards) openIndexed(index map[string]string) error {
	for _, name := range slices.Compact(slices.Sorted(maps.Values(index))) {
		err := s.open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is missing: the index names it as one of %d files", name, len(slices.Compact(slices.Sorted(maps.Values(index)))))
		}
		if err != nil {
			return err
		}
		f := s.files[len(s.files)-1]
		for _, tensor := range f.Names() {
			if index[tensor] != name {
				return fmt.Errorf("tensor %s is in %s, where the index does not have it", tensor, name)
			}
			s.of[tensor] = f
		}
	}
	for _, tensor := range slices.Sorted(maps.Keys(index)) {
		if s.of[tensor] == nil {
			return fmt.Errorf("tensor %s is not in %s, where the index says it is", tensor, index[tensor])
		}
	}
	return nil
}

// parseIndex reads the map from tensors to files.
func parseIndex(data []byte) (map[string]string, error) {
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("not a safetensors index: %w", err)
	}
	if len(index.WeightMap) == 0 {
		return nil, fmt.Errorf("weight_map: missing or empty: expected the file of each tensor")
	}
	for _, tensor := range slices.Sorted(maps.Keys(index.WeightMap)) {
		name := index.WeightMap[tensor]
		if name != filepath.Base(name) || name == "." || name == ".." {
			return nil, fmt.Errorf("weight_map: tensor %s is in %q: expected a file of the same folder", tensor, name)
		}
	}
	return index.WeightMap, nil
}

// Close closes the files.
func (s *Shards) Close() error {
	var err error
	for _, f := range s.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// Files names the files.
func (s *Shards) Files() []string { return s.names }

// Names lists the tensors, file by file.
func (s *Shards) Names() []string {
	var names []string
	for _, f := range s.files {
		names = append(names, f.Names()...)
	}
	return names
}

// Info describes the tensor of that name.
func (s *Shards) Info(name string) (Tensor, bool) {
	f, ok := s.of[name]
	if !ok {
		return Tensor{}, false
	}
	return f.Info(name)
}

// Float32s reads a tensor as File.Float32s does.
func (s *Shards) Float32s(dst []float32, name string) error {
	f, ok := s.of[name]
	if !ok {
		return fmt.Errorf("%s: tensor %q: not in the weights", s.dir, name)
	}
	return f.Float32s(dst, name)
}

// File is the file that a tensor is in, nil where there is none of that name.
func (s *Shards) File(name string) *File { return s.of[name] }

// Metadata is that of the first file, nil where it has none. Treat it as read-only.
func (s *Shards) Metadata() map[string]string { return s.files[0].Metadata() }

// WriteShards writes tensors to a folder: to one file, or, where they take more than limit bytes, to several and their index. A limit of 0 is none. A tensor
// that is larger than the limit has a file of its own.
func WriteShards(dir string, tensors []Source, limit int64, metadata map[string]string) error {
	shards, total := split(tensors, limit)
	index := map[string]string{}
	for i, shard := range shards {
		name := WeightsFile
		if len(shards) > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		}
		for _, t := range shard {
			index[t.Name] = name
		}
		err := create(filepath.Join(dir, name), func(w io.Writer) error { return Write(w, shard, metadata) })
		if err != nil {
			return err
		}
	}
	if len(shards) == 1 {
		return nil
	}
	data, err := json.MarshalIndent(map[string]any{"metadata": map[string]int64{"total_size": total}, "weight_map": index}, "", " ")
	if err != nil {
		return err
	}
	return create(filepath.Join(dir, IndexFile), func(w io.Writer) error { _, err := w.Write(append(data, '\n')); return err })
}

// split cuts tensors, in their order, into files of at most limit bytes.
func split(tensors []Source, limit int64) (shards [][]Source, total int64) {
	shards, used := [][]Source{nil}, int64(0)
	for _, t := range tensors {
		n := t.size()
		if limit > 0 && used > 0 && used+n > limit {
			shards, used = append(shards, nil), 0
		}
		shards[len(shards)-1] = append(shards[len(shards)-1], t)
		used += n
		total += n
	}
	return shards, total
}

// size is how many bytes a tensor takes; one whose size cannot be told is refused when it is written.
func (s *Source) size() int64 {
	n, _ := byteSize(s.DType, s.Shape)
	return n
}

// create writes one file and syncs it.
func create(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := write(f); err != nil {
		return err
	}
	return f.Sync()
}
