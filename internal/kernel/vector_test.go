package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// vectorOp is an operation on vectors of n values, behind which v[i][n] lies: what it changes there is an error.
type vectorOp struct {
	name string
	run  func(l Level, v [][]float32) float64
}

var vectorOps = []vectorOp{
	{"add", func(l Level, v [][]float32) float64 { l.add(v[0], v[1]); return 0 }},
	{"scale", func(l Level, v [][]float32) float64 { l.scale(v[0], v[1], 0.7); return 0 }},
	{"scale in place", func(l Level, v [][]float32) float64 { l.scale(v[0], v[0], -3); return 0 }},
	{"addScaled", func(l Level, v [][]float32) float64 { l.addScaled(v[0], v[1], 0.7); return 0 }},
	{"mul", func(l Level, v [][]float32) float64 { l.mul(v[0], v[1], v[2]); return 0 }},
	{"addMul", func(l Level, v [][]float32) float64 { l.addMul(v[0], v[1], v[2], 1.3); return 0 }},
	{"rstd", inRows(func(l Level, v [][]float32, rows, d int) { l.rstd(v[0][:rows], v[1][:rows*d], d, 1e-5) })},
	{"norm", inRows(func(l Level, v [][]float32, rows, d int) { l.norm(v[0][:rows*d], v[1][:rows], v[2][:rows*d], v[3][:d]) })},
	{"dnorm", inRows(func(l Level, v [][]float32, rows, d int) {
		l.dnorm(v[0][:rows*d], v[1][:rows*d], v[2][:rows*d], v[3][:d], v[4][:rows])
	})},
	{"dnormWeight", inRows(func(l Level, v [][]float32, rows, d int) {
		l.dnormWeight(v[0][:d], v[1][:rows*d], v[2][:rows*d], v[3][:rows])
	})},
	{"swiglu", func(l Level, v [][]float32) float64 { l.swiglu(v[0], v[1], v[2]); return 0 }},
	{"dswiglu", func(l Level, v [][]float32) float64 { l.dswiglu(v[0], v[1], v[5], v[2], v[3], v[4]); return 0 }},
	{"dswiglu in place", func(l Level, v [][]float32) float64 { l.dswiglu(v[0], v[1], v[2], v[2], v[0], v[1]); return 0 }},
	{"exp", func(l Level, v [][]float32) float64 { return l.exp(v[0], 2) }},
	{"sumExp", func(l Level, v [][]float32) float64 { return l.sumExp(v[0], 2) }},
	{"sumSquares", func(l Level, v [][]float32) float64 { return l.sumSquares(v[0]) }},
	{"dot", func(l Level, v [][]float32) float64 { return float64(l.dot(v[0], v[1])) }},
	{"maxOf", func(l Level, v [][]float32) float64 {
		if len(v[0]) == 0 {
			return 0
		}
		return float64(l.maxOf(v[0]))
	}},
	{"rope", func(l Level, v [][]float32) float64 {
		half := len(v[0]) / 6
		l.rope(v[0][:6*half], v[1][:half], v[2][:half], -1)
		return 0
	}},
	{"adamw", func(l Level, v [][]float32) float64 {
		for i, a := range v[2] {
			v[2][i] = a * a
		}
		step.Update(l, v[0], v[1], v[2], v[3])
		return 0
	}},
}

// inRows runs an operation on three rows of what vectors have.
func inRows(run func(l Level, v [][]float32, rows, d int)) func(l Level, v [][]float32) float64 {
	return func(l Level, v [][]float32) float64 {
		if d := len(v[0]) / 3; d > 0 {
			run(l, v, 3, d)
		}
		return 0
	}
}

var step = &AdamW{GradScale: 0.5, Keep: 0.999, Beta2: 0.95, Rate1: 0.1, Rate2: 0.05, RootScale: 3, Eps: 1e-8, Step: 1e-2}

// canary is a value that no operation makes.
const canary = 0xffc0cafe

func (op vectorOp) on(l Level, n int, seed uint64) (result float64, v [][]float32, intact bool) {
	rng := rand.New(rand.NewPCG(seed, 1))
	whole := make([][]float32, 6)
	v = make([][]float32, 6)
	for i := range whole {
		whole[i] = make([]float32, n+64)
		for j := range whole[i] {
			whole[i][j] = math.Float32frombits(canary)
		}
		v[i] = whole[i][32 : 32+n : 32+n]
		for j := range v[i] {
			v[i][j] = float32(rng.NormFloat64())
		}
	}
	result, intact = op.run(l, v), true
	for _, w := range whole {
		for j := range 32 {
			intact = intact && math.Float32bits(w[j]) == canary && math.Float32bits(w[32+n+j]) == canary
		}
	}
	return result, v, intact
}

// vectorSizes has every remainder of the blocks, and rows of models.
func vectorSizes() []int {
	sizes := []int{127, 128, 130, 191, 576, 1000}
	for n := range 100 {
		sizes = append(sizes, n)
	}
	return sizes
}

// compare checks an operation of all levels against plain Go, and of all vector widths bit for bit.
func (op vectorOp) compare(t *testing.T, n int, seed uint64) {
	t.Helper()
	want, wants, _ := op.on(Generic, n, seed)
	var first [][]float32
	for _, l := range vectorLevels()[1:] {
		name := fmt.Sprint(op.name, " ", l, " n=", n)
		got, gots, intact := op.on(l, n, seed)
		if !intact {
			t.Errorf("%s writes outside its operands", name)
		}
		if !(math.Abs(got-want) <= 1e-5*(math.Abs(want)+math.Sqrt(float64(n)))) {
			t.Errorf("%s = %v, expected %v", name, got, want)
		}
		for i := range gots {
			for j := range gots[i] {
				g, w := float64(gots[i][j]), float64(wants[i][j])
				if !(math.Abs(g-w) <= 1e-6*(1+math.Abs(w))) {
					t.Fatalf("%s: operand %d [%d] = %v, expected %v", name, i, j, g, w)
				}
			}
		}
		gots = append(gots, []float32{float32(got), float32(got - float64(float32(got)))})
		for i := range first {
			same(t, fmt.Sprint(name, " beside another width, operand ", i), gots[i], first[i])
		}
		first = gots
	}
}

func TestVectorOperationsAreTheirDefinition(t *testing.T) {
	for _, op := range vectorOps {
		for _, n := range vectorSizes() {
			op.compare(t, n, uint64(n))
		}
	}
}

func FuzzVectorOperations(f *testing.F) {
	for i := range vectorOps {
		f.Add(uint8(i), uint16(97), uint64(i))
	}
	f.Fuzz(func(t *testing.T, op uint8, n uint16, seed uint64) {
		vectorOps[int(op)%len(vectorOps)].compare(t, int(n)%3000, seed)
	})
}

// ulps is how far got lies from want in units of want's last place as a float32.
func ulps(got float32, want float64) float64 {
	w := float32(want)
	if math.IsInf(float64(w), 0) || w == got {
		if w == got {
			return 0
		}
		return math.Inf(1)
	}
	_, exponent := math.Frexp(want)
	return math.Abs(float64(got)-want) / math.Ldexp(1, max(exponent-24, -149))
}

func TestExpIsWithinTwoUnits(t *testing.T) {
	const batch = 4096
	x, e := make([]float32, batch), make([]float32, batch)
	for _, l := range vectorLevels()[1:] {
		worst, at := 0.0, float32(0)
		for bits := uint64(0); bits < 1<<32; {
			n := 0
			for ; n < batch && bits < 1<<32; bits += 1511 {
				if a := math.Float32frombits(uint32(bits)); !(a < -110 || a > 95) { // where it is 0 and ∞ below
					x[n] = a
					n++
				}
			}
			copy(e, x[:n])
			l.exp(e[:n], 0)
			for i, a := range x[:n] {
				if a != a {
					if e[i] == e[i] {
						t.Fatalf("%v: e^NaN (%#x) = %v", l, math.Float32bits(a), e[i])
					}
				} else if u := ulps(e[i], math.Exp(float64(a))); u > worst {
					worst, at = u, a
				}
			}
		}
		t.Logf("%v: %.3f ulp at %v", l, worst, at)
		if worst > 2 {
			t.Errorf("%v: %v ulp at %v, expected at most 2", l, worst, at)
		}
		inf := float32(math.Inf(1))
		for _, c := range []struct{ x, want float32 }{{0, 1}, {float32(math.Copysign(0, -1)), 1}, {-inf, 0}, {-1e30, 0}, {-104.5, 0}, {1e30, inf}, {89, inf}, {inf, inf}} {
			v := []float32{c.x}
			if l.exp(v, 0); v[0] != c.want {
				t.Errorf("%v: e^%v = %v, expected %v", l, c.x, v[0], c.want)
			}
		}
	}
}

func TestAdamWGivesTheSameBitsAtEveryLevel(t *testing.T) {
	for _, op := range vectorOps {
		if op.name != "adamw" {
			continue
		}
		_, want, _ := op.on(Generic, 1003, 5)
		for _, l := range vectorLevels()[1:] {
			_, got, _ := op.on(l, 1003, 5)
			for i := range got {
				same(t, fmt.Sprint(l, " operand ", i), got[i], want[i])
			}
		}
	}
}

func TestAdamWIsTheFormula(t *testing.T) {
	const lr, beta1, beta2, eps, decay, clip, steps = 3e-3, 0.9, 0.95, 1e-8, 0.1, 0.5, 10
	rng := rand.New(rand.NewPCG(1, 2))
	for _, l := range vectorLevels() {
		p, m, v, g := []float32{0.3, -2, 0, 5}, make([]float32, 4), make([]float32, 4), make([]float32, 4)
		p64, m64, v64 := []float64{float64(p[0]), -2, 0, 5}, make([]float64, 4), make([]float64, 4)
		for s := 1.0; s <= steps; s++ {
			bc1, bc2 := 1-math.Pow(beta1, s), 1-math.Pow(beta2, s)
			c := AdamW{clip, 1 - lr*decay, beta2, 1 - beta1, 1 - beta2, float32(1 / math.Sqrt(bc2)), eps, float32(lr / bc1)}
			for i := range g {
				g[i] = float32(rng.NormFloat64())
				gi := float64(g[i]) * clip
				m64[i] = beta1*m64[i] + (1-beta1)*gi
				v64[i] = beta2*v64[i] + (1-beta2)*gi*gi
				p64[i] -= lr*decay*p64[i] + lr/bc1*m64[i]/(math.Sqrt(v64[i])/math.Sqrt(bc2)+eps)
			}
			c.Update(l, p, m, v, g)
		}
		for i := range p {
			if math.Abs(float64(p[i])-p64[i]) > 1e-6*(1+math.Abs(p64[i])) {
				t.Errorf("%v: parameter %d is %v, expected %v", l, i, p[i], p64[i])
			}
		}
	}
}

func TestSumSquaresIsFiniteExactlyIfAllIs(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for _, l := range vectorLevels() {
		x := make([]float32, 67)
		for i := range x {
			x[i] = math.MaxFloat32
		}
		if s := SumSquares(l, x) / (67 * math.MaxFloat32 * math.MaxFloat32); !(math.Abs(s-1) < 1e-12) {
			t.Errorf("%v: the sum for 67 largest floats is %v of what it should be", l, s)
		}
		for i := range x {
			for _, bad := range []float32{nan, inf} {
				x[i] = bad
				if s := SumSquares(l, x); !math.IsNaN(s) && !math.IsInf(s, 0) {
					t.Errorf("%v: %v at %d gives %v", l, bad, i, s)
				}
			}
			x[i] = 1
		}
	}
}

// TestAVX2UsesAVX2 reads the assembly, as a machine with AVX-512 would run what a machine without it cannot.
func TestAVX2UsesAVX2(t *testing.T) {
	files, err := filepath.Glob("*_amd64.s")
	if err != nil || len(files) == 0 {
		t.Fatal("no assembly here: ", err)
	}
	beyond := regexp.MustCompile(`\b([XY](1[6-9]|2\d|3[01])|Z\d+|K[0-7])\b`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, function := range strings.Split(string(text), "\nTEXT ·")[1:] {
			name, code, _ := strings.Cut(function, "(SB)")
			if register := beyond.FindString(code); register != "" && strings.HasSuffix(name, "AVX2") {
				t.Errorf("%s uses %s", name, register)
			}
		}
	}
}

// vectorLevels are this machine's levels that have vector operations of their own.
func vectorLevels() []Level {
	return slices.DeleteFunc(Levels(), func(l Level) bool { return l != l.vector() })
}
