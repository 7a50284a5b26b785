// Package corpus turns text sources into cached token shards and reads them back as packed batches whose position can be saved and restored.
package corpus

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

// DefaultValidMaxBytes is the most held-out text that Build keeps when Options.ValidMaxBytes is 0.
const DefaultValidMaxBytes = 16 << 20

// Sources says where text comes from. A path is a file, a folder (read recursively, hidden folders left out, in the order
// of the slash-separated path inside it) or a glob of one level. A file's name decides how it is read: .jsonl and .ndjson
// give one document a line, .tar, .tgz and .tzst one document a regular entry, everything else is one document;
// each may also end in .gz or .zst. A .parquet or .arrow file gives one document a row. A folder that holds such files is a Hugging Face dataset, as the hub has
// it or as save_to_disk writes it: its description, the splits beside its train split, and Arrow files that it does not list are not read. Entries of an archive are read like the files of a folder.
type Sources struct {
	Paths     []string
	Include   []string // patterns (path.Match) of the base names taken from folders and archives; empty: all
	TextField string   // field of a JSON line, or column of a Parquet or Arrow file, that holds the text; empty: "text"
	MaxBytes  int64    // stop after the document that reaches this much text; files are then drawn from all over the paths; 0: no limit
}

// Options of Build and Sample.
type Options struct {
	Sources
	ValidFraction float64 // share of the documents held out, chosen by a hash of their content; 0: none
	ValidMaxBytes int64   // most text of held-out documents kept for evaluation; 0: DefaultValidMaxBytes
	CacheDir      string  // empty: mor/corpus in the user's cache folder
	Workers       int     // goroutines that hash and encode; 0: GOMAXPROCS. The result does not depend on it
	Progress      func(Progress)
	Log           *slog.Logger // told why a cached corpus is built again; nil: nobody
}

// Progress of reading: bytes of the files as they lie on the disk, so that Done reaches Total.
type Progress struct {
	Stage       string // "hash" or "encode"
	Done, Total int64
	Documents   int64
}

// Document is one text, or a part of one: a text longer than 1/1024 of all sources (at least 4 KiB, at most 1 MiB) is cut at
// line ends, so that memory stays bounded, a single file can be split into training and held-out text, and no document is
// more than a fraction of the held-out text.
type Document struct {
	Name string // path inside the source; "corpus.jsonl:12", "archive.tar.gz:path/inside"
	Part int    // 0 for the first or only part
	More bool   // the text goes on in the next Document
	Text []byte // valid until the next Document is asked for
}

// Encoder is what Build needs of a tokenizer. Append must take a text's "<|endoftext|>" for ordinary text.
type Encoder struct {
	Append    func(dst []int32, text []byte) []int32 // called from several goroutines at once
	VocabSize int
	EOT       int32  // end-of-text token, put after every document
	Hash      string // identifies what Append does: the cache trusts it; at most 128 bytes
}

// LeftOut counts what was found inside folders and archives but not read.
type LeftOut struct {
	Binary   int64 `json:"binary"`   // files that are not UTF-8 text, or not what their ending says
	Empty    int64 `json:"empty"`    // texts without a byte
	Archives int64 `json:"archives"` // archives, Parquet and Arrow files inside archives
	Shards   int64 `json:"shards"`   // files of a dataset's other splits, and Arrow files that it does not list
}

func (l LeftOut) String() string {
	return fmt.Sprintf("left out: %d binary, %d empty, %d archives inside archives, %d files of other splits", l.Binary, l.Empty, l.Archives, l.Shards)
}

func (s Sources) field() string {
	if s.TextField == "" {
		return "text"
	}
	return s.TextField
}

func (s Sources) check() error {
	if len(s.Paths) == 0 {
		return fmt.Errorf("data: no source named: name files, folders or globs with --data")
	}
	if s.MaxBytes < 0 {
		return fmt.Errorf("data: limit of %d bytes of text: must be 0 (none) or more", s.MaxBytes)
	}
	for _, p := range s.Include {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("data: include pattern %q: %w", p, err)
		}
	}
	return nil
}

func (o Options) check() error {
	if err := o.Sources.check(); err != nil {
		return err
	}
	if math.IsNaN(o.ValidFraction) || o.ValidFraction < 0 || o.ValidFraction >= 1 {
		return fmt.Errorf("data: held-out fraction %v: must be at least 0 and below 1", o.ValidFraction)
	}
	if o.ValidMaxBytes < 0 {
		return fmt.Errorf("data: limit of %d bytes of held-out text: must be 0 (%d) or more", o.ValidMaxBytes, DefaultValidMaxBytes)
	}
	return nil
}

func (o Options) validMax() int64 {
	if o.ValidMaxBytes == 0 {
		return DefaultValidMaxBytes
	}
	return o.ValidMaxBytes
}

func (o Options) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0)
}

func (o Options) progress(p Progress) {
	if o.Progress != nil {
		o.Progress(p)
	}
}

func (o Options) warn(msg string, args ...any) {
	if o.Log != nil {
		o.Log.Warn(msg, args...)
	}
}

func (o Options) cacheDir() (string, error) {
	if o.CacheDir != "" {
		return o.CacheDir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("data: no folder for the token cache: %w; name one", err)
	}
	return filepath.Join(dir, "mor", "corpus"), nil
}

func (e Encoder) check() error {
	switch {
	case e.Append == nil:
		return fmt.Errorf("tokenizer: no encoding function")
	case e.VocabSize < 1 || e.VocabSize > math.MaxInt32:
		return fmt.Errorf("tokenizer: vocabulary of %d tokens: expected 1 to %d", e.VocabSize, math.MaxInt32)
	case e.EOT < 0 || int(e.EOT) >= e.VocabSize:
		return fmt.Errorf("tokenizer: end-of-text token %d: expected 0 to %d", e.EOT, e.VocabSize-1)
	case e.Hash == "" || len(e.Hash) > hashSize || strings.ContainsRune(e.Hash, 0):
		return fmt.Errorf("tokenizer: hash %q: expected 1 to %d bytes without NUL", e.Hash, hashSize)
	}
	return nil
}
