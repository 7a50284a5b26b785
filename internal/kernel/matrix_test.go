package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"mor/internal/half"
	"mor/internal/memory"
	"mor/internal/quant"
)

// types are all that a Matrix may have.
var types = []quant.Type{quant.F32, quant.F16, quant.BF16, quant.Q8_0, quant.Q4_0, quant.Q4_1, quant.Q5_0, quant.Q5_1, quant.Q4_K, quant.Q5_K, quant.Q6_K}

// randomBlocks returns rows of blocks with moderate scales, and the values they stand for.
func randomBlocks(rng *rand.Rand, t quant.Type, rows, in int) (raw [][]byte, values []float32) {
	per := t.Values()
	for range rows {
		r := make([]byte, (in+per-1)/per*t.Bytes())
		for i := range r {
			r[i] = byte(rng.Uint32())
		}
		for at := 0; at < len(r); at += t.Bytes() {
			small := func(off int) { r[at+off], r[at+off+1] = byte(rng.Uint32()), 0x20+byte(rng.Uint32()&7) } // half precision, about 0.01
			switch t {
			case quant.F32:
				v := math.Float32bits(float32(rng.NormFloat64()))
				r[at], r[at+1], r[at+2], r[at+3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
			case quant.BF16:
				v := math.Float32bits(float32(rng.NormFloat64()))
				r[at], r[at+1] = byte(v>>16), byte(v>>24)
			case quant.Q4_1, quant.Q5_1, quant.Q4_K, quant.Q5_K:
				small(0)
				small(2)
			case quant.Q6_K:
				small(208)
			default:
				small(0)
			}
		}
		wide := make([]float32, (in+per-1)/per*per)
		t.Expand(wide, r)
		raw, values = append(raw, r), append(values, wide[:in]...)
	}
	return raw, values
}

// matrixOf lays out rows.
func matrixOf(t testing.TB, c *CPU, q quant.Type, in int, raw [][]byte) *Matrix {
	m, err := c.NewMatrix(new(memory.Arena), q, in, len(raw))
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range raw {
		m.SetRow(i, r)
	}
	return m
}

// matrixShapes are n, in, out; a type whose blocks are longer takes whole ones.
var matrixShapes = [][3]int{{1, 32, 32}, {1, 288, 33}, {2, 64, 1}, {3, 512, 70}, {17, 96, 64}, {33, 66, 31}, {70, 256, 40}, {270, 64, 35}}

func fit(t quant.Type, in int) int {
	if per := t.Values(); per > blockIn {
		return (in + per - 1) / per * per
	}
	return in
}

// TestMatrixRows: the layout holds exactly what the blocks say.
func TestMatrixRows(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, level := range Levels() {
		c := mustCPU(t, level, 1)
		for _, q := range types {
			in := fit(q, 100)
			raw, values := randomBlocks(rng, q, 35, in)
			m, got := matrixOf(t, c, q, in, raw), make([]float32, in)
			for i := range raw {
				m.Row(got, i)
				if want := values[i*in : (i+1)*in]; !slices.Equal(got, want) {
					t.Fatalf("%s %s: row %d is %v, want %v", level, q, i, got[:4], want[:4])
				}
			}
		}
	}
}

// TestProject compares products of every type with float64 sums of what was multiplied: the values of the weights with the activations, which types of few
// bits round to 1/127 of their block's largest.
func TestProject(t *testing.T) {
	for _, level := range Levels() {
		c := mustCPU(t, level, 2)
		for _, q := range types {
			for _, s := range matrixShapes {
				t.Run(fmt.Sprint(level, "/", q, s), func(t *testing.T) { checkProject(t, c, q, s[0], fit(q, s[1]), s[2]) })
			}
		}
	}
}

func checkProject(t *testing.T, c *CPU, q quant.Type, n, in, out int) {
	rng := rand.New(rand.NewPCG(uint64(n), uint64(in*1000+out)))
	raw, w := randomBlocks(rng, q, out, in)
	m, x := matrixOf(t, c, q, in, raw), random(rng, n*in)
	y, start := random(rng, n*2*out), []float32(nil)
	start = slices.Clone(y)
	c.Project(y, x, []*Matrix{m, m}, n, true)
	read := x
	if q.Values() > 1 {
		read = roundActivations(x, n, in)
	} else if q == quant.BF16 && c.bf16 {
		read = slices.Clone(x)
		for i, v := range read {
			read[i] = half.BF16(half.ToBF16(v))
		}
	}
	for i := range n {
		for o := range 2 * out {
			sum := float64(start[i*2*out+o])
			size := math.Abs(sum) + 1e-3
			for p := range in {
				v := float64(read[i*in+p]) * float64(w[o%out*in+p])
				sum, size = sum+v, size+math.Abs(v)
			}
			if d := math.Abs(float64(y[i*2*out+o]) - sum); !(d <= 3e-6*size) {
				t.Fatalf("row %d, output %d is %v, want %v", i, o, y[i*2*out+o], sum)
			}
		}
	}
}

// roundActivations is what types of few bits make of rows of activations.
func roundActivations(x []float32, n, in int) []float32 {
	out := slices.Clone(x)
	for i := range n {
		r := row(out, i, in)
		for len(r) > 0 {
			part := r[:min(blockIn, len(r))]
			r = r[len(part):]
			top := float32(0)
			for _, v := range part {
				top = max(top, float32(math.Abs(float64(v))))
			}
			for p, v := range part {
				part[p] = float32(math.RoundToEven(float64(v*(127/top)))) * (top / 127)
			}
		}
	}
	return out
}

// TestProjectBits: neither workers, nor other rows, nor matrices beside show in the result, and the vector levels agree where all read the activations alike.
func TestProjectBits(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, q := range types {
		n, in, out := 67, fit(q, 320), 75
		raw, _ := randomBlocks(rng, q, out, in)
		x := random(rng, n*in)
		clear(x[in : in+40]) // a block of zeros
		var first []float32
		for _, level := range Levels() {
			c := mustCPU(t, level, 1)
			m := matrixOf(t, c, q, in, raw)
			y := make([]float32, n*out)
			c.Project(y, x, []*Matrix{m}, n, false)
			if level == AVX2 {
				first = y
			} else if first != nil && !slices.Equal(first, y) && !(q == quant.BF16 && c.bf16) {
				t.Errorf("%s: %s gives other bits than avx2", level, q)
			}
			for _, workers := range []int{2, 3} {
				p, part, y2 := mustCPU(t, level, workers), 1+workers*3, make([]float32, n*out)
				for i := 0; i < n; i += part {
					k := min(part, n-i)
					p.Project(y2[i*out:], x[i*in:], []*Matrix{m}, k, false)
				}
				if !slices.Equal(y, y2) {
					t.Errorf("%s: %s: %d rows at a time with %d workers give other bits than all with one", level, q, part, workers)
				}
			}
		}
	}
}
