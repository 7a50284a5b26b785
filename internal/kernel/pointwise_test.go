package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// problem is random operands for every pointwise kernel.
type problem struct {
	n, d    int
	x, y, z []float32 // [n,2d]
	w, v    []float32 // [d]
	r, g    []float32 // [n]
	rows    []int32   // [n] distinct rows of n
	tokens  []int32   // [n] rows below min(n,d), some often
}

func newProblem(n, d int) *problem {
	rng := rand.New(rand.NewPCG(uint64(n), uint64(d)))
	values := func(n int) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = float32(rng.NormFloat64())
		}
		return out
	}
	p := &problem{n: n, d: d, x: values(2 * n * d), y: values(2 * n * d), z: values(2 * n * d), w: values(d), v: values(d), r: values(n), g: values(n)}
	for _, i := range rng.Perm(n) {
		p.rows = append(p.rows, int32(i))
		p.tokens = append(p.tokens, int32(rng.IntN(min(3, n, d))))
	}
	return p
}

// targets is the tokens with none at every third row.
func (p *problem) targets() []int32 {
	out := append([]int32(nil), p.tokens...)
	for i := 1; i < len(out); i += 3 {
		out[i] = -1
	}
	return out
}

// doubles returns x in double precision.
func doubles(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, a := range x {
		out[i] = float64(a)
	}
	return out
}

func (p *problem) nd(x []float32) []float32 { return x[:p.n*p.d] }

// pointwiseCase is a kernel and its definition in double precision; both return the outputs. Those with byRow have rows as of
// a batch of any size.
type pointwiseCase struct {
	name  string
	run   func(c *CPU, p *problem) [][]float32
	want  func(p *problem) [][]float64
	byRow bool
}

var pointwiseCases = []pointwiseCase{
	{"RMSNorm", func(c *CPU, p *problem) [][]float32 {
		c.RMSNorm(p.y, p.r, p.x, p.w, p.n, p.d, 1e-5)
		return [][]float32{p.nd(p.y), p.r}
	}, func(p *problem) [][]float64 {
		y, r := doubles(p.nd(p.y)), doubles(p.r)
		for i := range p.n {
			s := 0.0
			for _, a := range row(p.x, i, p.d) {
				s += float64(a) * float64(a)
			}
			r[i] = 1 / math.Sqrt(s/float64(p.d)+1e-5)
			for j, a := range row(p.x, i, p.d) {
				y[i*p.d+j] = float64(a) * r[i] * float64(p.w[j])
			}
		}
		return [][]float64{y, r}
	}, true},
	{"RMSNormBackward", func(c *CPU, p *problem) [][]float32 {
		h := make([]float32, p.n*p.d)
		c.RMSNormBackward(p.z, p.v, h, p.y, p.x, p.w, p.r, p.n, p.d)
		return [][]float32{p.nd(p.z), p.v, h}
	}, func(p *problem) [][]float64 {
		dx, dw, h := doubles(p.nd(p.z)), doubles(p.v), make([]float64, p.n*p.d)
		for i := range p.n {
			r, mean := float64(p.r[i]), 0.0
			for j, a := range row(p.x, i, p.d) {
				gx := float64(p.y[i*p.d+j]) * float64(a)
				mean += gx * float64(p.w[j]) / float64(p.d)
				dw[j] += gx * r
				h[i*p.d+j] = float64(a) * r * float64(p.w[j])
			}
			for j, a := range row(p.x, i, p.d) {
				dx[i*p.d+j] += r * (float64(p.y[i*p.d+j])*float64(p.w[j]) - float64(a)*r*r*mean)
			}
		}
		return [][]float64{dx, dw, h}
	}, false},
	{"SwiGLU", func(c *CPU, p *problem) [][]float32 {
		c.SwiGLU(p.y, p.x, p.n, p.d)
		return [][]float32{p.nd(p.y)}
	}, func(p *problem) [][]float64 {
		y := doubles(p.nd(p.y))
		for i := range y {
			g, u := float64(p.x[i+i/p.d*p.d]), float64(p.x[i+i/p.d*p.d+p.d])
			y[i] = g / (1 + math.Exp(-g)) * u
		}
		return [][]float64{y}
	}, true},
	{"SwiGLUBackward", func(c *CPU, p *problem) [][]float32 {
		y := make([]float32, p.n*p.d)
		c.SwiGLUBackward(p.z, y, p.y, p.x, p.n, p.d)
		return [][]float32{p.z, y}
	}, wantSwiGLUBackward, true},
	{"SwiGLUBackward in place", func(c *CPU, p *problem) [][]float32 {
		c.SwiGLUBackward(p.x, p.y, p.y, p.x, p.n, p.d)
		return [][]float32{p.x, p.nd(p.y)}
	}, wantSwiGLUBackward, true},
	{"CrossEntropy", func(c *CPU, p *problem) [][]float32 {
		c.CrossEntropy(p.r, p.x, p.targets(), p.d, 0.3)
		return [][]float32{p.r, p.nd(p.x)}
	}, func(p *problem) [][]float64 {
		loss, dx := wantCrossEntropy(p, 0.3)
		return [][]float64{loss, dx}
	}, true},
	{"CrossEntropy without gradient", func(c *CPU, p *problem) [][]float32 {
		c.CrossEntropy(p.r, p.x, p.targets(), p.d, 0)
		return [][]float32{p.r, p.nd(p.x)}
	}, func(p *problem) [][]float64 {
		loss, _ := wantCrossEntropy(p, 0)
		return [][]float64{loss, doubles(p.nd(p.x))}
	}, true},
}

// each applies f to every element of an operand.
func (p *problem) each(x []float32, f func(i, j int, out []float64)) [][]float64 {
	out := doubles(x)
	for i := range p.n {
		for j := range p.d {
			f(i, j, out)
		}
	}
	return [][]float64{out}
}

// The operands of element (i, j), in double precision.
func (p *problem) at(x []float32, i, j int) float64 { return float64(x[i*p.d+j]) }

// moveCases are the kernels that move and weight rows.
var moveCases = []pointwiseCase{
	{"Add", func(c *CPU, p *problem) [][]float32 {
		c.Add(p.nd(p.y), p.x)
		return [][]float32{p.nd(p.y)}
	}, func(p *problem) [][]float64 {
		return p.each(p.nd(p.y), func(i, j int, out []float64) { out[i*p.d+j] += p.at(p.x, i, j) })
	}, true},
	{"Scale", func(c *CPU, p *problem) [][]float32 {
		c.Scale(p.nd(p.y), 0.7)
		return [][]float32{p.nd(p.y)}
	}, func(p *problem) [][]float64 {
		return p.each(p.nd(p.y), func(i, j int, out []float64) { out[i*p.d+j] *= 0.7 })
	}, true},
	{"GatherRows", func(c *CPU, p *problem) [][]float32 {
		c.GatherRows(p.y, p.x, p.tokens, p.d)
		return [][]float32{p.nd(p.y)}
	}, func(p *problem) [][]float64 {
		return p.each(p.nd(p.y), func(i, j int, out []float64) { out[i*p.d+j] = p.at(p.x, int(p.tokens[i]), j) })
	}, true},
	{"Copy", func(c *CPU, p *problem) [][]float32 {
		c.Copy(p.nd(p.y), p.x)
		return [][]float32{p.nd(p.y)}
	}, func(p *problem) [][]float64 { return [][]float64{doubles(p.nd(p.x))} }, true},
	{"ScatterRows", func(c *CPU, p *problem) [][]float32 {
		c.ScatterRows(p.y, p.x, p.rows, p.d)
		return [][]float32{p.nd(p.y)}
	}, func(p *problem) [][]float64 {
		return p.each(p.nd(p.y), func(i, j int, out []float64) { out[int(p.rows[i])*p.d+j] = p.at(p.x, i, j) })
	}, false},
	{"SetColumns", func(c *CPU, p *problem) [][]float32 {
		c.SetColumns(p.y, p.x, p.n, p.d, 2*p.d)
		c.SetColumns(p.z, nil, p.n, p.d/2, 2*p.d)
		return [][]float32{p.y, p.z}
	}, func(p *problem) [][]float64 {
		y, z := doubles(p.y), doubles(p.z)
		for i := range p.n {
			for j := range 2 * p.d {
				if at := 2*i*p.d + j; j >= p.d/2 {
					z[at] = 0
				}
				if at := 2*i*p.d + j; j >= p.d {
					y[at] = p.at(p.x, i, j-p.d)
				}
			}
		}
		return [][]float64{y, z}
	}, true},
	{"ScatterAddRows", func(c *CPU, p *problem) [][]float32 {
		c.ScatterAddRows(p.y, p.x, p.rows, p.d)
		return [][]float32{p.nd(p.y)}
	}, func(p *problem) [][]float64 {
		return p.each(p.nd(p.y), func(i, j int, out []float64) { out[int(p.rows[i])*p.d+j] += p.at(p.x, i, j) })
	}, false},
	{"ScatterAddScaled", func(c *CPU, p *problem) [][]float32 {
		c.ScatterAddScaled(p.y, p.x, p.g, p.rows, p.d)
		return [][]float32{p.nd(p.y)}
	}, func(p *problem) [][]float64 {
		return p.each(p.nd(p.y), func(i, j int, out []float64) { out[int(p.rows[i])*p.d+j] += p.at(p.x, i, j) * float64(p.g[i]) })
	}, false},
	{"DotRows", func(c *CPU, p *problem) [][]float32 {
		c.DotRows(p.r, p.x, p.y, p.n, p.d)
		return [][]float32{p.r}
	}, func(p *problem) [][]float64 {
		out := make([]float64, p.n)
		p.each(nil, func(i, j int, _ []float64) { out[i] += p.at(p.x, i, j) * p.at(p.y, i, j) })
		return [][]float64{out}
	}, true},
	{"ScaleRows", func(c *CPU, p *problem) [][]float32 {
		c.ScaleRows(p.y, p.y, p.g, p.n, p.d)
		return [][]float32{p.nd(p.y)}
	}, func(p *problem) [][]float64 {
		return p.each(p.nd(p.y), func(i, j int, out []float64) { out[i*p.d+j] *= float64(p.g[i]) })
	}, true},
	{"MulVec", func(c *CPU, p *problem) [][]float32 {
		c.MulVec(p.y, p.x, p.w, p.n, p.d)
		return [][]float32{p.nd(p.y)}
	}, func(p *problem) [][]float64 {
		return p.each(p.nd(p.y), func(i, j int, out []float64) { out[i*p.d+j] = p.at(p.x, i, j) * float64(p.w[j]) })
	}, true},
	{"MulVecBackwardWeight", func(c *CPU, p *problem) [][]float32 {
		c.MulVecBackwardWeight(p.v, p.y, p.x, p.n, p.d)
		return [][]float32{p.v}
	}, func(p *problem) [][]float64 {
		return p.each(p.v, func(i, j int, out []float64) { out[j] += p.at(p.y, i, j) * p.at(p.x, i, j) })
	}, false},
	{"EmbedBackward", func(c *CPU, p *problem) [][]float32 {
		c.EmbedBackward(p.y, p.x, p.tokens, p.d)
		return [][]float32{p.nd(p.y)}
	}, func(p *problem) [][]float64 {
		return p.each(p.nd(p.y), func(i, j int, out []float64) { out[int(p.tokens[i])*p.d+j] += p.at(p.x, i, j) })
	}, false},
	{"GELU", func(c *CPU, p *problem) [][]float32 {
		c.GELU(p.nd(p.y), p.x)
		return [][]float32{p.nd(p.y)}
	}, func(p *problem) [][]float64 {
		return p.each(p.nd(p.y), func(i, j int, out []float64) {
			x := p.at(p.x, i, j)
			out[i*p.d+j] = x * 0.5 * (1 + math.Erf(x/math.Sqrt2))
		})
	}, true},
	{"GELUBackward", func(c *CPU, p *problem) [][]float32 {
		c.GELUBackward(p.nd(p.y), p.y, p.x)
		return [][]float32{p.nd(p.y)}
	}, func(p *problem) [][]float64 {
		gelu := func(x float64) float64 { return x * 0.5 * (1 + math.Erf(x/math.Sqrt2)) }
		return p.each(p.nd(p.y), func(i, j int, out []float64) {
			x := p.at(p.x, i, j)
			out[i*p.d+j] *= (gelu(x+1e-5) - gelu(x-1e-5)) / 2e-5
		})
	}, true},
}

func wantSwiGLUBackward(p *problem) [][]float64 {
	out, y := make([]float64, 2*p.n*p.d), make([]float64, p.n*p.d)
	for i := range p.n * p.d {
		at := i + i/p.d*p.d
		g, u, dy := float64(p.x[at]), float64(p.x[at+p.d]), float64(p.y[i])
		s := 1 / (1 + math.Exp(-g))
		out[at], out[at+p.d], y[i] = dy*u*s*(1+g*(1-s)), dy*g*s, g*s*u
	}
	return [][]float64{out, y}
}

func wantCrossEntropy(p *problem, scale float64) (loss, dx []float64) {
	loss, dx = make([]float64, p.n), make([]float64, p.n*p.d)
	for i, target := range p.targets() {
		if target < 0 {
			continue
		}
		s := 0.0
		for _, a := range row(p.x, i, p.d) {
			s += math.Exp(float64(a))
		}
		loss[i] = math.Log(s) - float64(p.x[i*p.d+int(target)])
		for j, a := range row(p.x, i, p.d) {
			dx[i*p.d+j] = math.Exp(float64(a)) / s * scale
		}
		dx[i*p.d+int(target)] -= scale
	}
	return loss, dx
}

var pointwiseShapes = [][2]int{{1, 1}, {1, 16}, {3, 7}, {2, 33}, {5, 64}, {7, 80}, {1, 1000}, {17, 130}, {40, 576}, {300, 64}}

// TestPointwiseKernels holds every kernel against its definition, with any number of workers, and rows alone.
func TestPointwiseKernels(t *testing.T) {
	for _, level := range Levels() {
		var cpus []*CPU
		for workers := range 3 {
			cpus = append(cpus, pointwiseCPU(t, level, 1+workers))
		}
		for _, tc := range append(append([]pointwiseCase(nil), pointwiseCases...), moveCases...) {
			for _, shape := range pointwiseShapes {
				name := fmt.Sprint(level, " ", tc.name, " ", shape)
				want := tc.want(newProblem(shape[0], shape[1]))
				got := tc.run(cpus[0], newProblem(shape[0], shape[1]))
				for k := range want {
					near(t, fmt.Sprint(name, " output ", k), got[k], want[k], 2e-5)
				}
				for workers := 2; workers <= 3; workers++ {
					for k, out := range tc.run(cpus[workers-1], newProblem(shape[0], shape[1])) {
						same(t, fmt.Sprint(name, " with ", workers, " workers, output ", k), out, got[k])
					}
				}
				if tc.byRow {
					for k, out := range tc.run(cpus[0], newProblem(shape[0], shape[1]).prefix(1+shape[0]/3)) {
						same(t, fmt.Sprint(name, " as a smaller batch, output ", k), got[k][:len(out)], out)
					}
				}
			}
		}
	}
}

// prefix is the first n rows.
func (p *problem) prefix(n int) *problem {
	p.n, p.x, p.y, p.z = n, p.x[:2*n*p.d], p.y[:2*n*p.d], p.z[:2*n*p.d]
	p.r, p.g, p.rows, p.tokens = p.r[:n], p.g[:n], p.rows[:n], p.tokens[:n]
	for i := range p.tokens {
		p.tokens[i] = min(p.tokens[i], 2*int32(n)-1)
	}
	return p
}

func pointwiseCPU(t testing.TB, level Level, workers int) *CPU {
	t.Helper()
	c, err := New(level, workers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestRoPE(t *testing.T) {
	for _, level := range Levels() {
		c := pointwiseCPU(t, level, 2)
		for _, e := range []int{2, 6, 16, 30, 32, 64, 80, 96, 128} {
			const n, h, places = 9, 3, 50
			stride := h*e + 5
			rng := rand.New(rand.NewPCG(1, uint64(e)))
			table, x, pos := make([]float32, places*e), make([]float32, n*stride), make([]int32, n)
			for i := range places {
				for p := range e / 2 {
					sin, cos := math.Sincos(float64(i) * math.Pow(10000, -2*float64(p)/float64(e)))
					table[i*e+p], table[i*e+e/2+p] = float32(cos), float32(sin)
				}
			}
			for i := range x {
				x[i] = float32(rng.NormFloat64())
			}
			for i := range pos {
				pos[i] = int32(rng.IntN(places))
			}
			want := doubles(x)
			for i := range n {
				for j := range h {
					for p := range e / 2 {
						a, b := i*stride+j*e+p, i*stride+j*e+e/2+p
						cos, sin := float64(table[int(pos[i])*e+p]), float64(table[int(pos[i])*e+e/2+p])
						want[a], want[b] = want[a]*cos-want[b]*sin, want[b]*cos+want[a]*sin
					}
				}
			}
			before := doubles(x)
			c.RoPE(x, table, pos, h, e, stride, false)
			near(t, fmt.Sprint(level, " e=", e), x, want, 1e-6)
			c.RoPE(x, table, pos, h, e, stride, true)
			near(t, fmt.Sprint(level, " e=", e, " and back"), x, before, 1e-6)
		}
	}
}

func TestCrossEntropyOfALargeVocabulary(t *testing.T) {
	const v = 49152
	for _, spread := range []float64{0.1, 3, 20} {
		rng := rand.New(rand.NewPCG(3, 4))
		logits := make([]float32, v)
		for i := range logits {
			logits[i] = float32(100 + spread*rng.NormFloat64())
		}
		p := &problem{n: 1, d: v, x: logits, tokens: []int32{12345}}
		wantLoss, wantGrad := wantCrossEntropy(p, 1)
		for _, level := range Levels() {
			c := pointwiseCPU(t, level, 1)
			for _, scale := range []float32{0, 1} {
				x, loss := append([]float32(nil), logits...), []float32{0}
				c.CrossEntropy(loss, x, p.tokens, v, scale)
				if math.Abs(float64(loss[0])-wantLoss[0]) > 1e-6*wantLoss[0] {
					t.Errorf("%v: loss %v, expected %v", level, loss[0], wantLoss[0])
				}
				for i := range x {
					if want := wantGrad[i]; scale != 0 && math.Abs(float64(x[i])-want) > 1e-6*math.Abs(want)+1e-42 {
						t.Fatalf("%v: gradient %d is %v, expected %v", level, i, x[i], want)
					}
				}
			}
		}
	}
}

func TestPointwiseKeepsWhatIsNotFinite(t *testing.T) {
	const d = 37
	for _, level := range Levels() {
		c := pointwiseCPU(t, level, 1)
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
			for at := range d {
				x, y, rstd, w := make([]float32, 2*d), make([]float32, d), []float32{1}, make([]float32, d)
				for i := range w {
					w[i] = 1
				}
				x[at] = bad
				c.RMSNorm(y, rstd, x[:d], w, 1, d, 1e-5)
				if finite(y[at]) {
					t.Errorf("%v: RMSNorm of %v is %v", level, bad, y[at])
				}
				x[d+at] = 1
				c.SwiGLU(y, x, 1, d)
				if finite(y[at]) {
					t.Errorf("%v: SwiGLU of %v is %v", level, bad, y[at])
				}
				c.CrossEntropy(rstd, x[:d], []int32{0}, d, 1)
				if finite(rstd[0]) {
					t.Errorf("%v: loss of a logit %v at %d is %v", level, bad, at, rstd[0])
				}
			}
		}
		loss, x := []float32{0}, []float32{0, float32(math.Inf(-1)), 0, float32(math.Inf(-1))}
		c.CrossEntropy(loss, x, []int32{0}, 4, 1)
		if math.Abs(float64(loss[0])-math.Ln2) > 1e-6 || x[0] != -0.5 || x[1] != 0 || x[2] != 0.5 {
			t.Errorf("%v: two of four logits −∞: loss %v, gradient %v", level, loss, x)
		}
	}
}

func finite(x float32) bool { return x-x == 0 }

// TestWeightGradientsAddUp: a batch in parts gives the bits of the whole.
func TestWeightGradientsAddUp(t *testing.T) {
	const n, d, cut = 29, 80, 11
	for _, level := range Levels() {
		c := pointwiseCPU(t, level, 2)
		run := func(parts ...[2]int) [][]float32 {
			p := newProblem(n, d)
			norm, mul, embed := p.v, append([]float32(nil), p.w...), p.z
			for _, part := range parts {
				lo, hi := part[0], part[1]
				y, x := p.y[lo*d:hi*d], p.x[lo*d:hi*d]
				c.RMSNormBackward(make([]float32, n*d), norm, nil, y, x, p.w, p.r[lo:hi], hi-lo, d)
				c.MulVecBackwardWeight(mul, y, x, hi-lo, d)
				c.EmbedBackward(embed, y, p.tokens[lo:hi], d)
			}
			return [][]float32{norm, mul, embed}
		}
		whole, parts := run([2]int{0, n}), run([2]int{0, cut}, [2]int{cut, n})
		for i := range whole {
			same(t, fmt.Sprint(level, " gradient ", i), parts[i], whole[i])
		}
	}
}

func TestPointwiseDoesNotAllocate(t *testing.T) {
	for _, level := range Levels() {
		c := pointwiseCPU(t, level, 2)
		p := newProblem(300, 64)
		targets, table := p.targets(), make([]float32, 300*32)
		adam := &AdamW{}
		kernels := func() {
			c.RMSNorm(p.y, p.r, p.x, p.w, p.n, p.d, 1e-5)
			c.RMSNormBackward(p.z, p.v, nil, p.y, p.x, p.w, p.r, p.n, p.d)
			c.RoPE(p.x, table, p.rows, 2, 32, 64, false)
			c.SwiGLU(p.y, p.x, p.n, p.d)
			c.SwiGLUBackward(p.z, p.y, p.y, p.x, p.n, p.d)
			c.CrossEntropy(p.r, p.x, targets, p.d, 0.3)
			c.Add(p.y, p.x)
			c.Scale(p.y, 1)
			c.Copy(p.y, p.x)
			c.ScatterRows(p.y, p.x, p.rows, p.d)
			c.SetColumns(p.y, p.x, p.n, 1, 2)
			c.GatherRows(p.y, p.x, p.tokens, p.d)
			c.ScatterAddRows(p.y, p.x, p.rows, p.d)
			c.ScatterAddScaled(p.y, p.x, p.g, p.rows, p.d)
			c.DotRows(p.r, p.x, p.y, p.n, p.d)
			c.ScaleRows(p.y, p.x, p.g, p.n, p.d)
			c.MulVec(p.y, p.x, p.w, p.n, p.d)
			c.MulVecBackwardWeight(p.v, p.y, p.x, p.n, p.d)
			c.EmbedBackward(p.y, p.x, p.tokens, p.d)
			c.GELU(p.y, p.x)
			c.GELUBackward(p.y, p.z, p.x)
			adam.Update(level, p.x, p.y, p.z, p.x)
			SumSquares(level, p.x)
		}
		if a := testing.AllocsPerRun(10, kernels); a != 0 {
			t.Errorf("%v: the kernels allocate %v times", level, a)
		}
	}
}
