package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mor/internal/half"
)

// The bytes that safetensors 0.8 (Rust) writes for the same tensors and metadata.
func TestWriteBytes(t *testing.T) {
	var b bytes.Buffer
	err := Write(&b, []Source{
		FromFloat32s(`we<ight"é`, F32, []int{1, 2}, []float32{1, -2}),
		FromBytes("n", U8, []int{1}, []byte{7}),
	}, map[string]string{"format": "pt"})
	if err != nil {
		t.Fatal(err)
	}
	want := file(`{"__metadata__":{"format":"pt"},"we<ight\"é":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"n":{"dtype":"U8","shape":[1],"data_offsets":[8,9]}}   `,
		0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0, 7)
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	n := chunk/4*2 + 17 // several chunks and a rest
	floats, ints := make([]float32, n), make([]int32, n)
	for i := range floats {
		floats[i], ints[i] = float32(rng.NormFloat64()), int32(rng.Uint32())
	}
	var b bytes.Buffer
	err := Write(&b, []Source{
		FromFloat32s("f32", F32, []int{n}, floats),
		FromFloat32s("f16", F16, []int{n, 1}, floats),
		FromFloat32s("bf16", BF16, []int{1, n}, floats),
		FromInt32s("i32", []int{n}, ints),
		FromFloat32s("none", F32, []int{3, 0}, nil),
		FromFloat32s("scalar", F32, nil, floats[:1]),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if f.start%8 != 0 {
		t.Errorf("data begin at byte %d, expected a multiple of 8", f.start)
	}
	if got := f.Metadata(); got != nil {
		t.Errorf("metadata %v, expected none", got)
	}
	for _, test := range []struct {
		name      string
		tolerance float64 // relative: half a unit in the last place
	}{{"f32", 0}, {"f16", 0x1p-11}, {"bf16", 0x1p-8}} {
		got := make([]float32, n)
		if err := f.Float32s(got, test.name); err != nil {
			t.Fatal(err)
		}
		for i, x := range got {
			// below 2^-14 the step of F16 is 2^-24
			if diff := math.Abs(float64(x - floats[i])); diff > max(test.tolerance*math.Abs(float64(floats[i])), test.tolerance*0x1p-14) {
				t.Fatalf("%s: element %d is %v, written %v", test.name, i, x, floats[i])
			}
		}
	}
	got := make([]int32, n)
	if err := f.Int32s(got, "i32"); err != nil || !cmp.Equal(got, ints) {
		t.Errorf("i32 differs (%v)", err)
	}
	if err := f.Float32s(nil, "none"); err != nil {
		t.Error(err)
	}
	one := make([]float32, 1)
	if err := f.Float32s(one, "scalar"); err != nil || one[0] != floats[0] {
		t.Errorf("scalar is %v (%v), written %v", one, err, floats[0])
	}
}

func TestInt32sOfEveryType(t *testing.T) {
	var b bytes.Buffer
	err := Write(&b, []Source{
		FromBytes("u64", U64, []int{1}, []byte{200, 0, 0, 0, 0, 0, 0, 0}),
		FromBytes("i64", I64, []int{1}, bytes.Repeat([]byte{0xff}, 8)),
		FromBytes("u32", U32, []int{1}, []byte{200, 0, 0, 0}),
		FromBytes("i16", I16, []int{1}, []byte{0xff, 0xff}),
		FromBytes("u16", U16, []int{1}, []byte{0xff, 0xff}),
		FromBytes("i8", I8, []int{1}, []byte{0xff}),
		FromBytes("u8", U8, []int{1}, []byte{0xff}),
		FromBytes("bool", Bool, []int{1}, []byte{1}),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	want := []int32{200, -1, 200, -1, 65535, -1, 255, 1}
	for i, name := range f.Names() {
		got := make([]int32, 1)
		if err := f.Int32s(got, name); err != nil || got[0] != want[i] {
			t.Errorf("%s: %v (%v), expected %d", name, got, err, want[i])
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	nan := float32(math.NaN())
	one := func(s Source) []Source { return []Source{s} }
	tests := []struct {
		want    string
		sources []Source
	}{
		{`"a": the name is taken`, []Source{FromInt32s("a", []int{0}, nil), FromInt32s("a", []int{0}, nil)}},
		{`"__metadata__": the name is taken`, one(FromInt32s("__metadata__", []int{0}, nil))},
		{`not valid UTF-8`, one(FromInt32s("\xff", []int{0}, nil))},
		{`dtype "F4" is not supported`, one(FromBytes("a", "F4", []int{0}, nil))},
		{`negative dimension`, one(FromInt32s("a", []int{-1}, nil))},
		{`65 dimensions`, one(FromInt32s("a", make([]int, 65), nil))},
		{`4 bytes of data, expected 8 for I32 [2]`, one(FromInt32s("a", []int{2}, []int32{1}))},
		{`dtype is I32, expected F32, F16 or BF16`, one(FromFloat32s("a", I32, []int{1}, []float32{1}))},
		{`element 1 is 70000, beyond the range`, one(FromFloat32s("a", F16, []int{2}, []float32{nan, 70000}))},
		{`element 0 is 3.4028235e+38, beyond the range`, one(FromFloat32s("a", BF16, []int{1}, []float32{math.MaxFloat32}))},
	}
	for _, test := range tests {
		if err := Write(io.Discard, test.sources, nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, expected %q", err, test.want)
		}
	}
	if err := Write(io.Discard, nil, map[string]string{"a": "\xff"}); err == nil {
		t.Error("metadata that is not UTF-8 is written")
	}
}

var errFull = errors.New("disk full")

type limited struct{ left int }

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, errFull
	}
	l.left -= len(p)
	return len(p), nil
}

func TestWriteReportsTheWritersError(t *testing.T) {
	for _, left := range []int{0, 100} {
		err := Write(&limited{left}, []Source{FromFloat32s("a", F32, []int{100}, make([]float32, 100))}, nil)
		if !errors.Is(err, errFull) {
			t.Errorf("%d bytes of room: error %v", left, err)
		}
	}
}

func TestHalfPrecision(t *testing.T) {
	for h := range 1 << 16 {
		f16, bf16 := half.F16(uint16(h)), half.BF16(uint16(h))
		if f16 == f16 && half.ToF16(f16) != uint16(h) {
			t.Fatalf("F16 %#x is %v and goes back to %#x", h, f16, half.ToF16(f16))
		}
		if bf16 == bf16 && half.ToBF16(bf16) != uint16(h) {
			t.Fatalf("BF16 %#x is %v and goes back to %#x", h, bf16, half.ToBF16(bf16))
		}
		if f16 != f16 && (h&0x7fff <= 0x7c00 || half.ToF16(f16)&0x7fff <= 0x7c00) {
			t.Fatalf("F16 %#x: NaN", h)
		}
	}
	nan := math.Float32frombits(0x7f800001)
	if x := half.BF16(half.ToBF16(nan)); x == x {
		t.Errorf("BF16 of a NaN is %v", x)
	}
	if x := half.F16(half.ToF16(nan)); x == x {
		t.Errorf("F16 of a NaN is %v", x)
	}
}

// Between two neighbours of 16 bits the nearer one is taken, in the middle the even one.
func TestHalfPrecisionRounds(t *testing.T) {
	for h := range uint16(0x7bff) {
		lo, hi := half.F16(h), half.F16(h+1)
		checkRounding(t, half.ToF16, h, lo, hi)
		lo, hi = half.BF16(h), half.BF16(h+1)
		checkRounding(t, half.ToBF16, h, lo, hi)
	}
	for x, want := range map[float32]uint16{65519.996: 0x7bff, 65520: 0x7c00, 0x1p-25: 0, 0x1.000002p-25: 1, -0x1p-26: 0x8000} {
		if got := half.ToF16(x); got != want {
			t.Errorf("F16 of %v is %#x, expected %#x", x, got, want)
		}
	}
}

func checkRounding(t *testing.T, round func(float32) uint16, h uint16, lo, hi float32) {
	t.Helper()
	mid := float32((float64(lo) + float64(hi)) / 2)
	below, above := math.Nextafter32(mid, lo), math.Nextafter32(mid, hi)
	if got := round(below); got != h {
		t.Fatalf("%v rounds to %#x, expected %#x", below, got, h)
	}
	if got := round(mid); got != h+h&1 {
		t.Fatalf("%v rounds to %#x, expected %#x", mid, got, h+h&1)
	}
	if got := round(above); got != h+1 {
		t.Fatalf("%v rounds to %#x, expected %#x", above, got, h+1)
	}
	if got := round(-mid); got != h+h&1|0x8000 {
		t.Fatalf("%v rounds to %#x", -mid, got)
	}
}

func BenchmarkFloat32s(b *testing.B) {
	const n = 1 << 22
	for _, d := range []DType{F32, BF16, F16} {
		b.Run(string(d), func(b *testing.B) {
			var buf bytes.Buffer
			if err := Write(&buf, []Source{FromFloat32s("a", d, []int{n}, make([]float32, n))}, nil); err != nil {
				b.Fatal(err)
			}
			f, err := parse(buf.Bytes())
			if err != nil {
				b.Fatal(err)
			}
			dst := make([]float32, n)
			b.SetBytes(int64(n * d.Size()))
			for b.Loop() {
				if err := f.Float32s(dst, "a"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	data := make([]float32, 1<<22)
	for _, d := range []DType{F32, BF16} {
		b.Run(string(d), func(b *testing.B) {
			b.SetBytes(int64(binary.Size(data)))
			for b.Loop() {
				if err := Write(io.Discard, []Source{FromFloat32s("a", d, []int{len(data)}, data)}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
