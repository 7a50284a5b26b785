package corpus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	formatVersion = 1 // of everything that decides what a cached corpus holds
	trainName     = "train.tokens"
	validName     = "valid.tokens"
	textName      = "valid.txt"
	manifestName  = "manifest.json"
	tempPrefix    = "tmp-"
	tempAge       = time.Hour // a temporary folder not written to for so long was left by a killed process
)

// Manifest says what a cached corpus was made of.
type Manifest struct {
	Version   int            `json:"version"`
	Key       string         `json:"key"` // hash of everything below that decides the content
	Tokenizer string         `json:"tokenizer"`
	VocabSize int            `json:"vocab_size"`
	EOT       int32          `json:"eot"`
	Options   ManifestOption `json:"options"`
	Sources   []SourceFile   `json:"sources"`
	LeftOut   LeftOut        `json:"left_out"`
	Unused    int64          `json:"held_out_unused"` // held-out documents beyond valid_max_bytes
	Train     ShardFile      `json:"train"`
	Valid     *ShardFile     `json:"valid,omitempty"` // nil: nothing was held out
	ValidText *TextFile      `json:"valid_text,omitempty"`
}

// ManifestOption are the options that decide the content.
type ManifestOption struct {
	Include       []string `json:"include,omitempty"`
	TextField     string   `json:"text_field"`
	MaxBytes      int64    `json:"max_bytes"`
	PartBytes     int      `json:"part_bytes"` // longest text of one document
	ValidFraction float64  `json:"valid_fraction"`
	ValidMaxBytes int64    `json:"valid_max_bytes"`
}

// SourceFile is one file that was read.
type SourceFile struct {
	Name  string `json:"name"`
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime"` // ns; not part of the key
	SHA   string `json:"sha256"`
}

// ShardFile describes a token shard.
type ShardFile struct {
	Tokens    int64  `json:"tokens"`
	Bytes     int64  `json:"bytes"`
	Documents int64  `json:"documents"`
	SHA       string `json:"sha256"` // the checksum in the shard's header
}

// TextFile describes a text file.
type TextFile struct {
	Size int64  `json:"size"`
	SHA  string `json:"sha256"`
}

// Dataset is an open corpus.
type Dataset struct {
	Dir      string
	Manifest Manifest
	Train    *Shard
	Valid    *Shard // held-out documents in the order of a hash, so that any prefix is a fair sample; nil: none
}

// Close unmaps the shards.
func (d *Dataset) Close() error {
	err := d.Train.Close()
	if d.Valid != nil {
		err = errors.Join(err, d.Valid.Close())
	}
	return err
}

// ManifestPath is where the manifest lies: the options, and every source with its SHA-256.
func (d *Dataset) ManifestPath() string { return filepath.Join(d.Dir, manifestName) }

// ValidText returns the text of all held-out documents, concatenated in reading order: the same bytes that Valid's tokens stand for.
func (d *Dataset) ValidText() ([]byte, error) {
	if d.Valid == nil {
		return nil, nil
	}
	return os.ReadFile(filepath.Join(d.Dir, textName))
}

// Build returns the corpus of the sources under a tokenizer, from the cache if it is there and sound. Otherwise it is
// built aside and renamed into place, so that an interruption leaves nothing that could be taken for a corpus.
func Build(ctx context.Context, opt Options, enc Encoder) (*Dataset, error) {
	if err := errors.Join(opt.check(), enc.check()); err != nil {
		return nil, err
	}
	root, err := opt.cacheDir()
	if err != nil {
		return nil, err
	}
	files, left, err := opt.files()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o777); err != nil {
		return nil, fmt.Errorf("token cache: %w: choose a folder that can be written", err)
	}
	sweep(root)
	sums, stamps, err := hashFiles(ctx, opt, files, root)
	if err != nil {
		return nil, err
	}
	m := describe(opt, enc, files, stamps)
	m.LeftOut = left
	dir := filepath.Join(root, m.Key)
	d, err := openDataset(dir, m.Key)
	if err == nil {
		return d, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		opt.warn("the cached corpus is not sound and is built again", "error", err)
	}
	if err := buildAside(ctx, opt, enc, files, sums, m, root, dir); err != nil {
		if errors.Is(err, errChanged) {
			forgetStamps(root)
		}
		return nil, err
	}
	return openDataset(dir, m.Key)
}

// describe begins the manifest and names the corpus by everything that decides its content.
func describe(opt Options, enc Encoder, files []file, stamps []stamp) Manifest {
	m := Manifest{
		Version: formatVersion, Tokenizer: enc.Hash, VocabSize: enc.VocabSize, EOT: enc.EOT,
		Options: ManifestOption{opt.Include, opt.field(), opt.MaxBytes, partSize(files), opt.ValidFraction, opt.validMax()},
		Sources: make([]SourceFile, len(files)),
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d %q %d %d %+q %q %d %d %g %d\n", m.Version, m.Tokenizer, m.VocabSize, m.EOT,
		m.Options.Include, m.Options.TextField, m.Options.MaxBytes, m.Options.PartBytes, m.Options.ValidFraction, m.Options.ValidMaxBytes)
	for i, f := range files {
		st := stamps[i]
		m.Sources[i] = SourceFile{Name: f.name, Size: st.Size, Mtime: st.Mtime, SHA: st.SHA}
		fmt.Fprintf(h, "%q %t %d %s\n", f.name, f.named, st.Size, st.SHA)
		if isShard(f.name) {
			fmt.Fprintf(h, "a document a row\n") // unlike in the first corpora of this version
		}
	}
	m.Key = hex.EncodeToString(h.Sum(nil)[:16])
	return m
}

// buildAside builds into a temporary folder and renames it to dir.
func buildAside(ctx context.Context, opt Options, enc Encoder, files []file, sums [][sha256.Size]byte, m Manifest, root, dir string) error {
	tmp, err := os.MkdirTemp(root, tempPrefix)
	if err != nil {
		return fmt.Errorf("token cache: %w", err)
	}
	defer os.RemoveAll(tmp) // nothing is there any more once renamed
	if err := encodeAll(ctx, opt, enc, files, sums, &m, tmp); err != nil {
		return err
	}
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	if err := errors.Join(writeFile(filepath.Join(tmp, manifestName), b), syncDir(tmp)); err != nil {
		return fmt.Errorf("token cache: %w", err)
	}
	if d, err := openDataset(dir, m.Key); err == nil { // another process was faster
		return d.Close()
	}
	if err := errors.Join(os.RemoveAll(dir), os.Rename(tmp, dir), syncDir(root)); err != nil {
		if d, err := openDataset(dir, m.Key); err == nil { // another process was just as fast
			return d.Close()
		}
		return fmt.Errorf("token cache: %w", err)
	}
	return nil
}

// openDataset opens a cached corpus and verifies it against its manifest.
func openDataset(dir, key string) (*Dataset, error) {
	path := filepath.Join(dir, manifestName)
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxJSON {
		return nil, fmt.Errorf("%s: %w: no manifest of usable size", path, ErrCorrupt)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := &Dataset{Dir: dir}
	if err := json.Unmarshal(b, &d.Manifest); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrCorrupt, err)
	}
	m := &d.Manifest
	if m.Version != formatVersion || m.Key != key {
		return nil, fmt.Errorf("%s: %w: version %d and key %q, expected %d and %q", path, ErrCorrupt, m.Version, m.Key, formatVersion, key)
	}
	if d.Train, err = openListed(filepath.Join(dir, trainName), m, &m.Train); err != nil {
		return nil, err
	}
	if m.Valid == nil {
		return d, nil
	}
	if d.Valid, err = openListed(filepath.Join(dir, validName), m, m.Valid); err != nil {
		return nil, errors.Join(err, d.Train.Close())
	}
	if err := checkText(filepath.Join(dir, textName), m.ValidText); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// openListed opens a shard that must be the one that the manifest lists.
func openListed(path string, m *Manifest, want *ShardFile) (*Shard, error) {
	s, err := OpenShard(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: missing", path, ErrCorrupt)
	}
	if err != nil {
		return nil, err
	}
	got := ShardFile{s.Tokens, s.Bytes, s.Documents, hex.EncodeToString(s.sum[:])}
	if got != *want || s.Tokenizer != m.Tokenizer || s.VocabSize != m.VocabSize || s.EOT != m.EOT {
		return nil, errors.Join(fmt.Errorf("%s: %w: not the shard that the manifest lists", path, ErrCorrupt), s.Close())
	}
	return s, nil
}

func checkText(path string, want *TextFile) error {
	sum, err := hashFile(context.Background(), path)
	if err != nil || want == nil || hex.EncodeToString(sum[:]) != want.SHA {
		return fmt.Errorf("%s: %w: not the text that the manifest lists", path, ErrCorrupt)
	}
	return nil
}

// sweep removes what killed processes left behind. It takes only what nobody has written to for an hour.
func sweep(root string) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(root, e.Name())
		if strings.HasPrefix(e.Name(), tempPrefix) && time.Since(lastWrite(path)) > tempAge {
			os.RemoveAll(path)
		}
	}
}

// lastWrite returns when anything in a folder of files was last written.
func lastWrite(path string) time.Time {
	var last time.Time
	filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
		return nil
	})
	return last
}

func forgetStamps(root string) {
	matches, _ := filepath.Glob(filepath.Join(root, "stamps-*.json"))
	for _, m := range matches {
		os.Remove(m)
	}
}
