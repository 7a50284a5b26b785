package kernel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// layerRows is what a chain of all kernels that work by rows reads and writes, for n rows.
type layerRows struct {
	n, d, f    int
	x, h, rstd []float32
	gu, a, y   []float32
	dx, da, dw []float32
	halfX      []float32 // of bfloat16
	halfA      []float32
	halfH      []float32
	halfGU     []float32
	norm, cos  []float32
	pos        []int32
	up, down   *Packed
	upT, downT *Packed
}

func newLayerRows(c *CPU, n int, half bool) *layerRows {
	const d, f = 48, 40
	rng := rand.New(rand.NewPCG(uint64(n), 3))
	l := &layerRows{n: n, d: d, f: f, x: random(rng, n*d), h: make([]float32, n*d), rstd: make([]float32, n), gu: make([]float32, n*2*f), a: make([]float32, n*f),
		y: random(rng, n*d), dx: make([]float32, n*d), da: make([]float32, n*f), dw: random(rng, d), norm: random(rng, d), cos: random(rng, 8*16), pos: make([]int32, n),
		halfX: make([]float32, n*Words(d)), halfA: make([]float32, n*Words(f)),
		halfH: make([]float32, n*Words(d)), halfGU: make([]float32, n*Words(2*f))}
	for i := range l.pos {
		l.pos[i] = int32(i % 8)
	}
	up, down := random(rng, 2*f*d), random(rng, d*f)
	if half {
		l.up, l.down = c.PackBF16(nil, up, d, 2*f), c.PackBF16(nil, down, f, d)
		l.upT, l.downT = c.PackTransposedBF16(nil, up, d, 2*f), c.PackTransposedBF16(nil, down, f, d)
	} else {
		l.up, l.down = c.Pack(nil, up, d, 2*f), c.Pack(nil, down, f, d)
		l.upT, l.downT = c.PackTransposed(nil, up, d, 2*f), c.PackTransposed(nil, down, f, d)
	}
	return l
}

// run is a layer's half, forward and backward.
func (l *layerRows) run(c *CPU) {
	c.RMSNorm(l.h, l.rstd, l.x, l.norm, l.n, l.d, 1e-5)
	c.RoPE(l.h, l.cos, l.pos, 3, 16, l.d, false)
	c.LinearPacked(l.gu, l.h, l.up, l.n, false)
	c.SwiGLU(l.a, l.gu, l.n, l.f)
	c.LinearPacked(l.y, l.a, l.down, l.n, true)
	c.CopyRows(l.dx, l.y, l.n, l.d)
	c.LinearBackwardInputPacked(l.da, l.dx, l.downT, l.n, false)
	c.SwiGLUBackward(l.gu, l.da, l.da, l.gu, l.n, l.f)
	c.LinearBackwardInputPacked(l.h, l.gu, l.upT, l.n, false)
	c.RMSNormBackward(l.dx, l.dw, nil, l.h, l.x, l.norm, l.rstd, l.n, l.d)
}

// runBF16 is run with rows of bfloat16.
func (l *layerRows) runBF16(c *CPU) {
	c.RMSNormBF16(l.halfX, l.rstd, l.x, l.norm, l.n, l.d, 1e-5)
	c.LinearBF16Rows(l.gu, l.halfX, l.up, l.n, false)
	c.SwiGLUBF16(l.halfA, l.halfGU, l.gu, l.n, l.f)
	c.LinearBF16Rows(l.y, l.halfA, l.down, l.n, true)
	c.RoundRows(l.halfX, l.y, l.n, l.d)
	c.LinearBackwardInputBF16Rows(l.da, l.halfX, l.downT, l.n, false)
	c.SwiGLUBackwardBF16(l.halfA, l.halfGU, l.da, l.halfGU, l.n, l.f)
	c.LinearBackwardInputBF16Rows(l.dx, l.halfGU, l.upT, l.n, false)
	c.RMSNormBackwardBF16(l.y, l.halfX, l.dw, l.halfH, l.dx, l.x, l.norm, l.rstd, l.n, l.d)
	c.RoPEBF16(l.halfX, l.y, l.cos, l.pos, 3, 16, l.d, true)
}

// results are all values that a run wrote.
func (l *layerRows) results() []float32 {
	return slices.Concat(l.h, l.rstd, l.gu, l.a, l.y, l.dx, l.da, l.dw, l.halfX, l.halfA, l.halfH, l.halfGU)
}

// TestChainBits: kernels in a chain give the bits of one after the other, for any number of rows and workers, and again after another chain.
func TestChainBits(t *testing.T) {
	for _, level := range Levels() {
		plain := mustCPU(t, level, 1)
		for _, half := range []bool{false, true} {
			run := (*layerRows).run
			if half {
				run = (*layerRows).runBF16
			}
			if half && !plain.bf16 && level != Generic {
				continue // products of bfloat16 are of the level with units for them, and of the oracle
			}
			for _, workers := range []int{1, 2, 3, 7, 128} {
				c := mustCPU(t, level, workers)
				for _, n := range []int{0, 1, 5, 131, 700, 131} {
					if testing.Short() && n > 200 {
						continue
					}
					t.Run(fmt.Sprint(level, "/", half, "/", workers, "/", n), func(t *testing.T) {
						want, got := newLayerRows(plain, n, half), newLayerRows(c, n, half)
						run(want, plain)
						c.BeginChain(n)
						run(got, c)
						c.EndChain()
						same(t, "chain", got.results(), want.results())
					})
				}
			}
		}
	}
}

// TestChainRunsAtItsEnd: nothing is computed before EndChain, and kernels after it run at once again.
func TestChainRunsAtItsEnd(t *testing.T) {
	c := mustCPU(t, Levels()[0], 2)
	src, dst := []float32{1, 2, 3, 4}, make([]float32, 4)
	c.BeginChain(2)
	c.CopyRows(dst, src, 2, 2)
	if !c.Chained() || !slices.Equal(dst, make([]float32, 4)) {
		t.Errorf("within the chain: %v, %v", c.Chained(), dst)
	}
	c.EndChain()
	if c.Chained() || !slices.Equal(dst, src) {
		t.Errorf("after the chain: %v, %v", c.Chained(), dst)
	}
	clear(dst)
	c.CopyRows(dst, src, 2, 2)
	if !slices.Equal(dst, src) {
		t.Errorf("without a chain: %v", dst)
	}
}

// TestChainProfile: the kernels of a chain are recorded as those outside are, each once.
func TestChainProfile(t *testing.T) {
	for _, level := range Levels() {
		c := mustCPU(t, level, 2)
		l := newLayerRows(c, 131, false)
		c.Profile(true)
		l.run(c)
		want := slices.Clone(c.Usages())
		c.Profile(true)
		c.BeginChain(l.n)
		l.run(c)
		c.EndChain()
		got := c.Usages()
		if len(got) != len(want) {
			t.Fatalf("%s: %v, want %v", level, got, want)
		}
		for i, u := range got {
			if u.Work != want[i].Work || u.Calls != want[i].Calls || u.Time <= 0 {
				t.Errorf("%s: %+v, want %+v", level, u, want[i])
			}
		}
	}
}

// TestChainDoesNotAllocate: a chain that ran before runs again without allocating, recorded or not.
func TestChainDoesNotAllocate(t *testing.T) {
	for _, level := range Levels() {
		c := mustCPU(t, level, 2)
		l := newLayerRows(c, 131, false)
		for _, recorded := range []bool{false, true} {
			c.Profile(recorded)
			if a := testing.AllocsPerRun(10, func() { c.BeginChain(l.n); l.run(c); c.EndChain() }); a != 0 {
				t.Errorf("%s, recorded %v: a chain allocates %v times", level, recorded, a)
			}
		}
	}
}
