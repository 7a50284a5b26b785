// Package arrowtest writes small Arrow IPC streams for tests.
package arrowtest

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Types of fields and compressions of buffers, by Arrow's numbers.
const (
	Null, Int, String, List, Struct, Union, LargeString, StringView = 1, 2, 5, 12, 13, 14, 20, 24

	None, LZ4, Zstd = -1, 0, 1
)

// Field is a field of a schema.
type Field struct {
	Name       string
	Type       byte
	Children   []Field
	Dictionary int64 // its number, 0: none
	Width      int   // bits of an index
	Signed     bool
}

// Array is what a batch has of a field.
type Array struct {
	Rows, Nulls int
	Buffers     [][]byte
	Children    []Array
	Views       []int64 // of a string view: its further buffers
}

// Nil is the text that Texts and Indices take for a null.
const Nil = "\x00"

// End ends a stream.
func End() []byte { return []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0} }

// Stream returns a stream of one column of strings, of which each batch has a part, Nil for a null.
func Stream(name string, batches ...[]string) []byte {
	b := Schema(Field{Name: name, Type: String})
	for _, texts := range batches {
		b = append(b, Batch(len(texts), None, Texts(String, texts...))...)
	}
	return append(b, End()...)
}

// Texts returns an array of String or LargeString.
func Texts(kind byte, texts ...string) Array {
	a, offsets, data := Array{Rows: len(texts)}, []byte(nil), []byte(nil)
	add := func() {
		if kind == LargeString {
			offsets = binary.LittleEndian.AppendUint64(offsets, uint64(len(data)))
		} else {
			offsets = binary.LittleEndian.AppendUint32(offsets, uint32(len(data)))
		}
	}
	add()
	valid := make([]byte, (len(texts)+7)/8)
	for i, t := range texts {
		if t == Nil {
			a.Nulls++
		} else {
			valid[i/8] |= 1 << (i % 8)
			data = append(data, t...)
		}
		add()
	}
	a.Buffers = [][]byte{valid, offsets, data}
	return a
}

// Indices returns an array of places in a dictionary, of bytes width each.
func Indices(width int, places ...int) Array {
	var data []byte
	for _, p := range places {
		data = append(data, binary.LittleEndian.AppendUint64(nil, uint64(p))[:width]...)
	}
	return Array{Rows: len(places), Buffers: [][]byte{nil, data}}
}

// Schema returns the message that begins a stream.
func Schema(fields ...Field) []byte {
	return message(1, table{int16(0), fieldTables(fields)}, nil)
}

// Batch returns a record batch.
func Batch(rows, codec int, arrays ...Array) []byte {
	header, body := recordBatch(rows, codec, arrays)
	return message(3, header, body)
}

// Dictionary returns a dictionary, or what is added to one.
func Dictionary(id int64, delta bool, codec int, texts Array) []byte {
	header, body := recordBatch(texts.Rows, codec, []Array{texts})
	d := table{id, header, byte(0)}
	if delta {
		d[2] = byte(1)
	}
	return message(2, d, body)
}

func fieldTables(fields []Field) (all []table) {
	for _, f := range fields {
		t := table{f.Name, byte(1), f.Type, table{}, nil, fieldTables(f.Children)}
		if f.Dictionary != 0 {
			index := table{int32(f.Width), byte(0)}
			if f.Signed {
				index[1] = byte(1)
			}
			t[4] = table{f.Dictionary, index}
		}
		all = append(all, t)
	}
	return all
}

// recordBatch returns the metadata and the body of a batch.
func recordBatch(rows, codec int, arrays []Array) (table, []byte) {
	var nodes, buffers structs
	var views longs
	var body []byte
	var add func(a Array)
	add = func(a Array) {
		nodes = append(nodes, [2]int64{int64(a.Rows), int64(a.Nulls)})
		for _, b := range a.Buffers {
			b = pack(b, codec)
			buffers = append(buffers, [2]int64{int64(len(body)), int64(len(b))})
			body = pad(append(body, b...))
		}
		views = append(views, a.Views...)
		for _, c := range a.Children {
			add(c)
		}
	}
	for _, a := range arrays {
		add(a)
	}
	header := table{int64(rows), nodes, buffers, nil, views}
	if codec != None {
		header[3] = table{byte(codec), byte(0)}
	}
	return header, body
}

// pack returns a buffer as a body with compression holds it.
func pack(b []byte, codec int) []byte {
	if codec == None || len(b) == 0 {
		return b
	}
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(b)))
	if len(b) < 16 { // as writers do where it would not become smaller
		return append(binary.LittleEndian.AppendUint64(nil, 1<<64-1), b...)
	}
	if codec == LZ4 {
		var z bytes.Buffer
		w := lz4.NewWriter(&z)
		w.Write(b) // into memory: cannot fail
		w.Close()
		return append(out, z.Bytes()...)
	}
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return w.EncodeAll(b, out)
}

func message(kind byte, header table, body []byte) []byte {
	var w writer
	w.b = make([]byte, 4)
	w.patch(0, w.table(table{int16(4), kind, header, int64(len(body))}))
	meta := pad(w.b)
	b := []byte{0xff, 0xff, 0xff, 0xff}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(meta)))
	return slices.Concat(b, meta, body)
}

func pad(b []byte) []byte {
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

// table is a FlatBuffers table: its fields, nil for those that are absent.
type table []any

type (
	structs [][2]int64
	longs   []int64
)

// writer writes a FlatBuffer from front to back.
type writer struct{ b []byte }

func (w *writer) patch(at, to int) { binary.LittleEndian.PutUint32(w.b[at:], uint32(to-at)) }

// table writes a table and what it points to, and returns where it lies.
func (w *writer) table(t table) int {
	w.b = pad(w.b)
	slots := len(w.b)
	w.b = binary.LittleEndian.AppendUint16(w.b, uint16(4+2*len(t)))
	size := 4
	w.b = append(w.b, make([]byte, 2+2*len(t))...)
	w.b = pad(w.b)
	at := len(w.b)
	w.b = binary.LittleEndian.AppendUint32(w.b, uint32(at-slots))
	for i, v := range t {
		if v == nil {
			continue
		}
		n := inlineSize(v)
		size = (size + n - 1) / n * n
		binary.LittleEndian.PutUint16(w.b[slots+4+2*i:], uint16(size))
		size += n
	}
	w.b = append(w.b, make([]byte, size-4)...)
	binary.LittleEndian.PutUint16(w.b[slots+2:], uint16(size))
	for i, v := range t {
		if v != nil {
			w.value(at+int(binary.LittleEndian.Uint16(w.b[slots+4+2*i:])), v)
		}
	}
	return at
}

// inlineSize is what a field takes in its table: itself, or an offset.
func inlineSize(v any) int {
	switch v.(type) {
	case byte:
		return 1
	case int16:
		return 2
	case int64:
		return 8
	}
	return 4
}

// value writes a field at at, or behind the buffer's end what the field points to.
func (w *writer) value(at int, v any) {
	switch v := v.(type) {
	case byte:
		w.b[at] = v
	case int16:
		binary.LittleEndian.PutUint16(w.b[at:], uint16(v))
	case int32:
		binary.LittleEndian.PutUint32(w.b[at:], uint32(v))
	case int64:
		binary.LittleEndian.PutUint64(w.b[at:], uint64(v))
	case table:
		w.patch(at, w.table(v))
	case string:
		w.vector(at, len(v))
		w.b = append(append(w.b, v...), 0)
	case []table:
		w.vector(at, len(v))
		first := len(w.b)
		w.b = append(w.b, make([]byte, 4*len(v))...)
		for i, t := range v {
			w.patch(first+4*i, w.table(t))
		}
	case structs:
		w.vector(at, len(v))
		w.b, _ = binary.Append(w.b, binary.LittleEndian, v) // numbers of fixed size: cannot fail
	case longs:
		w.vector(at, len(v))
		w.b, _ = binary.Append(w.b, binary.LittleEndian, v)
	}
}

// vector begins a vector that the field at at points to; its elements are aligned to 8 bytes.
func (w *writer) vector(at, count int) {
	w.b = pad(w.b)
	w.b = append(w.b, 0, 0, 0, 0)
	w.patch(at, len(w.b))
	w.b = binary.LittleEndian.AppendUint32(w.b, uint32(count))
}
