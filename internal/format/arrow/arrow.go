// Package arrow reads a column of text out of an Arrow IPC stream or file, and trusts nothing that it says of its own sizes.
package arrow

// Why not arrow-go: it allocates what a message claims for its metadata, its body and its unpacked buffers before it looks at the bytes, it panics on what it does
// not like, it reads the columns that nobody asked for, and it brings eight modules. A column of text needs little of the format.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
)

const (
	fileMagic    = "ARROW1" // of the file format: a stream, then an index that nothing here needs
	continuation = 0xffffffff

	maxBuffer = 1 << 30 // unpacked
	bombSize  = 64 << 20
	bombRatio = 1000 // text packs 3 to 20 times
	window    = 1 << 20
)

// File is an Arrow IPC stream or file.
type File struct {
	r      io.ReaderAt
	size   int64
	start  int64 // of the first message
	isFile bool
	done   int64
	schema *flatBuffer
}

// message is one part of a stream.
type message struct {
	kind byte
	meta *flatBuffer
	body int64 // where it lies
	size int64 // of the body
	end  bool  // the end of the stream
}

// Open reads the schema of a file of size bytes.
func Open(r io.ReaderAt, size int64) (*File, error) {
	if size < 8 {
		return nil, fmt.Errorf("%d bytes: too short for an Arrow stream", size)
	}
	f := &File{r: r, size: size}
	var head [8]byte
	if err := readAt(r, head[:], 0); err != nil {
		return nil, err
	}
	if string(head[:len(fileMagic)]) == fileMagic {
		tail := head[:len(fileMagic)]
		if err := readAt(r, tail, size-int64(len(tail))); err != nil {
			return nil, err
		}
		if string(tail) != fileMagic {
			return nil, fmt.Errorf("ends with %q: expected %q: is the Arrow file complete?", tail, fileMagic)
		}
		f.start, f.isFile = 8, true
	}
	m, next, err := f.message(f.start, nil)
	if err == nil && (m.end || m.kind != messageSchema || m.size != 0) {
		err = fmt.Errorf("a message of type %d and %d bytes: expected the schema, of type %d and 0 bytes", m.kind, m.size, messageSchema)
	}
	if err != nil {
		return nil, fmt.Errorf("not an Arrow stream: %w", err)
	}
	f.schema, f.start, f.done = m.meta, next, next
	return f, nil
}

// Done is up to which byte Texts has read.
func (f *File) Done() int64 { return f.done }

// Texts yields the text of each row of a column at the top of the schema, nil where it is null; a text is valid until the next. The sequence ends after the
// first error, which names the message and the column.
func (f *File) Texts(name string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		found, err := findColumn(f.schema, name)
		if err != nil {
			yield(nil, err)
			return
		}
		c := &columnReader{f: f, column: found, yield: func(text []byte) bool { return yield(text, nil) }}
		at, meta := f.start, []byte(nil)
		for number := 1; ; number++ {
			m, next, err := f.message(at, meta)
			if err == nil {
				if m.end {
					err = f.finish(next)
				} else {
					meta, err = m.meta.b, c.message(&m)
				}
			}
			if err == errStop {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("message %d at byte %d, column %q: %w", number, at, name, err))
				return
			}
			at, f.done = next, next
			if m.end {
				return
			}
		}
	}
}

// errStop: nobody wants more.
var errStop = errors.New("stop")

// message reads the message at at and returns where the next one begins; its metadata takes meta's memory where that is large enough.
func (f *File) message(at int64, meta []byte) (m message, next int64, err error) {
	var head [4]byte
	if at == f.size {
		return m, 0, errors.New("no end-of-stream mark: is the Arrow file complete?")
	}
	if err := f.read(head[:], at); err != nil {
		return m, 0, err
	}
	at += 4
	length := binary.LittleEndian.Uint32(head[:])
	if length == continuation { // absent before Arrow 0.15
		if err := f.read(head[:], at); err != nil {
			return m, 0, err
		}
		at, length = at+4, binary.LittleEndian.Uint32(head[:])
	}
	if length == 0 {
		return message{end: true}, at, nil
	}
	if int64(length) > f.size-at {
		return m, 0, fmt.Errorf("metadata of %d bytes, %d are left: is the Arrow file complete?", length, f.size-at)
	}
	m.meta = &flatBuffer{b: resize(meta, int(length))}
	if err := f.read(m.meta.b, at); err != nil {
		return m, 0, err
	}
	root := m.meta.root()
	m.kind, m.size, m.body = root.byte(1), root.i64(3), at+int64(length)
	if m.meta.err != nil {
		return m, 0, m.meta.err
	}
	if m.size < 0 || m.size > f.size-m.body {
		return m, 0, fmt.Errorf("a body of %d bytes, %d are left: is the Arrow file complete?", m.size, f.size-m.body)
	}
	return m, m.body + m.size, nil
}

// finish checks that nothing follows a stream.
func (f *File) finish(at int64) error {
	if !f.isFile && at != f.size {
		return fmt.Errorf("%d bytes follow the end-of-stream mark: expected none", f.size-at)
	}
	return nil
}

// read fills p from the file.
func (f *File) read(p []byte, at int64) error {
	if int64(len(p)) > f.size-at {
		return fmt.Errorf("%d bytes at byte %d of %d: is the Arrow file complete?", len(p), at, f.size)
	}
	return readAt(f.r, p, at)
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

// resize returns n elements, in s where it is large enough; what they hold is not defined.
func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
