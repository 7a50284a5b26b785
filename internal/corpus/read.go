package corpus

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"os"
	"path"
	"strings"
	"unicode/utf8"
)

const (
	minPart = 4 << 10  // shortest part that a text is cut into
	maxPart = 1 << 20  // longest document; longer texts are cut into parts
	maxLine = 64 << 20 // longest line of a .jsonl file
)

// errStop ends the reading early without being an error.
var errStop = errors.New("stop")

// reader walks through files and hands out their documents.
type reader struct {
	ctx   context.Context
	src   Sources
	part  int // longest text of one document
	done  int64
	text  int64
	left  LeftOut
	buf   []byte // [part+1] text being cut
	yield func(Document) error
}

// Documents streams the documents of the sources in a fixed order; memory is bounded by the longest part (1 MiB) and the
// longest JSON line (64 MiB, longer is an error). The sequence ends after the first error.
func Documents(ctx context.Context, src Sources) iter.Seq2[Document, error] {
	return func(yield func(Document, error) bool) {
		files, left, err := src.files()
		if err == nil {
			r := newReader(ctx, src, files, left, func(d Document) error {
				if !yield(d, nil) {
					return errStop
				}
				return nil
			})
			err = r.all(files, nil)
		}
		if err != nil && err != errStop {
			yield(Document{}, err)
		}
	}
}

func newReader(ctx context.Context, src Sources, files []file, left LeftOut, yield func(Document) error) *reader {
	part := partSize(files)
	return &reader{ctx: ctx, src: src, part: part, left: left, buf: make([]byte, part+1), yield: yield}
}

// partSize is the longest text of one Document.
func partSize(files []file) int {
	return int(min(max(totalSize(files)/1024, minPart), maxPart))
}

// all reads the files; sums, if any, are the SHA-256 that they must have.
func (r *reader) all(files []file, sums [][sha256.Size]byte) error {
	for i, f := range files {
		var sum *[sha256.Size]byte
		if sums != nil {
			sum = &sums[i]
		}
		if err := r.file(f, sum); err == errStop {
			return err
		} else if err != nil {
			return fmt.Errorf("data %q: %w", f.path, err)
		}
	}
	if r.text == 0 {
		return fmt.Errorf("data %s: no text found in %d files (%s): name files or folders of text with --data",
			quoted(r.src.Paths), len(files), r.left)
	}
	return nil
}

func (r *reader) file(f file, sum *[sha256.Size]byte) error {
	in, err := os.Open(f.path)
	if err != nil {
		return rootCause(err)
	}
	defer in.Close()
	raw := &countReader{ctx: r.ctx, in: in, n: &r.done}
	if sum != nil {
		raw.hash = sha256.New()
	}
	if isShard(f.name) {
		err = r.shard(f, in)
		raw.n = new(int64) // counted already
	} else {
		err = r.stream(f.name, raw, f.named, false)
	}
	if err != nil && err != errStop || sum == nil {
		return err
	}
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return err
	}
	if !bytes.Equal(raw.hash.Sum(nil), sum[:]) {
		return errChanged
	}
	return err
}

// errChanged: a file is no longer what it was when its hash was taken.
var errChanged = errors.New("changed while it was read: run again")

// countReader counts and hashes what is read of a file, and stops when the context ends.
type countReader struct {
	ctx  context.Context
	in   io.Reader
	n    *int64
	hash hash.Hash
}

func (c *countReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.in.Read(p)
	*c.n += int64(n)
	if c.hash != nil {
		c.hash.Write(p[:n])
	}
	return n, err
}

// stream reads one file or archive entry as its name says.
func (r *reader) stream(name string, in io.Reader, named, inArchive bool) error {
	base, codec, archive := classify(name)
	if archive && inArchive {
		r.left.Archives++
		return nil
	}
	if codec != "" {
		out, stop, err := decompress(codec, in)
		if errors.Is(err, errNotPacked) && !named {
			r.left.Binary++
			return nil
		}
		if err != nil {
			return err
		}
		defer stop()
		in = out
	}
	switch ext := path.Ext(base); {
	case isShard(base) && named:
		return fmt.Errorf("a %s file must lie unpacked on the disk: it is not read from front to back", ext)
	case isShard(base):
		r.left.Archives++
		return nil
	case archive:
		return r.tar(name, in, named)
	case ext == ".jsonl" || ext == ".ndjson":
		return r.jsonl(name, in)
	}
	return r.plain(name, in, named, true)
}

// classify splits a file's name into the lower-case name without compression, the compression ("gzip", "zstd" or none) and whether it is a tar archive.
func classify(name string) (base, codec string, archive bool) {
	base = strings.ToLower(path.Base(name))
	for _, c := range []struct{ ext, to, codec string }{
		{".tgz", ".tar", "gzip"}, {".tzst", ".tar", "zstd"}, {".gz", "", "gzip"}, {".zst", "", "zstd"},
	} {
		if s, ok := strings.CutSuffix(base, c.ext); ok {
			base, codec = s+c.to, c.codec
			break
		}
	}
	return base, codec, strings.HasSuffix(base, ".tar")
}

// emit hands out one document.
func (r *reader) emit(d Document) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	r.text += int64(len(d.Text))
	if err := r.yield(d); err != nil {
		return err
	}
	if r.src.MaxBytes > 0 && r.text >= r.src.MaxBytes {
		return errStop
	}
	return nil
}

// plain reads one text and cuts it into parts where it is too long.
func (r *reader) plain(name string, in io.Reader, named, sniff bool) error {
	keep, eof := 0, false
	for part := 0; ; part++ {
		n := keep
		if !eof {
			m, err := readFull(in, r.buf[keep:])
			if err != nil && err != io.EOF {
				return err
			}
			n, eof = keep+m, err == io.EOF
		}
		if part == 0 {
			if n == 0 {
				r.left.Empty++
				return nil
			}
			if why := notText(r.buf[:n]); sniff && why != "" {
				if named {
					return fmt.Errorf("not text: %s; --data takes UTF-8 text, .jsonl and .tar, each also .gz or .zst, .parquet and .arrow", why)
				}
				r.left.Binary++
				return nil
			}
		}
		if n <= r.part { // only at the end of the text, for the buffer holds one byte more
			return r.emit(Document{Name: name, Part: part, Text: r.buf[:n]})
		}
		cut := cutPoint(r.buf[:r.part])
		if err := r.emit(Document{Name: name, Part: part, More: true, Text: r.buf[:cut]}); err != nil {
			return err
		}
		keep = copy(r.buf, r.buf[cut:n])
	}
}

// readFull fills p, or returns io.EOF with what there was. Unlike io.ReadFull it tells the end of a file from one that is cut short.
func readFull(in io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = in.Read(p[n:])
		n += m
	}
	if n == len(p) {
		err = nil
	}
	return n, err
}

// cutPoint returns where to cut a text that goes on: after its last line end, else between two characters.
func cutPoint(b []byte) int {
	if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
		return i + 1
	}
	for i := len(b) - 1; i >= len(b)-utf8.UTFMax && i > 0; i-- {
		if utf8.RuneStart(b[i]) {
			if utf8.FullRune(b[i:]) {
				break
			}
			return i
		}
	}
	return len(b)
}

// notText says why b, the beginning of a file, is not UTF-8 text: it has a NUL byte or more than 1 % of invalid bytes.
func notText(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return fmt.Sprintf("NUL byte at offset %d", i)
	}
	if utf8.Valid(b) {
		return ""
	}
	bad := 0
	for i := 0; i < len(b); {
		c, n := utf8.DecodeRune(b[i:])
		if c == utf8.RuneError && n == 1 {
			bad++
		}
		i += n
	}
	if bad > max(len(b)/100, utf8.UTFMax-1) {
		return fmt.Sprintf("%d of the first %d bytes are not valid UTF-8", bad, len(b))
	}
	return ""
}

// jsonl reads one document a line; blank lines are skipped.
func (r *reader) jsonl(name string, in io.Reader) error {
	br := bufio.NewReaderSize(in, 64<<10)
	var long []byte
	for line := 1; ; line++ {
		text, err := readLine(br, &long)
		if err != nil && err != io.EOF {
			return fmt.Errorf("line %d: %w", line, err)
		}
		if len(bytes.TrimSpace(text)) > 0 {
			doc, bad := textField(text, r.src.field())
			if bad != nil {
				return fmt.Errorf("line %d: %w", line, bad)
			}
			if bad := r.plain(fmt.Sprintf("%s:%d", name, line), strings.NewReader(doc), false, false); bad != nil {
				return bad
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// readLine returns the next line, in br's buffer or in long; io.EOF comes with the last one.
func readLine(br *bufio.Reader, long *[]byte) ([]byte, error) {
	text, err := br.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return text, err
	}
	*long = append((*long)[:0], text...)
	for err == bufio.ErrBufferFull {
		if text, err = br.ReadSlice('\n'); len(*long)+len(text) > maxLine {
			return nil, fmt.Errorf("longer than %d bytes: not a JSON Lines file of documents", maxLine)
		}
		*long = append(*long, text...)
	}
	return *long, err
}

// textField returns the string that a JSON object has in field.
func textField(line []byte, field string) (string, error) {
	var obj map[string]json.RawMessage
	if err := json.Unmarshal(line, &obj); err != nil {
		return "", fmt.Errorf("expected one JSON object a line: %w", err)
	}
	raw, ok := obj[field]
	if !ok {
		return "", fmt.Errorf("no field %q: name the field that holds the text with --text-field", field)
	}
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil || text == nil {
		return "", fmt.Errorf("field %q: expected a string, found %.20s: name the field that holds the text with --text-field", field, raw)
	}
	return *text, nil
}
