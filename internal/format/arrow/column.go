package arrow

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// maxWords bounds a dictionary.
const maxWords = 1 << 24

// columnReader reads one column out of the messages.
type columnReader struct {
	f *File
	column
	yield func([]byte) bool

	unpacker
	validity   []byte
	offsets    []byte // of the texts, or the places in the dictionary
	data       []byte // of the texts, from byte dataAt of their buffer on
	dataAt     int64
	dictionary [][]byte
	known      bool // the dictionary was there
}

// batch is a column's part of a record batch.
type batch struct {
	rows    int64
	nulls   int64
	codec   int
	buffers [3]span // validity, offsets, bytes; of a coded column validity and places in the dictionary
}

// span is a buffer in the file.
type span struct{ at, size int64 }

// message hands out the texts of a record batch, and keeps those of a dictionary.
func (c *columnReader) message(m *message) error {
	header, _ := m.meta.root().table(2)
	switch m.kind {
	case messageDictionary:
		if !c.coded || header.i64(0) != c.id {
			return m.meta.err
		}
		return c.readDictionary(m, header)
	case messageBatch:
		b, err := findBatch(m, header, c.place, c.coded)
		if err != nil {
			return err
		}
		if c.coded {
			return c.lookUp(&b)
		}
		return c.texts(&b, c.yield)
	}
	return fmt.Errorf("a message of type %d: expected a dictionary (%d) or a record batch (%d)", m.kind, messageDictionary, messageBatch)
}

// findBatch finds a column's buffers in a batch.
func findBatch(m *message, header table, at place, coded bool) (b batch, err error) {
	nodes, buffers, views := header.vector(1, 16), header.vector(2, 16), header.vector(4, 8)
	b.rows = header.i64(0)
	if packed, ok := header.table(3); ok {
		if packed.byte(1) != 0 {
			return b, fmt.Errorf("compression method %d: expected 0, by buffer", packed.byte(1))
		}
		b.codec = codecLZ4 + int(packed.byte(0))
	}
	want, first := len(b.buffers), int64(at.buffers)
	if coded {
		want--
	}
	for i := range min(at.views, views.count) {
		first += min(max(m.meta.i64(views.at+8*i), 0), int64(buffers.count))
	}
	if m.meta.err != nil {
		return b, m.meta.err
	}
	if at.nodes >= nodes.count || at.views > views.count || first > int64(buffers.count-want) {
		return b, fmt.Errorf("%d arrays in %d buffers: expected array %d and buffers %d to %d", nodes.count, buffers.count, at.nodes, first, first+int64(want)-1)
	}
	rows := m.meta.i64(nodes.at + 16*at.nodes)
	b.nulls = m.meta.i64(nodes.at + 16*at.nodes + 8)
	if rows != b.rows || rows < 0 || b.nulls < 0 || b.nulls > rows {
		return b, fmt.Errorf("%d rows, of which %d are null, in a batch of %d", rows, b.nulls, b.rows)
	}
	for i := range want {
		s := span{m.meta.i64(buffers.at + 16*(int(first)+i)), m.meta.i64(buffers.at + 16*(int(first)+i) + 8)}
		if s.at < 0 || s.size < 0 || s.at > m.size || s.size > m.size-s.at {
			return b, fmt.Errorf("a buffer of %d bytes at byte %d of a body of %d", s.size, s.at, m.size)
		}
		b.buffers[i] = span{m.body + s.at, s.size}
	}
	return b, m.meta.err
}

// readDictionary reads the dictionary, or what is added to it.
func (c *columnReader) readDictionary(m *message, header table) error {
	data, _ := header.table(1)
	b, err := findBatch(m, data, place{}, false)
	if err != nil {
		return fmt.Errorf("dictionary: %w", err)
	}
	if delta := header.byte(2) != 0; !delta {
		c.dictionary = nil
	}
	if b.rows > maxWords-int64(len(c.dictionary)) {
		return fmt.Errorf("dictionary: %d texts after %d: expected at most %d", b.rows, len(c.dictionary), maxWords)
	}
	c.known = true
	err = c.texts(&b, func(text []byte) bool {
		c.dictionary = append(c.dictionary, bytes.Clone(text))
		return true
	})
	if err != nil {
		return fmt.Errorf("dictionary: %w", err)
	}
	return nil
}

// texts hands out the texts of a batch, nil for each null.
func (c *columnReader) texts(b *batch, yield func([]byte) bool) error {
	width := int64(4)
	if c.wide {
		width = 8
	}
	if b.rows == 0 {
		return nil
	}
	if err := c.load(b, "offsets", width, 1); err != nil {
		return err
	}
	size := b.buffers[2].size
	c.data, c.dataAt = c.data[:0], 0
	if b.codec != codecNone {
		if err := c.unpack(&c.data, c.f, b.buffers[2], b.codec); err != nil {
			return fmt.Errorf("texts: %w", err)
		}
		size = int64(len(c.data))
	}
	start := number(c.offsets, width)
	for i := range b.rows {
		end := number(c.offsets[(i+1)*width:], width)
		if start < 0 || end < start || end > size {
			return fmt.Errorf("row %d: a text from byte %d to byte %d of %d", i, start, end, size)
		}
		text, err := c.text(b.buffers[2].at, start, end, size)
		if err != nil {
			return err
		}
		if b.nulls > 0 && c.isNull(i) {
			text = nil
		}
		if !yield(text) {
			return errStop
		}
		start = end
	}
	return nil
}

// text returns a part of the buffer at at, of size bytes, and reads on in the file where it is not in memory.
func (c *columnReader) text(at, start, end, size int64) ([]byte, error) {
	if have := int64(len(c.data)); start < c.dataAt || end > c.dataAt+have {
		c.data, c.dataAt = resize(c.data, int(min(max(end-start, window), size-start))), start
		if err := c.f.read(c.data, at+start); err != nil {
			return nil, err
		}
		c.f.done = at + start
	}
	if start == end {
		return []byte{}, nil
	}
	return c.data[start-c.dataAt : end-c.dataAt], nil
}

// lookUp hands out the texts of a batch of places in the dictionary.
func (c *columnReader) lookUp(b *batch) error {
	if b.rows == 0 {
		return nil
	}
	if err := c.load(b, "indices", int64(c.width), 0); err != nil {
		return err
	}
	for i := range b.rows {
		var text []byte
		if b.nulls == 0 || !c.isNull(i) {
			at := c.index(i)
			switch {
			case !c.known:
				return errors.New("the column's dictionary does not come before the batch")
			case at >= uint64(len(c.dictionary)):
				return fmt.Errorf("row %d: text %d of a dictionary of %d", i, at, len(c.dictionary))
			}
			text = c.dictionary[at]
		}
		if !c.yield(text) {
			return errStop
		}
	}
	return nil
}

// index returns a row's place in the dictionary; a negative one is larger than any dictionary.
func (c *columnReader) index(row int64) uint64 {
	b := c.offsets[row*int64(c.width):]
	var v uint64
	for i := range c.width {
		v |= uint64(b[i]) << (8 * i)
	}
	if bits := 64 - 8*c.width; c.signed {
		return uint64(int64(v<<bits) >> bits)
	}
	return v
}

// load reads what a batch has beside texts: which rows are null, and numbers of width bytes, one a row and some more.
func (c *columnReader) load(b *batch, what string, width, more int64) error {
	if b.nulls > 0 {
		if err := c.unpack(&c.validity, c.f, b.buffers[0], b.codec); err != nil {
			return fmt.Errorf("validity: %w", err)
		}
		if have := int64(len(c.validity)); have < (b.rows-1)/8+1 {
			return fmt.Errorf("validity of %d bytes for %d rows: expected %d", have, b.rows, (b.rows-1)/8+1)
		}
	}
	if err := c.unpack(&c.offsets, c.f, b.buffers[1], b.codec); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if have := int64(len(c.offsets))/width - more; have < b.rows {
		return fmt.Errorf("%s of %d bytes, enough for %d rows: the batch has %d", what, len(c.offsets), max(have, 0), b.rows)
	}
	return nil
}

func (c *columnReader) isNull(row int64) bool { return c.validity[row/8]>>(row%8)&1 == 0 }

// number reads an offset.
func number(b []byte, width int64) int64 {
	if width == 4 {
		return int64(int32(binary.LittleEndian.Uint32(b)))
	}
	return int64(binary.LittleEndian.Uint64(b))
}
