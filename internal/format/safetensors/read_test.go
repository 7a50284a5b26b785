package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// file puts a header and data together.
func file(header string, data ...byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func parse(b []byte) (*File, error) { return New("x.safetensors", bytes.NewReader(b), int64(len(b))) }

func TestNewAccepts(t *testing.T) {
	tests := []struct {
		name  string
		file  []byte
		names string
	}{
		{"nothing", file(`{}`), ""},
		{"padding", file(`{}      `), ""},
		{"metadata only", file(`{"__metadata__":{"a":"b"}}`), ""},
		{"scalar", file(`{"s":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}`, 7), "s"},
		{"order of bytes, not of the header", file(
			`{"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"a":{"data_offsets":[0,1],"shape":[1],"dtype":"I8"}}`, 1, 2, 3), "a b"},
		{"empty tensors", file(
			`{"e":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"f":{"dtype":"F64","shape":[0],"data_offsets":[1,1]}}`, 1), "e a f"},
		{"8-bit floats by their bytes", file(`{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}`, 1, 2), "a"},
	}
	for _, test := range tests {
		f, err := parse(test.file)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got := strings.Join(f.Names(), " "); got != test.names {
			t.Errorf("%s: names %q, expected %q", test.name, got, test.names)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	entry := func(body string) []byte { return file(`{"t":{`+body+`}}`, 1, 2, 3, 4) }
	tests := []struct {
		name, want string
		file       []byte
	}{
		{"empty", "0 bytes", nil},
		{"short", "7 bytes", make([]byte, 7)},
		{"header beyond the file", "header length is 1000", binary.LittleEndian.AppendUint64(nil, 1000)},
		{"header of 2^64-1", "expected at most 0", binary.LittleEndian.AppendUint64(nil, math.MaxUint64)},
		{"no header", "begin with '{'", file("")},
		{"leading space", "begin with '{'", file(" {}")},
		{"UTF-8", "UTF-8", file("{\"a\xff\":{}}")},
		{"cut JSON", "unexpected EOF", file(`{"a":`)},
		{"two objects", "after the closing brace", file(`{}{}`)},
		{"not an object", "expected '{', found 3", file(`{"a":3}`)},
		{"null", "expected '{', found null", file(`{"a":null}`)},
		{"tensor twice", `"a" is there twice`, file(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}`)},
		{"metadata twice", `is there twice`, file(`{"__metadata__":{},"__metadata__":{}}`)},
		{"metadata key twice", `key "k" is there twice`, file(`{"__metadata__":{"k":"","k":""}}`)},
		{"metadata value", `expected a string, found 1`, file(`{"__metadata__":{"k":1}}`)},
		{"key twice", `key "dtype" is there twice`, entry(`"dtype":"U8","dtype":"U8"`)},
		{"unknown key", `key "Dtype": unknown key`, entry(`"Dtype":"U8"`)},
		{"missing dtype", `key "dtype" is missing`, entry(`"shape":[4],"data_offsets":[0,4]`)},
		{"missing shape", `key "shape" is missing`, entry(`"dtype":"U8","data_offsets":[0,4]`)},
		{"missing offsets", `key "data_offsets" is missing`, entry(`"dtype":"U8","shape":[4]`)},
		{"dtype", `dtype "F4" is not supported`, entry(`"dtype":"F4","shape":[4],"data_offsets":[0,4]`)},
		{"dtype kind", `expected a string, found [`, entry(`"dtype":["U8"]`)},
		{"size", `F32 [2] needs 8 bytes, but data_offsets give it 4`, entry(`"dtype":"F32","shape":[2],"data_offsets":[0,4]`)},
		{"negative", `found -4`, entry(`"dtype":"U8","shape":[-4],"data_offsets":[0,4]`)},
		{"fraction", `found 4.0`, entry(`"dtype":"U8","shape":[4.0],"data_offsets":[0,4]`)},
		{"huge dimension", `found 9223372036854775808`, entry(`"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,4]`)},
		{"product wraps to 4", `more elements`, entry(`"dtype":"U8","shape":[4294967296,4294967296,4],"data_offsets":[0,4]`)},
		{"bytes wrap to 4", `more elements`, entry(`"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]`)},
		{"rank", `more than 64`, entry(`"dtype":"U8","shape":[4` + strings.Repeat(",1", 64) + `],"data_offsets":[0,4]`)},
		{"three offsets", `more than 2`, entry(`"dtype":"U8","shape":[4],"data_offsets":[0,4,4]`)},
		{"one offset", `data_offsets are [4]`, entry(`"dtype":"U8","shape":[4],"data_offsets":[4]`)},
		{"backwards", `data_offsets are [4 0]`, entry(`"dtype":"U8","shape":[4],"data_offsets":[4,0]`)},
		{"beyond the file", `end at byte 5 of the data, but the file has 4`, entry(`"dtype":"U8","shape":[5],"data_offsets":[0,5]`)},
		{"bytes of nobody", `end at byte 3 of the data, but the file has 4`, entry(`"dtype":"U8","shape":[3],"data_offsets":[0,3]`)},
		{"gap", `begins at byte 1, expected 0 where the header ends (a gap)`, entry(`"dtype":"U8","shape":[3],"data_offsets":[1,4]`)},
		{"overlap", `tensor "u": data begins at byte 1, expected 2 where "t" ends (an overlap)`,
			entry(`"dtype":"U8","shape":[2],"data_offsets":[0,2]},"u":{"dtype":"U8","shape":[3],"data_offsets":[1,4]`)},
	}
	for _, test := range tests {
		_, err := parse(test.file)
		if err == nil {
			t.Errorf("%s: accepted", test.name)
			continue
		}
		if msg := err.Error(); !strings.Contains(msg, test.want) || !strings.HasPrefix(msg, "x.safetensors: ") || strings.Contains(msg, "\n") {
			t.Errorf("%s: error %q, expected the file and %q on one line", test.name, msg, test.want)
		}
	}
}

func TestReadErrorsNameFileAndTensor(t *testing.T) {
	var b bytes.Buffer
	err := Write(&b, []Source{
		FromBytes("big", F64, []int{1}, binary.LittleEndian.AppendUint64(nil, math.Float64bits(1e300))),
		FromBytes("i64", I64, []int{2}, append(make([]byte, 8), 0, 0, 0, 0x80, 0, 0, 0, 0)),
		FromBytes("u64", U64, []int{1}, bytes.Repeat([]byte{0xff}, 8)),
		FromFloat32s("f", F32, []int{2, 2}, make([]float32, 4)),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		err  error
		want string
	}{
		{f.Float32s(make([]float32, 4), "g"), `"g": not in the file`},
		{f.Float32s(make([]float32, 3), "f"), `"f": F32 [2 2] has 4 elements, expected 3`},
		{f.Float32s(make([]float32, 2), "i64"), `"i64": dtype is I64, expected F32, F16, BF16 or F64`},
		{f.Float32s(make([]float32, 1), "big"), `"big": F64 element 0 does not fit a float32`},
		{f.Int32s(make([]int32, 4), "f"), `"f": dtype is F32, expected an integer type`},
		{f.Int32s(make([]int32, 2), "i64"), `"i64": I64 element 1 does not fit a int32`},
		{f.Int32s(make([]int32, 1), "u64"), `"u64": U64 element 0 does not fit`},
	}
	for _, test := range tests {
		if test.err == nil || !strings.Contains(test.err.Error(), "x.safetensors: tensor "+test.want) {
			t.Errorf("error %v, expected %s", test.err, test.want)
		}
	}
}

// A file that shrinks after Open is an error, not a crash.
func TestFileCutOffWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.safetensors")
	var b bytes.Buffer
	if err := Write(&b, []Source{FromFloat32s("f", F32, []int{100}, make([]float32, 100))}, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Truncate(path, int64(b.Len()-1)); err != nil {
		t.Fatal(err)
	}
	if err := f.Float32s(make([]float32, 100), "f"); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("Float32s of a shortened file: %v", err)
	}
	if _, err := f.Raw("f"); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("Raw of a shortened file: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none")); err == nil {
		t.Error("a missing file opens")
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "regular") {
		t.Errorf("a directory opens: %v", err)
	}
}

// Every tensor of the reference cases reads, and writing the file again gives the very bytes that the
// reference implementation wrote.
func TestGoldenFiles(t *testing.T) {
	paths, _ := filepath.Glob("../../../../shared/golden/cases/*/*.safetensors")
	if len(paths) == 0 {
		t.Skip("no golden cases beside the repository (../shared/golden/cases)")
	}
	for _, path := range paths {
		f, err := Open(path)
		if err != nil {
			t.Error(err)
			continue
		}
		var sources []Source
		for _, name := range f.Names() {
			info, _ := f.Info(name)
			raw, err := f.Raw(name)
			if err == nil && info.DType == I32 {
				err = f.Int32s(make([]int32, info.Len()), name)
			} else if err == nil {
				err = f.Float32s(make([]float32, info.Len()), name)
			}
			if err != nil {
				t.Error(err)
			}
			sources = append(sources, FromBytes(name, info.DType, info.Shape, raw))
		}
		var b bytes.Buffer
		if err := Write(&b, sources, f.Metadata()); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s: written again, the bytes differ", path)
		}
		f.Close()
	}
}

// Whatever the bytes, New neither panics nor accepts tensors that do not tile the data; what it accepts survives a
// round trip.
func FuzzNew(f *testing.F) {
	f.Add(file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"BF16","shape":[1,1],"data_offsets":[2,4]}}`, 1, 2, 3, 4))
	f.Add(file(`{"__metadata__":{"format":"pt"},"e":{"dtype":"F64","shape":[0],"data_offsets":[0,0]}}  `))
	f.Add(file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{}}`, 0, 0, 0, 0))
	f.Add(file(`{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,4]}}`, 0, 0, 0, 0))
	f.Add(file(`{{`))
	f.Add(file(`{1:2}`))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, '{'})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parse(b)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("error of several lines: %q", err)
			}
			return
		}
		if text := b[8:s.start]; !json.Valid(text) {
			t.Fatalf("accepted what is no JSON: %q", text)
		}
		var sources []Source
		total := s.start
		for _, name := range s.Names() {
			info, _ := s.Info(name)
			raw, err := s.Raw(name)
			if err != nil || len(raw) != info.Len()*info.DType.Size() {
				t.Fatalf("%s %v: %d bytes, %v", name, info, len(raw), err)
			}
			total += int64(len(raw))
			sources = append(sources, FromBytes(name, info.DType, info.Shape, raw))
		}
		if total != int64(len(b)) {
			t.Fatalf("header and tensors have %d bytes of %d", total, len(b))
		}
		var again bytes.Buffer
		if err := Write(&again, sources, s.Metadata()); err != nil {
			t.Fatal(err)
		}
		if _, err := parse(again.Bytes()); err != nil {
			t.Fatalf("written again: %v", err)
		}
	})
}
