package arrow

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	at "mor/internal/format/arrow/arrowtest"
)

// sample has short, long, empty, repeated and null texts.
func sample(n int) (texts []string) {
	for i := range n {
		text := fmt.Sprintf("text %d %s", i%40, strings.Repeat("é", i%7*300))
		switch {
		case i%11 == 5:
			text = at.Nil
		case i%13 == 3:
			text = ""
		}
		texts = append(texts, text)
	}
	return texts
}

// read returns all texts of a column.
func read(data []byte, column string) (texts []string, err error) {
	f, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	for text, err := range f.Texts(column) {
		if err != nil {
			return texts, err
		}
		if text == nil {
			texts = append(texts, at.Nil)
		} else {
			texts = append(texts, string(text))
		}
	}
	return texts, nil
}

func check(t *testing.T, data []byte, column string, want []string) {
	t.Helper()
	if got, err := read(data, column); err != nil || !slices.Equal(got, want) {
		t.Errorf("%d texts, error %v; want %d", len(got), err, len(want))
	}
}

// wide returns columns of other kinds before and after the text, for n rows, as a batch has them.
func wide(text at.Array) ([]at.Field, []at.Array) {
	n := text.Rows
	ints := at.Array{Rows: n, Buffers: [][]byte{nil, make([]byte, 8*n)}}
	empty := at.Texts(at.String)
	return []at.Field{
			{Name: "nothing", Type: at.Null},
			{Name: "meta", Type: at.Struct, Children: []at.Field{{Name: "text", Type: at.Int}, {Name: "tags", Type: at.List, Children: []at.Field{{Name: "item", Type: at.String}}}}},
			{Name: "view", Type: at.StringView},
			{Name: "union", Type: at.Union, Children: []at.Field{{Name: "a", Type: at.Int}}},
			{Name: "color", Type: at.String, Dictionary: 7, Width: 32, Signed: true},
			{Name: "text", Type: at.String}, {Name: "after", Type: at.Int},
		}, []at.Array{
			{Rows: n, Nulls: n},
			{Rows: n, Buffers: [][]byte{nil}, Children: []at.Array{ints, {Rows: n, Buffers: [][]byte{nil, make([]byte, 4*n+4)}, Children: []at.Array{empty}}}},
			{Rows: n, Buffers: [][]byte{nil, make([]byte, 16*n), []byte("one"), []byte("two")}, Views: []int64{2}},
			{Rows: n, Buffers: [][]byte{make([]byte, n)}, Children: []at.Array{ints}},
			at.Indices(4, make([]int, n)...),
			text, ints,
		}
}

// TestTexts: strings with offsets of 4 and 8 bytes, in every compression, between columns of other kinds, in several batches.
func TestTexts(t *testing.T) {
	want := sample(600)
	for _, codec := range []int{at.None, at.LZ4, at.Zstd} {
		for _, kind := range []byte{at.String, at.LargeString} {
			fields, _ := wide(at.Array{})
			fields[5].Type = kind
			data := at.Schema(fields...)
			for part := range slices.Chunk(want, 250) {
				_, arrays := wide(at.Texts(kind, part...))
				data = append(data, at.Dictionary(7, false, codec, at.Texts(at.String, "red"))...)
				data = append(data, at.Batch(len(part), codec, arrays...)...)
			}
			t.Run(fmt.Sprint(codec, kind), func(t *testing.T) { check(t, append(data, at.End()...), "text", want) })
		}
	}
}

// TestContainers: the file format, the streams of before Arrow 0.15, empty batches and empty streams.
func TestContainers(t *testing.T) {
	want := sample(50)
	stream := at.Stream("text", want, nil)
	check(t, stream, "text", want)
	check(t, at.Stream("text"), "text", nil)
	check(t, slices.Concat([]byte("ARROW1\x00\x00"), stream, []byte("an index"), []byte("ARROW1")), "text", want)
	check(t, bytes.ReplaceAll(stream, []byte{0xff, 0xff, 0xff, 0xff}, nil), "text", want)
}

// TestDictionaries: indices of every width, dictionaries that grow and that are replaced.
func TestDictionaries(t *testing.T) {
	words := at.Texts(at.String, "red", at.Nil, "")
	for _, width := range []int{1, 2, 4, 8} {
		null := at.Indices(width, 0, 0, 1)
		null.Nulls, null.Buffers[0] = 1, []byte{0b101}
		data := slices.Concat(
			at.Schema(at.Field{Name: "text", Type: at.String, Dictionary: 3, Width: 8 * width, Signed: width > 1}),
			at.Dictionary(3, false, at.None, words), at.Batch(4, at.None, at.Indices(width, 2, 0, 0, 1)), at.Batch(3, at.None, null),
			at.Dictionary(3, true, at.Zstd, at.Texts(at.String, "green")), at.Batch(2, at.None, at.Indices(width, 3, 0)),
			at.Dictionary(3, false, at.None, at.Texts(at.String, "blue")), at.Batch(1, at.None, at.Indices(width, 0)), at.End())
		check(t, data, "text", []string{"", "red", "red", at.Nil, "red", at.Nil, at.Nil, "green", "red", "blue"})
	}
}

// edited returns a stream of one batch of two rows with buffers of the test's own.
func edited(edit func(*at.Array)) []byte {
	a := at.Texts(at.String, "one", at.Nil)
	edit(&a)
	return slices.Concat(at.Schema(at.Field{Name: "text", Type: at.String}), at.Batch(2, at.None, a), at.End())
}

func offsets(o ...int32) []byte {
	b, _ := binary.Append(nil, binary.LittleEndian, o)
	return b
}

func TestRefuses(t *testing.T) {
	coded := func(messages ...[]byte) []byte {
		return slices.Concat(at.Schema(at.Field{Name: "text", Type: at.String, Dictionary: 1, Width: 8, Signed: true}), slices.Concat(messages...), at.End())
	}
	good := edited(func(*at.Array) {})
	schema := len(at.Schema(at.Field{Name: "text", Type: at.String}))
	bomb := at.Texts(at.String, strings.Repeat("a", 100<<10))
	bombed := slices.Concat(at.Schema(at.Field{Name: "text", Type: at.String}), at.Batch(1, at.Zstd, bomb), at.End())
	bombed = bytes.Replace(bombed, binary.LittleEndian.AppendUint64(nil, 100<<10), binary.LittleEndian.AppendUint64(nil, 1<<30), 1)
	fields, arrays := wide(at.Texts(at.String, "a"))
	other := slices.Concat(at.Schema(fields...), at.Batch(1, at.None, arrays...), at.End())
	for _, c := range []struct {
		name, column, want string
		data               []byte
	}{
		{"empty", "text", "0 bytes: too short for an Arrow stream", nil},
		{"text", "text", "not an Arrow stream: metadata of 544501614 bytes", []byte("not a stream, what")},
		{"file", "text", `expected "ARROW1"`, []byte("ARROW1\x00\x00 and no end")},
		{"no schema", "text", "expected the schema", at.End()},
		{"metadata", "text", "not an Arrow stream: the metadata points outside itself", slices.Concat([]byte{255, 255, 255, 255, 8, 0, 0, 0}, bytes.Repeat([]byte{9}, 8))},
		{"no end", "text", "no end-of-stream mark: is the Arrow file complete?", good[:len(good)-8]},
		{"truncated", "text", "message 1 at byte", good[:len(good)-12]},
		{"body", "text", "a body of", good[:len(good)-12]},
		{"length", "text", "is the Arrow file complete?", good[:schema+100]},
		{"more", "text", "3 bytes follow the end-of-stream mark", append(slices.Clone(good), "abc"...)},
		{"two schemas", "text", "a message of type 1", slices.Concat(good[:schema], good)},
		{"missing", "txt", `no column "txt": name the one that holds the text with --text-field; of text it has ["color" "text"]`, other},
		{"number", "after", `column "after" holds int: expected string or large_string`, other},
		{"struct", "meta", `column "meta" holds struct`, other},
		{"view", "view", `column "view" holds string_view`, other},
		{"rows", "text", "3 rows, of which 1 are null, in a batch of 2", edited(func(a *at.Array) { a.Rows = 3 })},
		{"nulls", "text", "2 rows, of which 3 are null", edited(func(a *at.Array) { a.Nulls = 3 })},
		{"validity", "text", "validity of 0 bytes for 2 rows: expected 1", edited(func(a *at.Array) { a.Buffers[0] = nil })},
		{"few offsets", "text", "offsets of 8 bytes, enough for 1 rows: the batch has 2", edited(func(a *at.Array) { a.Buffers[1] = offsets(0, 3) })},
		{"backwards", "text", "row 1: a text from byte 3 to byte 2 of 3", edited(func(a *at.Array) { a.Buffers[1] = offsets(0, 3, 2) })},
		{"negative", "text", "row 0: a text from byte -1", edited(func(a *at.Array) { a.Buffers[1] = offsets(-1, 3, 3) })},
		{"beyond", "text", `message 1 at byte 176, column "text": row 1: a text from byte 3 to byte 9 of 3`, edited(func(a *at.Array) { a.Buffers[1] = offsets(0, 3, 9) })},
		{"buffers", "text", "1 arrays in 2 buffers: expected array 0 and buffers 0 to 2", edited(func(a *at.Array) { a.Buffers = a.Buffers[1:] })},
		{"bomb", "text", "that unpack to 1073741824", bombed},
		{"no dictionary", "text", "dictionary does not come before", coded(at.Batch(1, at.None, at.Indices(1, 0)))},
		{"other dictionary", "text", "dictionary does not come before", coded(at.Dictionary(2, false, at.None, at.Texts(at.String, "a")), at.Batch(1, at.None, at.Indices(1, 0)))},
		{"index", "text", "row 0: text 1 of a dictionary of 1", coded(at.Dictionary(1, false, at.None, at.Texts(at.String, "a")), at.Batch(1, at.None, at.Indices(1, 1)))},
		{"negative index", "text", "of a dictionary of 1", coded(at.Dictionary(1, false, at.None, at.Texts(at.String, "a")), at.Batch(1, at.None, at.Indices(1, -1)))},
		{"huge", "text", "a batch of 9223372036854775807", slices.Concat(good[:schema], at.Batch(math.MaxInt64, at.None, at.Texts(at.String, "a")), at.End())},
	} {
		if _, err := read(c.data, c.column); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

// TestTruncated: no beginning of a stream passes for a stream.
func TestTruncated(t *testing.T) {
	data := at.Stream("text", sample(3), sample(2))
	for n := range len(data) {
		if _, err := read(data[:n], "text"); err == nil {
			t.Errorf("no error for the first %d of %d bytes", n, len(data))
		}
	}
}

// FuzzTexts: whatever the bytes are, there is no panic and no memory beyond what the bytes can hold.
func FuzzTexts(f *testing.F) {
	texts := sample(20)
	f.Add(at.Stream("text", texts))
	fields, arrays := wide(at.Texts(at.String, texts...))
	for _, codec := range []int{at.None, at.LZ4, at.Zstd} {
		f.Add(slices.Concat(at.Schema(fields...), at.Batch(len(texts), codec, arrays...), at.End()))
	}
	f.Add(slices.Concat([]byte("ARROW1\x00\x00"), at.Schema(at.Field{Name: "text", Type: at.LargeString, Dictionary: 1, Width: 16}),
		at.Dictionary(1, true, at.LZ4, at.Texts(at.LargeString, texts...)), at.Batch(2, at.Zstd, at.Indices(2, 1, 2)), []byte("ARROW1")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<20 {
			return // larger inputs find nothing else, and take long
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		texts, err := read(data, "text")
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; err != nil && len(texts) == 0 && grown > 4*bombSize {
			t.Errorf("%d bytes allocated for a file of %d, which was refused: %v", grown, len(data), err)
		}
	})
}
