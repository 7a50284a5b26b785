package kernel

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// formsBF16 are the products with operands rounded to bfloat16, with weights packed on the spot.
var formsBF16 = []form{
	{"Linear", func(c *CPU, y, x, w []float32, n, in, out int, acc bool) {
		c.LinearBF16(y, x, c.PackBF16(nil, w, in, out), n, acc)
	}, forms[0].dst, forms[0].a, forms[0].b, forms[0].term, forms[0].terms},
	{"LinearBackwardInput", func(c *CPU, dx, dy, w []float32, n, in, out int, acc bool) {
		c.LinearBackwardInputBF16(dx, dy, c.PackTransposedBF16(nil, w, in, out), n, acc)
	}, forms[1].dst, forms[1].a, forms[1].b, forms[1].term, forms[1].terms},
	{"LinearBackwardWeight", func(c *CPU, dw, dy, x []float32, n, in, out int, acc bool) {
		if !acc {
			clear(dw)
		}
		c.LinearBackwardWeightBF16(dw, dy, x, n, in, out)
	}, forms[2].dst, forms[2].a, forms[2].b, forms[2].term, forms[2].terms},
}

// levelsBF16 are this machine's levels that compute products of bfloat16.
func levelsBF16() []Level {
	return slices.DeleteFunc(Levels(), func(l Level) bool { return l == AVX2 || l == AVX512 })
}

// TestLinearBF16 holds every level against float64 sums of the rounded operands.
func TestLinearBF16(t *testing.T) {
	for _, level := range levelsBF16() {
		c := mustCPU(t, level, 2)
		for _, f := range formsBF16 {
			rounded := f
			rounded.term = func(a, b []float32, e, p, n, in, out int) (float32, float32) {
				x, y := f.term(a, b, e, p, n, in, out)
				return Round(x).Float(), Round(y).Float()
			}
			for _, s := range append(shapes, [3]int{1100, 20, 45}) {
				for _, acc := range []bool{false, true} {
					t.Run(fmt.Sprint(level, "/", f.name, s, acc), func(t *testing.T) { checkForm(t, c, rounded, s[0], s[1], s[2], acc) })
				}
			}
		}
	}
}

// TestLinearBF16Definition: the units give the bits of the definition, subnormal, infinite and NaN operands included.
func TestLinearBF16Definition(t *testing.T) {
	if !Has(AVX512BF16) {
		t.Skip("this CPU lacks avx512bf16")
	}
	fast, slow := mustCPU(t, AVX512BF16, 2), mustCPU(t, Generic, 2)
	rng := rand.New(rand.NewPCG(5, 6))
	for _, kind := range []string{"normal", "wide", "any"} {
		draw := func(n int) []float32 {
			out := random(rng, n)
			for i := range out {
				switch kind {
				case "wide": // sums of products near the ends of the range
					out[i] = float32(math.Ldexp(float64(out[i]), rng.IntN(140)-70))
				case "any":
					out[i] = math.Float32frombits(rng.Uint32())
				}
			}
			return out
		}
		for _, f := range formsBF16 {
			for _, s := range shapes {
				n, in, out := s[0], s[1], s[2]
				a, b, dst := draw(f.a(n, in, out)), draw(f.b(n, in, out)), draw(f.dst(n, in, out))
				got, want := slices.Clone(dst), slices.Clone(dst)
				f.run(fast, got, a, b, n, in, out, true)
				f.run(slow, want, a, b, n, in, out, true)
				for i := range got {
					if got[i] != want[i] && (got[i] == got[i] || want[i] == want[i]) {
						t.Fatalf("%s, %s values, %v: element %d is %v (%08x), the definition %v (%08x)", f.name, kind, s, i,
							got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
					}
				}
			}
		}
	}
}

// TestLinearBF16Bits: neither workers, nor other rows show in the result; for weights, nor do calls in parts.
func TestLinearBF16Bits(t *testing.T) {
	for _, level := range levelsBF16() {
		rng := rand.New(rand.NewPCG(1, 2))
		n, in, out := 131, 301, 97
		x, w, dy, start := random(rng, n*in), random(rng, out*in), random(rng, n*out), random(rng, out*in)
		run := func(workers, part int) (y, dx, dw []float32) {
			c := mustCPU(t, level, workers)
			y, dx, dw = make([]float32, n*out), make([]float32, n*in), slices.Clone(start)
			forward, backward := c.PackBF16(nil, w, in, out), c.PackTransposedBF16(nil, w, in, out)
			for i := 0; i < n; i += part {
				m := min(part, n-i)
				c.LinearBF16(y[i*out:], x[i*in:], forward, m, false)
				c.LinearBackwardInputBF16(dx[i*in:], dy[i*out:], backward, m, false)
				c.LinearBackwardWeightBF16(dw, dy[i*out:], x[i*in:], m, in, out)
			}
			return y, dx, dw
		}
		y, dx, dw := run(1, n)
		for _, workers := range []int{1, 2, 3, 128} {
			for _, part := range []int{1, 2, 9, 20, n} {
				y2, dx2, dw2 := run(workers, part)
				if !slices.Equal(y, y2) || !slices.Equal(dw, dw2) || !slices.Equal(dx, dx2) {
					t.Errorf("%s: %d workers with %d rows at a time give other bits than one with all", level, workers, part)
				}
			}
		}
	}
}

func TestLinearBF16DoesNotAllocate(t *testing.T) {
	for _, level := range levelsBF16() {
		c := mustCPU(t, level, 2)
		x, w, y := make([]float32, 40*70), make([]float32, 70*50), make([]float32, 40*50)
		var forward, backward *Packed
		step := func() {
			forward, backward = c.PackBF16(forward, w, 70, 50), c.PackTransposedBF16(backward, w, 70, 50)
			c.LinearBF16(y, x, forward, 40, false)
			c.LinearBackwardInputBF16(x, y, backward, 40, true)
			c.LinearBackwardWeightBF16(w, y, x, 40, 70, 50)
		}
		step()
		if a := testing.AllocsPerRun(10, step); a != 0 {
			t.Errorf("%s: %v allocations", level, a)
		}
	}
}

func TestRound(t *testing.T) {
	for _, c := range []struct {
		in   uint32
		want BF16
	}{{0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81}, {0xbf807fff, 0xbf80}, {0x7f7fffff, 0x7f80},
		{0xff800000, 0xff80}, {0x007fffff, 0}, {0x80000001, 0x8000}, {0x7f800001, 0x7fc0}, {0xffc00000, 0xffc0}} {
		if got := Round(math.Float32frombits(c.in)); got != c.want {
			t.Errorf("%08x becomes %04x, want %04x", c.in, got, c.want)
		}
	}
	if !Has(AVX512BF16) {
		return
	}
	c, rng := mustCPU(t, AVX512BF16, 1), rand.New(rand.NewPCG(7, 8))
	for n := 1; n < 100; n++ { // rows of every length, each at the end of its memory
		x, dst := guarded(t, n, false), guarded(t, even(n)/2, false)
		for i := range x {
			x[i] = math.Float32frombits(rng.Uint32())
		}
		c.roundPairs(dst, x, 1, n)
		for i, v := range x {
			if got := halves(dst)[i]; got != Round(v) {
				t.Fatalf("%d of %d: %08x becomes %04x, want %04x", i, n, math.Float32bits(v), got, Round(v))
			}
		}
		if n%2 == 1 && halves(dst)[n] != 0 {
			t.Fatalf("%d values: no zero behind them", n)
		}
	}
}

// TestEncodings disassembles the instructions that are written as bytes.
func TestEncodings(t *testing.T) {
	objdump, err := exec.LookPath("objdump")
	if err != nil {
		t.Skip("no objdump here")
	}
	files, err := filepath.Glob("*_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	var code []byte
	var want []string
	comment := regexp.MustCompile(`^\t// (V\w+) Z(\d+), Z(\d+), Z(\d+)$`)
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if m := comment.FindStringSubmatch(lines.Text()); m != nil {
				want = append(want, fmt.Sprintf("%s %%zmm%s,%%zmm%s,%%zmm%s", strings.ToLower(m[1]), m[2], m[3], m[4]))
			}
			if len(fields) != 2 || fields[0] != "LONG" && fields[0] != "WORD" {
				continue
			}
			v, err := strconv.ParseUint(fields[1][1:], 0, 32)
			if err != nil {
				t.Fatal(err)
			}
			if fields[0] == "LONG" {
				code = binary.LittleEndian.AppendUint32(code, uint32(v))
			} else {
				code = binary.LittleEndian.AppendUint16(code, uint16(v))
			}
		}
	}
	bin := filepath.Join(t.TempDir(), "code")
	if err := os.WriteFile(bin, code, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(objdump, "-D", "-b", "binary", "-m", "i386:x86-64", "--no-show-raw-insn", bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^ *[0-9a-f]+:\t(.*)$`).FindAllStringSubmatch(string(out), -1) {
		got = append(got, strings.Join(strings.Fields(m[1]), " "))
	}
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("%d instructions disassemble as %d others than their comments say", len(want), len(got))
	}
}

// TestRowsBF16: what is written as rows of bfloat16 is the rounded result of float32, to the last place, and products of them are those of rounded operands.
func TestRowsBF16(t *testing.T) {
	for _, level := range levelsBF16() {
		for _, n := range []int{1, 2, 7} {
			for _, d := range []int{1, 2, 15, 31, 32, 33, 64, 95, 130} {
				c, rng := mustCPU(t, level, 2), rand.New(rand.NewPCG(uint64(n), uint64(d)))
				x, w, gu, dy := random(rng, n*d), random(rng, d), random(rng, 2*n*d), random(rng, n*d)
				want, rstd, rstd2, rows := make([]float32, 2*n*d), make([]float32, n), make([]float32, n), make([]float32, n*Words(2*d))
				name := fmt.Sprintf("%s %dx%d", level, n, d)
				rows[len(rows)-1] = 7
				c.RMSNorm(want, rstd, x, w, n, d, 1e-5)
				c.RMSNormBF16(rows, rstd2, x, w, n, d, 1e-5)
				nearRows(t, name+" norm", rows, want, n, d)
				if !slices.Equal(rstd, rstd2) {
					t.Errorf("%s: rstd differs", name)
				}
				half, y := make([]float32, n*Words(2*d)), make([]float32, n*Words(d))
				c.SwiGLU(want, gu, n, d)
				c.SwiGLUBF16(y, half, gu, n, d)
				nearRows(t, name+" swiglu", y, want, n, d)
				nearRows(t, name+" gate and up", half, gu, n, 2*d)
				for i := range gu { // backward reads them rounded
					gu[i] = Round(gu[i]).Float()
				}
				c.SwiGLU(want, gu, n, d)
				c.SwiGLUBackwardBF16(y, half, dy, half, n, d)
				nearRows(t, name+" swiglu again", y, want, n, d)
				c.SwiGLUBackward(gu, slices.Clone(dy), dy, gu, n, d)
				nearRows(t, name+" swiglu backward", half, gu, n, 2*d)

				out := 9
				xr, dr, dyo, m := make([]float32, n*Words(d)), make([]float32, n*Words(out)), random(rng, n*out), random(rng, out*d)
				c.RoundRows(xr, x, n, d)
				c.RoundRows(dr, dyo, n, out)
				forward, backward := c.PackBF16(nil, m, d, out), c.PackTransposedBF16(nil, m, d, out)
				for _, p := range []struct {
					name       string
					size       int
					rows, want func(dst []float32)
				}{{"linear", n * out, func(y []float32) { c.LinearBF16Rows(y, xr, forward, n, false) }, func(y []float32) { c.LinearBF16(y, x, forward, n, false) }},
					{"dx", n * d, func(y []float32) { c.LinearBackwardInputBF16Rows(y, dr, backward, n, false) }, func(y []float32) { c.LinearBackwardInputBF16(y, dyo, backward, n, false) }},
					{"dw", out * d, func(y []float32) { c.LinearBackwardWeightBF16Rows(y, dr, xr, n, d, out) }, func(y []float32) { c.LinearBackwardWeightBF16(y, dyo, x, n, d, out) }}} {
					a, b := make([]float32, p.size), make([]float32, p.size)
					p.rows(a)
					p.want(b)
					if !slices.Equal(a, b) {
						t.Errorf("%s: %s of rows is not that of rounded operands", name, p.name)
					}
				}
			}
		}
	}
}

// TestRoundedBehind: kernels that also round what they write give the bits of the kernels that do not, rounded behind them.
func TestRoundedBehind(t *testing.T) {
	for _, level := range levelsBF16() {
		for _, shape := range [][2]int{{1, 2}, {7, 33}, {70, 64}, {300, 130}} {
			c, rng, n, d := mustCPU(t, level, 3), rand.New(rand.NewPCG(1, 2)), shape[0], shape[1]
			dy, x, w, rstd, table := random(rng, n*d), random(rng, n*d), random(rng, d), make([]float32, n), random(rng, n*d)
			h, wantH := make([]float32, n*Words(d)), make([]float32, n*Words(d))
			c.RMSNormBF16(h, rstd, x, w, n, d, 1e-5)
			clear(h)
			pos, targets, e := make([]int32, n), make([]int32, n), d/2*2 // the last value of an odd row is not turned
			for i := range pos {
				pos[i], targets[i] = int32(i*7%n), int32(i%(d+1)-1)
			}
			for _, k := range []struct {
				name       string
				plain, run func(out, sums, half []float32)
			}{
				{"RMSNormBackward", func(out, sums, _ []float32) {
					c.RMSNormBackward(out, sums[:d], nil, dy, x, w, rstd, n, d)
					c.RMSNormBF16(wantH, sums[d:], x, w, n, d, 1e-5)
				}, func(out, sums, half []float32) {
					c.RMSNormBackwardBF16(out, half, sums[:d], h, dy, x, w, rstd, n, d)
					copy(sums[d:], rstd)
				}},
				{"RoPE", func(out, _, _ []float32) { c.RoPE(out, table, pos, 1, e, d, true) },
					func(out, _, half []float32) { c.RoPEBF16(half, out, table, pos, 1, e, d, true) }},
				{"CrossEntropy", func(out, sums, _ []float32) { c.CrossEntropy(sums[:n], out, targets, d, 0.5) },
					func(out, sums, half []float32) { c.CrossEntropyBF16(half, sums[:n], out, targets, d, 0.5) }},
			} {
				name := fmt.Sprintf("%s %s %v", level, k.name, shape)
				want, wantSums := random(rng, n*d), random(rng, n+d)
				got, sums := slices.Clone(want), slices.Clone(wantSums)
				half, wantHalf := make([]float32, n*Words(d)), make([]float32, n*Words(d))
				k.plain(want, wantSums, nil)
				c.RoundRows(wantHalf, want, n, d)
				k.run(got, sums, half)
				same(t, name, got, want)
				same(t, name+" sums", sums, wantSums)
				same(t, name+" rounded", half, wantHalf)
				same(t, name+" norm", h, wantH)
			}
		}
	}
}

// nearRows fails unless rows of bfloat16 hold n rows of d values up to half a unit in the last place and a little more, and a zero behind an odd d.
func nearRows(t *testing.T, what string, rows, want []float32, n, d int) {
	t.Helper()
	for i := range n {
		r := halves(rows)[i*even(d):][:even(d)]
		for j, v := range want[i*d:][:d] {
			if got := r[j].Float(); !(math.Abs(float64(got-v)) <= 0x1p-8*math.Abs(float64(v))*1.001+1e-6) {
				t.Fatalf("%s: row %d, column %d is %v, want %v", what, i, j, got, v)
			}
		}
		if d%2 == 1 && r[d] != 0 {
			t.Fatalf("%s: row %d has no zero behind it", what, i)
		}
	}
}

func FuzzLinearBF16(f *testing.F) {
	f.Add(uint8(3), uint16(31), uint16(33), true)
	f.Fuzz(func(t *testing.T, n uint8, in, out uint16, acc bool) {
		for _, level := range levelsBF16() {
			c := mustCPU(t, level, 2)
			for _, form := range formsBF16 {
				rounded := form
				rounded.term = func(a, b []float32, e, p, n, in, out int) (float32, float32) {
					x, y := form.term(a, b, e, p, n, in, out)
					return Round(x).Float(), Round(y).Float()
				}
				checkForm(t, c, rounded, int(n%40)+1, int(in%400)+1, int(out%100)+1, acc)
			}
		}
	})
}

// BenchmarkLinearBF16 reports GFLOP/s and the share of the bfloat16 peak measured in the same process. The weights are packed ahead.
func BenchmarkLinearBF16(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	if !Has(AVX512BF16) {
		b.Skip("this CPU lacks avx512bf16")
	}
	for _, workers := range []int{1, 2} {
		c := mustCPU(b, AVX512BF16, workers)
		peak := c.PeakBF16()
		for _, s := range [][3]int{{2048, 576, 960}, {2048, 576, 3072}, {2048, 1536, 576}, {512, 576, 49152}} {
			n, in, out := s[0], s[1], s[2]
			w, x, y := random(rng, in*out), random(rng, n*in), random(rng, n*out)
			forward, backward := c.PackBF16(nil, w, in, out), c.PackTransposedBF16(nil, w, in, out)
			for _, f := range []struct {
				name string
				run  func()
			}{{"Linear", func() { c.LinearBF16(y, x, forward, n, false) }},
				{"LinearBackwardInput", func() { c.LinearBackwardInputBF16(x, y, backward, n, false) }},
				{"LinearBackwardWeight", func() { c.LinearBackwardWeightBF16(w, y, x, n, in, out) }}} {
				b.Run(fmt.Sprintf("%d/%s/%dx%dx%d", workers, f.name, n, in, out), func(b *testing.B) {
					clear(y)
					for b.Loop() {
						f.run()
					}
					rate := 2 * float64(n) * float64(in) * float64(out) * float64(b.N) / b.Elapsed().Seconds()
					b.ReportMetric(rate/1e9, "GFLOP/s")
					b.ReportMetric(100*rate/peak, "%peak")
				})
			}
		}
	}
}
