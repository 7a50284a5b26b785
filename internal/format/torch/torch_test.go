package torch

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mor/internal/format/safetensors"
	"mor/internal/golden"
)

// program writes a pickle by hand.
type program struct{ bytes.Buffer }

func (p *program) op(b ...byte) *program { p.Write(b); return p }

func (p *program) text(s string) *program {
	p.op(opBinUnicode)
	binary.Write(p, binary.LittleEndian, uint32(len(s)))
	p.WriteString(s)
	return p
}

func (p *program) number(n int) *program {
	p.op(opBinInt)
	binary.Write(p, binary.LittleEndian, int32(n))
	return p
}

func (p *program) numbers(n ...int) *program {
	p.op(opMark)
	for _, x := range n {
		p.number(x)
	}
	return p.op(opTuple)
}

func (p *program) name(module, of string) *program {
	p.op(opGlobal)
	p.WriteString(module + "\n" + of + "\n")
	return p
}

func (p *program) storage(kind, key string, n int) *program {
	return p.op(opMark).text("storage").name("torch", kind).text(key).text("cpu").number(n).op(opTuple, opBinPersID)
}

// tensor pushes a tensor, as torch writes it.
func (p *program) tensor(kind, key string, n, offset int, shape, strides []int) *program {
	p.name("torch._utils", "_rebuild_tensor_v2").op(opMark).storage(kind, key, n).number(offset).numbers(shape...).numbers(strides...)
	return p.op(opNewFalse).name("collections", "OrderedDict").op(opEmptyTuple, opReduce, opTuple, opReduce)
}

func start() *program { return (&program{}).op(opProto, 2) }

// archive makes a file of a pickle and storages.
func archive(t testing.TB, pickle []byte, method uint16, files map[string][]byte) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	names := []string{"m/data.pkl"}
	all := map[string][]byte{"m/data.pkl": pickle}
	for name, data := range files {
		names = append(names, "m/"+name)
		all["m/"+name] = data
	}
	slices.Sort(names)
	for _, name := range names {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err == nil {
			_, err = w.Write(all[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(data []byte) (*File, error) {
	return New("x.bin", bytes.NewReader(data), int64(len(data)))
}

func littleEndian(v any) []byte {
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, v)
	return b.Bytes()
}

func TestRead(t *testing.T) {
	p := start().op(opEmptyDict, opMark)
	p.text("a").tensor("FloatStorage", "0", 6, 0, []int{2, 3}, []int{3, 1})
	p.text("view").tensor("FloatStorage", "0", 6, 2, []int{1, 4}, []int{9, 1}) // shares the storage of a
	p.text("bf16").tensor("BFloat16Storage", "1", 2, 0, []int{2}, []int{1})
	p.text("f16").tensor("HalfStorage", "2", 5, 0, []int{5}, []int{1})
	p.text("f64").tensor("DoubleStorage", "3", 1, 0, nil, nil)
	p.op(opSetItems, opStop)
	f, err := open(archive(t, p.Bytes(), zip.Store, map[string][]byte{
		"byteorder": []byte("little"),
		"data/0":    littleEndian([]float32{1, 2, 3, 4, 5, 6}),
		"data/1":    littleEndian([]uint16{0x3f80, 0xc000}),
		"data/2":    littleEndian([]uint16{0x3c00, 0xc000, 0x0001, 0x7c00, 0x8000}),
		"data/3":    littleEndian([]float64{-0.5}),
	}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		shape      []int
		values     []float32
	}{
		{"a", "F32 [2 3]", []int{2, 3}, []float32{1, 2, 3, 4, 5, 6}},
		{"view", "F32 [1 4]", []int{1, 4}, []float32{3, 4, 5, 6}},
		{"bf16", "BF16 [2]", []int{2}, []float32{1, -2}},
		{"f16", "F16 [5]", []int{5}, []float32{1, -2, 5.9604644775390625e-8, float32(math.Inf(1)), 0}},
		{"f64", "F64 []", []int{}, []float32{-0.5}},
	} {
		info, ok := f.Info(c.name)
		if !ok || info.String() != c.want {
			t.Errorf("%s: %v, want %s", c.name, info, c.want)
		}
		got := make([]float32, len(c.values))
		if err := f.Float32s(got, c.name); err != nil || !slices.Equal(got, c.values) {
			t.Errorf("%s: %v, want %v (%v)", c.name, got, c.values, err)
		}
	}
	if want := []string{"a", "bf16", "f16", "f64", "view"}; !slices.Equal(f.Names(), want) {
		t.Errorf("names %v, want %v", f.Names(), want)
	}
	if err := f.Float32s(make([]float32, 2), "a"); err == nil {
		t.Error("two values of six were read")
	}
	if err := f.Float32s(nil, "none"); err == nil {
		t.Error("a tensor was read that is not there")
	}
}

// TestReadMetadata reads a dictionary as state_dict() makes it: an OrderedDict with the versions of the modules, memo and newer opcodes.
func TestReadMetadata(t *testing.T) {
	p := (&program{}).op(opProto, 4, opFrame, 0, 0, 0, 0, 0, 0, 0, 0)
	p.op(opShortBinUnicode, 11).WriteString("collections")
	p.op(opMemoize, opShortBinUnicode, 11).WriteString("OrderedDict")
	p.op(opStackGlobal, opEmptyTuple, opReduce, opBinPut, 7)
	p.text("w").tensor("FloatStorage", "0", 1, 0, []int{1}, []int{1}).op(opSetItem)
	p.op(opEmptyDict).text("_metadata").op(opEmptyDict).text("v").op(opLong1, 2, 0xff, 0xff, opSetItem, opSetItem, opBuild)
	p.op(opStop)
	f, err := open(archive(t, p.Bytes(), zip.Store, map[string][]byte{"data/0": make([]byte, 4)}))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.Names(), []string{"w"}) {
		t.Errorf("names %v", f.Names())
	}
}

func TestRefuses(t *testing.T) {
	one := map[string][]byte{"data/0": make([]byte, 16)} // four values
	tensor := func(n, offset int, shape, strides []int) []byte {
		return start().op(opEmptyDict).text("w").tensor("FloatStorage", "0", n, offset, shape, strides).op(opSetItem, opStop).Bytes()
	}
	for _, c := range []struct {
		name   string
		pickle []byte
		files  map[string][]byte
		want   string
	}{
		{"os.system", start().name("posix", "system").text("true").op(opTuple1, opReduce, opStop).Bytes(), nil, `"posix.system", which is refused`},
		{"builtins by stack", start().text("builtins").text("eval").op(opStackGlobal, opStop).Bytes(), nil, `"builtins.eval", which is refused`},
		{"other rebuild", start().name("torch._utils", "_rebuild_parameter").op(opStop).Bytes(), nil, "_rebuild_parameter"},
		{"integers", start().storage("LongStorage", "0", 2).op(opStop).Bytes(), nil, "torch.LongStorage"},
		{"opcode", start().op('i').Bytes(), nil, "opcode 0x69 is refused"},
		{"call of a type", start().name("torch", "FloatStorage").op(opEmptyTuple, opReduce, opStop).Bytes(), nil, "call of torch.FloatStorage is refused"},
		{"a list", start().op(']', opStop).Bytes(), nil, "opcode 0x5d"},
		{"not a dictionary", start().number(3).op(opStop).Bytes(), nil, "found an integer"},
		{"not tensors", start().op(opEmptyDict).text("w").number(3).op(opSetItem, opStop).Bytes(), nil, `"w" is an integer`},
		{"key twice", start().op(opEmptyDict).text("w").number(3).op(opSetItem).text("w").number(3).op(opSetItem, opStop).Bytes(), nil, "twice"},
		{"cut off", start().op(opEmptyDict).Bytes(), nil, "the pickle ends"},
		{"text too long", start().op(opBinUnicode, 255, 255, 255, 255, 'x').Bytes(), nil, "a text of 4294967295 bytes"},
		{"empty stack", start().op(opReduce, opStop).Bytes(), nil, "stack"},
		{"no mark", start().op(opEmptyDict, opSetItems, opStop).Bytes(), nil, "no mark"},
		{"memo", start().op(opBinGet, 3, opStop).Bytes(), nil, "memo 3 is empty"},
		{"protocol", (&program{}).op(opProto, 9).Bytes(), nil, "protocol 9"},
		{"two values", start().number(3).op(opEmptyDict, opStop).Bytes(), nil, "2 values are left"},
		{"attributes", start().op(opEmptyDict, opEmptyDict).text("__class__").number(1).op(opSetItem, opBuild, opStop).Bytes(), nil, "__class__"},
		{"storage is missing", tensor(4, 0, []int{4}, []int{1}), nil, "data/0, are missing"},
		{"storage is short", tensor(5, 0, []int{5}, []int{1}), one, "has 16 bytes, expected 20"},
		{"tensor beyond storage", tensor(4, 0, []int{5}, []int{1}), one, "more values than its storage"},
		{"huge", tensor(4, 0, []int{1 << 30, 1 << 30, 1 << 30, 1 << 30}, []int{1, 1, 1, 1}), one, "more values than its storage"},
		{"offset", tensor(4, 1, []int{2, 2}, []int{2, 1}), one, "from 1 on"},
		{"negative offset", tensor(4, -1, []int{2}, []int{1}), one, "from -1 on"},
		{"negative size", tensor(4, 0, []int{-1}, []int{1}), one, "expected integers"},
		{"expanded", tensor(4, 0, []int{1000000}, []int{0}), one, "not one behind the other"},
		{"transposed", tensor(4, 0, []int{2, 2}, []int{1, 2}), one, "not one behind the other"},
		{"big-endian", tensor(4, 0, []int{4}, []int{1}), map[string][]byte{"byteorder": []byte("big"), "data/0": make([]byte, 16)}, "byte order"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := open(archive(t, c.pickle, zip.Store, c.files))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "x.bin: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestRefusesArchives(t *testing.T) {
	good := start().op(opEmptyDict).text("w").tensor("FloatStorage", "0", 4, 0, []int{4}, []int{1}).op(opSetItem, opStop).Bytes()
	whole := archive(t, good, zip.Store, map[string][]byte{"data/0": make([]byte, 16)})
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"empty", "not a checkpoint of torch", nil},
		{"old format", "torch 1.6 or newer", append([]byte{opProto, 2, opLong1, 10}, make([]byte, 200)...)},
		{"cut off", "not a checkpoint of torch", whole[:len(whole)/2]},
		{"compressed", "is compressed", archive(t, good, zip.Deflate, map[string][]byte{"data/0": make([]byte, 16)})},
		{"another zip", "no data.pkl", func() []byte {
			var b bytes.Buffer
			z := zip.NewWriter(&b)
			z.Create("readme")
			z.Close()
			return b.Bytes()
		}()},
	} {
		if _, err := open(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.bin")); !os.IsNotExist(err) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestGolden opens every checkpoint of torch among the golden cases.
func TestGolden(t *testing.T) {
	for _, c := range golden.Cases(t, "pytorch_model.bin") {
		f, err := Open(filepath.Join(c.Path, "pytorch_model.bin"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, name := range f.Names() {
			info, _ := f.Info(name)
			values := make([]float32, info.Len())
			if err := f.Float32s(values, name); err != nil {
				t.Error(err)
			}
			if slices.ContainsFunc(values, func(v float32) bool { return v != v }) || info.DType != safetensors.BF16 {
				t.Errorf("%s: %s", name, info)
			}
		}
	}
}

// seeds are pickles for the fuzzers.
func seeds() [][]byte {
	return [][]byte{
		start().op(opEmptyDict).text("w").tensor("FloatStorage", "0", 4, 0, []int{2, 2}, []int{2, 1}).op(opSetItem, opStop).Bytes(),
		start().op(opEmptyDict, opMark).text("w").tensor("BFloat16Storage", "1", 4, 1, []int{3}, []int{1}).op(opBinPut, 1).text("v").op(opBinGet, 1, opSetItems, opStop).Bytes(),
		start().name("collections", "OrderedDict").op(opEmptyTuple, opReduce, opEmptyDict, opBuild, opStop).Bytes(),
		start().op(opMark, opNone, opNewTrue, opBinInt1, 3, opBinInt2, 1, 2, opLong1, 3, 1, 2, 3, opTuple, opTuple1, opMemoize, opStop).Bytes(),
	}
}

// FuzzUnpickle: any program ends, without a panic, in an error or in tensors that lie within their storages.
func FuzzUnpickle(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		d, err := unpickle(in)
		if err != nil {
			return
		}
		for _, key := range d.keys {
			if v, ok := d.value[key].(*tensor); ok {
				n := int64(1)
				for _, s := range v.shape {
					n *= int64(s)
				}
				if n < 0 || v.offset < 0 || v.offset+n > v.storage.n {
					t.Errorf("%s: %d values from %d on of %d", key, n, v.offset, v.storage.n)
				}
			}
		}
	})
}

// FuzzNew: any file gives an error, or tensors that can be read and are no larger than the file.
func FuzzNew(f *testing.F) {
	for _, s := range seeds() {
		f.Add(archive(f, s, zip.Store, map[string][]byte{"data/0": make([]byte, 16), "data/1": make([]byte, 8)}))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		file, err := open(in)
		if err != nil {
			return
		}
		for _, name := range file.Names() {
			info, _ := file.Info(name)
			if info.Len()*info.DType.Size() > len(in) {
				t.Fatalf("%s: %s in a file of %d bytes", name, info, len(in))
			}
			if err := file.Float32s(make([]float32, info.Len()), name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
