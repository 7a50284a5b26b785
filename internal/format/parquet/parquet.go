// Package parquet reads a column of text out of a Parquet file, and trusts nothing that the file says of its own sizes.
package parquet

// Why not parquet-go, which the tests write files with: it allocates what a file claims (lists of the footer, runs of levels, pages) before it looks at the
// bytes, and running out of memory is no error that could be contained. A column of text needs little of the format.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
)

const (
	magic = "PAR1"

	maxFooter = 64 << 20
	maxPage   = 1 << 30 // unpacked
	maxValues = 1 << 24 // of a page
	bombSize  = 64 << 20
	bombRatio = 1000 // text packs 3 to 20 times

	headerWindow    = 4 << 10 // read for the header of a page, at first
	maxHeaderWindow = 16 << 20
)

// File is a Parquet file.
type File struct {
	r    io.ReaderAt
	size int64
	meta *metadata
}

// Open reads the footer of a file of size bytes.
func Open(r io.ReaderAt, size int64) (*File, error) {
	if size < 12 {
		return nil, fmt.Errorf("%d bytes: too short for a Parquet file", size)
	}
	var head [4]byte
	var tail [8]byte
	if err := errors.Join(readAt(r, head[:], 0), readAt(r, tail[:], size-8)); err != nil {
		return nil, err
	}
	switch {
	case string(head[:]) == "PARE" || string(tail[4:]) == "PARE":
		return nil, errors.New("an encrypted Parquet file is not supported")
	case string(head[:]) != magic:
		return nil, fmt.Errorf("begins with %q: expected %q, a Parquet file", head[:], magic)
	case string(tail[4:]) != magic:
		return nil, fmt.Errorf("ends with %q: expected %q: is the Parquet file complete?", tail[4:], magic)
	}
	n := int64(binary.LittleEndian.Uint32(tail[:4]))
	if n > size-12 || n > maxFooter {
		return nil, fmt.Errorf("a footer of %d bytes in a file of %d: expected at most %d", n, size, min(size-12, maxFooter))
	}
	footer := make([]byte, n)
	if err := readAt(r, footer, size-8-n); err != nil {
		return nil, err
	}
	meta, err := parseMetadata(footer)
	if err != nil {
		return nil, fmt.Errorf("footer: %w", err)
	}
	if meta.encrypted {
		return nil, errors.New("an encrypted Parquet file is not supported")
	}
	return &File{r, size, meta}, nil
}

// readAt fills p.
func readAt(r io.ReaderAt, p []byte, offset int64) error {
	n, err := r.ReadAt(p, offset)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Rows is how many rows the footer claims.
func (f *File) Rows() int64 { return f.meta.rows }

// Texts yields the text of each row of a column at the top of the schema, nil where it is null; a text is valid until the next. The sequence ends after the
// first error, which names the row group.
func (f *File) Texts(column string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		leaf, optional, err := f.meta.column(column)
		if err != nil {
			yield(nil, err)
			return
		}
		more := func(text []byte) bool { return yield(text, nil) }
		c := &columnReader{f: f, optional: optional, yield: more}
		for i, chunks := range f.meta.groups {
			err := fmt.Errorf("%d columns: expected column %d", len(chunks), leaf)
			if leaf < len(chunks) {
				err = c.chunk(&chunks[leaf])
			}
			if err == errStop {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("row group %d, column %q: %w", i, column, err))
				return
			}
		}
	}
}

// errStop: nobody wants more.
var errStop = errors.New("stop")

// columnReader reads the pages of one column.
type columnReader struct {
	f        *File
	optional bool
	yield    func([]byte) bool

	unpacker
	header     []byte
	packed     []byte
	page       []byte
	words      []byte // of the dictionary
	dictionary [][]byte
	texts      [][]byte
	indices    []uint32
	levels     []uint32
}

// chunk reads the column's part of a row group.
func (c *columnReader) chunk(k *chunk) error {
	start := k.data
	if k.dictionary > 0 && k.dictionary < start {
		start = k.dictionary
	}
	switch {
	case k.elsewhere:
		return errors.New("lies in another file or is encrypted: not supported")
	case start < 4 || k.size < 0 || k.size > c.f.size-start || k.values < 0:
		return fmt.Errorf("%d values in %d bytes at %d: the file has %d", k.values, k.size, start, c.f.size)
	}
	c.dictionary = c.dictionary[:0]
	end := start + k.size
	for left := k.values; left > 0; {
		h, size, err := c.pageHeader(start, end)
		if err != nil {
			return fmt.Errorf("page at byte %d: %w", start, err)
		}
		if err := h.check(end-start-size, left); err != nil {
			return fmt.Errorf("page at byte %d: %w", start, err)
		}
		n, err := c.readPage(&h, k.codec, start+size)
		if err == errStop {
			return err
		}
		if err != nil {
			return fmt.Errorf("page at byte %d: %w", start, err)
		}
		left -= n
		start += size + h.packed
	}
	return nil
}

// pageHeader reads the header at start, whose size is not known before.
func (c *columnReader) pageHeader(start, end int64) (h pageHeader, size int64, err error) {
	for window := int64(headerWindow); ; window *= 8 {
		n := min(window, end-start)
		if n <= 0 {
			return h, 0, errors.New("the pages end before the values do")
		}
		c.header = resize(c.header, int(n))
		if err := readAt(c.f.r, c.header, start); err != nil {
			return h, 0, err
		}
		h, size, err := parsePageHeader(c.header)
		if !errors.Is(err, errShort) || window >= min(end-start, maxHeaderWindow) {
			if err != nil {
				err = fmt.Errorf("header: %w", err)
			}
			return h, int64(size), err
		}
	}
}

// check compares a header with the bytes and the values that are left for it.
func (h *pageHeader) check(bytes, values int64) error {
	switch {
	case h.packed < 0 || h.packed > bytes:
		return fmt.Errorf("%d bytes: %d are left", h.packed, bytes)
	case h.unpacked < 0 || h.unpacked > maxPage || h.unpacked > bombSize && h.unpacked/bombRatio > h.packed:
		return fmt.Errorf("%d bytes that unpack to %d: expected at most %d bytes, and at most %d times as many", h.packed, h.unpacked, maxPage, bombRatio)
	case h.values < 0 || h.values > maxValues:
		return fmt.Errorf("%d values: expected at most %d", h.values, maxValues)
	case (h.kind == pageData || h.kind == pageDataV2) && h.values > values:
		return fmt.Errorf("%d values: %d are left", h.values, values)
	case h.levelBytes < 0 || h.repeatBytes < 0 || h.levelBytes > h.packed || h.repeatBytes > h.packed-h.levelBytes:
		return fmt.Errorf("levels of %d and %d bytes in %d", h.repeatBytes, h.levelBytes, h.packed)
	}
	return nil
}

// readPage hands out the texts of a page and returns how many values it had.
func (c *columnReader) readPage(h *pageHeader, codec, offset int64) (values int64, err error) {
	if h.kind == pageIndex {
		return 0, nil
	}
	if h.kind != pageData && h.kind != pageDataV2 && h.kind != pageDictionary {
		return 0, fmt.Errorf("of the unknown type %d", h.kind)
	}
	c.packed = resize(c.packed, int(h.packed))
	if err := readAt(c.f.r, c.packed, offset); err != nil {
		return 0, err
	}
	switch h.kind {
	case pageDictionary:
		return 0, c.readDictionary(h, codec)
	case pageDataV2:
		err = c.readDataV2(h, codec)
	default:
		err = c.readData(h, codec)
	}
	if err != nil {
		return 0, err
	}
	return h.values, c.deliver(h)
}

func (c *columnReader) readDictionary(h *pageHeader, codec int64) (err error) {
	if h.encoding != encodingPlain && h.encoding != encodingPlainDictionary {
		return fmt.Errorf("a dictionary in encoding %d: expected plain", h.encoding)
	}
	if c.words, err = c.unpack(c.words, c.packed, int(h.unpacked), codec); err != nil {
		return err
	}
	c.dictionary, err = plainTexts(c.dictionary[:0], c.words, int(h.values))
	return err
}

// readData reads a page of the first version: levels and values are packed together.
func (c *columnReader) readData(h *pageHeader, codec int64) (err error) {
	if c.page, err = c.unpack(c.page, c.packed, int(h.unpacked), codec); err != nil {
		return err
	}
	b := c.page
	if !c.optional {
		return c.values(h, b, int(h.values))
	}
	if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
		return errPage
	}
	n := binary.LittleEndian.Uint32(b)
	present, err := c.readLevels(h, b[4:4+n])
	if err != nil {
		return err
	}
	return c.values(h, b[4+n:], present)
}

// readDataV2 reads a page of the second version, whose levels are not packed.
func (c *columnReader) readDataV2(h *pageHeader, codec int64) error {
	levels := h.repeatBytes + h.levelBytes
	if h.uncompressed {
		codec = codecNone
	}
	if h.unpacked < levels {
		return errPage
	}
	var err error
	if c.page, err = c.unpack(c.page, c.packed[levels:], int(h.unpacked-levels), codec); err != nil {
		return err
	}
	present := int(h.values)
	if c.optional {
		if present, err = c.readLevels(h, c.packed[h.repeatBytes:levels]); err != nil {
			return err
		}
	}
	return c.values(h, c.page, present)
}

// readLevels reads whether each value is there, 1, or null, 0.
func (c *columnReader) readLevels(h *pageHeader, b []byte) (present int, err error) {
	c.levels = resize(c.levels, int(h.values))
	if err := hybrid(c.levels, b, 1); err != nil {
		return 0, err
	}
	for _, l := range c.levels {
		present += int(l)
	}
	return present, nil
}

// values reads n texts.
func (c *columnReader) values(h *pageHeader, b []byte, n int) (err error) {
	c.texts = c.texts[:0]
	switch h.encoding {
	case encodingPlain:
		c.texts, err = plainTexts(c.texts, b, n)
	case encodingDeltaLength:
		c.texts, err = deltaLengthTexts(c.texts, b, n)
	case encodingDeltaBytes:
		c.texts, err = deltaTexts(c.texts, b, n, maxPage)
	case encodingDictionary, encodingPlainDictionary:
		return c.fromDictionary(b, n)
	default:
		return fmt.Errorf("encoding %d is not one of text", h.encoding)
	}
	return err
}

// fromDictionary reads n places in the dictionary.
func (c *columnReader) fromDictionary(b []byte, n int) error {
	if n == 0 {
		return nil
	}
	if len(b) == 0 {
		return errPage
	}
	c.indices = resize(c.indices, n)
	if err := hybrid(c.indices, b[1:], int(b[0])); err != nil {
		return err
	}
	for _, i := range c.indices {
		if int64(i) >= int64(len(c.dictionary)) {
			return fmt.Errorf("value %d of a dictionary of %d", i, len(c.dictionary))
		}
		c.texts = append(c.texts, c.dictionary[i])
	}
	return nil
}

// deliver hands out the texts, and nil for each null.
func (c *columnReader) deliver(h *pageHeader) error {
	next := 0
	for i := range int(h.values) {
		var text []byte
		if !c.optional || c.levels[i] == 1 {
			text, next = c.texts[next], next+1
			if text == nil {
				text = []byte{}
			}
		}
		if !c.yield(text) {
			return errStop
		}
	}
	return nil
}

// resize returns n elements, in s where it is large enough; what they hold is not defined.
func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
