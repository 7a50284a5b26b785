package parquet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	parquetgo "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/encoding"
)

// row has the text between columns of other kinds, one of which has two leaves.
type row struct {
	ID   int64              `parquet:"id"`
	Meta struct{ A, B int } `parquet:"meta"`
	Text *string            `parquet:"text,optional"`
	Tags []string           `parquet:"tags"`
}

// sampleRows has short, long, empty, repeated and null texts.
func sampleRows(n int) (rows []row, texts []string) {
	for i := range n {
		text := fmt.Sprintf("text %d %s", i%40, strings.Repeat("é", i%7*300))
		switch {
		case i%11 == 5:
			rows, texts = append(rows, row{ID: int64(i)}), append(texts, "<null>")
			continue
		case i%13 == 3:
			text = ""
		}
		rows, texts = append(rows, row{ID: int64(i), Text: &text, Tags: []string{"a", "b"}}), append(texts, text)
	}
	return rows, texts
}

func write[T any](t testing.TB, rows []T, options ...parquetgo.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquetgo.NewGenericWriter[T](&b, options...)
	for part := range slices.Chunk(rows, 250) {
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil { // a row group
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
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
			texts = append(texts, "<null>")
		} else {
			texts = append(texts, string(text))
		}
	}
	return texts, nil
}

// TestCodecs: every compression and both versions of pages give the rows back.
func TestCodecs(t *testing.T) {
	rows, want := sampleRows(600)
	for _, codec := range []compress.Codec{&parquetgo.Uncompressed, &parquetgo.Snappy, &parquetgo.Gzip, &parquetgo.Brotli, &parquetgo.Zstd, &parquetgo.Lz4Raw} {
		for _, version := range []int{1, 2} {
			t.Run(fmt.Sprint(codec, version), func(t *testing.T) {
				data := write(t, rows, parquetgo.Compression(codec), parquetgo.DataPageVersion(version), parquetgo.PageBufferSize(8<<10))
				got, err := read(data, "text")
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("%d texts, error %v; want %d", len(got), err, len(want))
				}
			})
		}
	}
}

// TestEncodings: every encoding of text, of a column with nulls and of one without.
func TestEncodings(t *testing.T) {
	type both struct {
		Text *string `parquet:"text,optional"`
		Full string  `parquet:"full"`
	}
	texts, want := sampleRows(700)
	filled, rows := slices.Clone(want), []both(nil)
	for i, r := range texts {
		if r.Text == nil {
			filled[i] = ""
		}
		rows = append(rows, both{r.Text, filled[i]})
	}
	for _, e := range []encoding.Encoding{&parquetgo.Plain, &parquetgo.RLEDictionary, &parquetgo.DeltaLengthByteArray, &parquetgo.DeltaByteArray} {
		for _, version := range []int{1, 2} {
			data := write(t, rows, parquetgo.DefaultEncodingFor(parquetgo.ByteArray, e), parquetgo.DataPageVersion(version))
			for column, want := range map[string][]string{"text": want, "full": filled} {
				if got, err := read(data, column); err != nil || !slices.Equal(got, want) {
					t.Errorf("%s, version %d, %s: %d texts, error %v; want %d", e, version, column, len(got), err, len(want))
				}
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	rows, _ := sampleRows(300)
	good := write(t, rows)
	claim := bytes.Clone(good)
	binary.LittleEndian.PutUint32(claim[len(claim)-8:], 1<<31)
	pages := bytes.Clone(good)
	footer := int(binary.LittleEndian.Uint32(good[len(good)-8:]))
	copy(pages[4:len(good)-8-footer], bytes.Repeat([]byte{0xff}, len(good)))
	for _, c := range []struct {
		name, column, want string
		data               []byte
	}{
		{"empty", "text", "0 bytes: too short for a Parquet file", nil},
		{"magic", "text", `begins with "xxxx"`, append([]byte("xxxx"), good[4:]...)},
		{"truncated", "text", "is the Parquet file complete?", good[:len(good)/2]},
		{"footer", "text", "a footer of 2147483648 bytes", claim},
		{"encrypted", "text", "encrypted", append(bytes.Clone(good[:len(good)-4]), "PARE"...)},
		{"missing", "txt", `no column "txt": name the one that holds the text with --text-field; of bytes it has ["text"]`, good},
		{"number", "id", `column "id" holds no text`, good},
		{"group", "meta", `column "meta" holds no text`, good},
		{"list", "tags", `column "tags" holds lists`, good},
		{"pages", "text", "row group 0, column \"text\"", pages},
	} {
		if _, err := read(c.data, c.column); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

// FuzzTexts: whatever the bytes are, there is no panic and no memory beyond what the bytes can hold.
func FuzzTexts(f *testing.F) {
	rows, _ := sampleRows(40)
	f.Add(write(f, rows))
	f.Add(write(f, rows, parquetgo.Compression(&parquetgo.Zstd), parquetgo.DataPageVersion(1)))
	f.Add(write(f, rows, parquetgo.Compression(&parquetgo.Lz4Raw), parquetgo.DefaultEncodingFor(parquetgo.ByteArray, &parquetgo.DeltaByteArray)))
	f.Add([]byte("PAR1\x15\x00\x19\xfc\xff\xff\xff\xff\x0f\x0c\x00\x0a\x00\x00\x00PAR1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<20 {
			return // larger inputs find nothing else, and take long
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		texts, err := read(data, "text")
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; err != nil && len(texts) == 0 && grown > 512<<20 {
			t.Errorf("%d bytes allocated for a file of %d, which was refused: %v", grown, len(data), err)
		}
	})
}
