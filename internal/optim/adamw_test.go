package optim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"mor/internal/kernel"
)

var paper = Config{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, Clip: 1}

func newCPU(t testing.TB, workers int) *kernel.CPU {
	cpu, err := kernel.New(kernel.Levels()[len(kernel.Levels())-1], workers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cpu.Close)
	return cpu
}

// The numbers are those of torch.optim.AdamW 2.13 in float32 with three parameter groups (decayed; not decayed; ten times
// the rate and its own clipping) and torch.nn.utils.clip_grad_norm_.
func TestAdamWIsTorchs(t *testing.T) {
	steps := []struct {
		params []float32
		norms  [2]float64
	}{
		{[]float32{0.5028499960899353, -1.2526249885559082, 2.0023999214172363, 0.996999979019165, 0.753000020980835, -0.32910001277923584, 0.04994000121951103}, [2]float64{3.464101552963257, 2.5495097637176514}},
		{[]float32{0.5036645531654358, -1.2515612840652466, 2.0038349628448486, 0.9962406754493713, 0.7520769238471985, -0.35597801208496094, 0.07506659626960754}, [2]float64{0.7806247472763062, 0.55901700258255}},
		{[]float32{0.5022410750389099, -1.2500314712524414, 2.0030484199523926, 0.9956461191177368, 0.7500728368759155, -0.3487778306007385, 0.08946660161018372}, [2]float64{3.674234628677368, 2.0615527629852295}},
		{[]float32{0.5023455619812012, -1.2489824295043945, 2.0035908222198486, 0.9944583773612976, 0.7493779063224792, -0.3407338857650757, 0.09226854890584946}, [2]float64{0.968245804309845, 0.5153881907463074}},
		{[]float32{0.5027041435241699, -1.249112606048584, 2.0044379234313965, 0.9947397112846375, 0.7487828135490417, -0.34028443694114685, 0.10404185205698013}, [2]float64{3.391165018081665, 2.2360680103302}},
	}
	segments := []Segment{
		{Offset: 0, Len: 3, Decay: true, LRScale: 1},
		{Offset: 3, Len: 2, LRScale: 1},
		{Offset: 5, Len: 2, Decay: true, LRScale: 10, ClipGroup: 1},
	}
	params := []float32{0.5, -1.25, 2, 1, 0.75, -0.3, 0.02}
	grads := make([]float32, len(params))
	a, err := NewAdamW(paper, segments, len(params))
	if err != nil {
		t.Fatal(err)
	}
	pool := newCPU(t, 1)
	for i, want := range steps {
		step := i + 1
		for k, s := range segments {
			for j := range s.Len {
				grads[s.Offset+j] = float32((k*7+j*5+step*3)%11-5) / []float32{8, 2}[step%2]
			}
		}
		norms, bad := a.Norms(pool, grads)
		for k, norm := range norms {
			if math.Abs(norm-want.norms[k]) > 1e-6 {
				t.Errorf("step %d: norm %d is %v, expected %v", step, k, norm, want.norms[k])
			}
		}
		if bad != -1 {
			t.Errorf("step %d: segment %d is called non-finite", step, bad)
		}
		a.Update(pool, params, grads, norms, 0.003)
		for j, p := range params {
			if math.Abs(float64(p-want.params[j])) > 2e-7 {
				t.Errorf("step %d: parameter %d is %v, expected %v", step, j, p, want.params[j])
			}
		}
	}
}

// slab is a random problem of segments with awkward lengths and gaps between them.
type slab struct {
	segments []Segment
	params   []float32
}

func newSlab(rng *rand.Rand) slab {
	var s slab
	end := 0
	for i, n := range []int{1, 3, blockLen, blockLen + 1, 3*blockLen - 1, 0, 100_003, 17} {
		s.segments = append(s.segments, Segment{Offset: end + i%3, Len: n, Decay: i%2 == 0, LRScale: float32(1 + 9*(i%4/3)), ClipGroup: i % 3})
		end += i%3 + n
	}
	s.params = normal(rng, end+5, 1)
	return s
}

func normal(rng *rand.Rand, n int, scale float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(scale * rng.NormFloat64())
	}
	return x
}

// reference is AdamW written down in float64, a parameter at a time.
type reference struct {
	params, m, v []float64
	steps        int
}

func (r *reference) step(c Config, segments []Segment, grads []float32, lr float64) {
	r.steps++
	squares := map[int]float64{}
	for _, s := range segments {
		for _, g := range grads[s.Offset : s.Offset+s.Len] {
			squares[s.ClipGroup] += float64(g) * float64(g)
		}
	}
	for _, s := range segments {
		scale := 1.0
		if c.Clip > 0 {
			scale = min(1, c.Clip/(math.Sqrt(squares[s.ClipGroup])+1e-6))
		}
		rate := lr * float64(s.LRScale)
		for i := s.Offset; i < s.Offset+s.Len; i++ {
			g := float64(grads[i]) * scale
			if s.Decay {
				r.params[i] *= 1 - rate*c.WeightDecay
			}
			r.m[i] = c.Beta1*r.m[i] + (1-c.Beta1)*g
			r.v[i] = c.Beta2*r.v[i] + (1-c.Beta2)*g*g
			mhat := r.m[i] / (1 - math.Pow(c.Beta1, float64(r.steps)))
			vhat := r.v[i] / (1 - math.Pow(c.Beta2, float64(r.steps)))
			r.params[i] -= rate * mhat / (math.Sqrt(vhat) + c.Eps)
		}
	}
}

func TestAdamWAgainstFloat64(t *testing.T) {
	noClip := paper
	noClip.Clip = 0
	for _, c := range []Config{paper, noClip, {Eps: 1e-3}} {
		rng := rand.New(rand.NewPCG(3, 4))
		s := newSlab(rng)
		n := len(s.params)
		want := reference{params: make([]float64, n), m: make([]float64, n), v: make([]float64, n)}
		for i, p := range s.params {
			want.params[i] = float64(p)
		}
		a, err := NewAdamW(c, s.segments, n)
		if err != nil {
			t.Fatal(err)
		}
		pool := newCPU(t, 2)
		for step := 1; step <= 8; step++ {
			grads := normal(rng, n, math.Pow(10, float64(-step))) // from far above the clipping norm to below
			norms, _ := a.Norms(pool, grads)
			a.Update(pool, s.params, grads, norms, 1e-2)
			want.step(c, s.segments, grads, 1e-2)
		}
		for i, p := range s.params {
			if math.Abs(float64(p)-want.params[i]) > 2e-5*max(1, math.Abs(want.params[i])) {
				t.Fatalf("%+v: parameter %d is %v, expected %v", c, i, p, want.params[i])
			}
		}
	}
}

// Workers do not show in the result, and what lies between the segments stays.
func TestAdamWIsTheSameForAnyNumberOfWorkers(t *testing.T) {
	type state struct{ params, m, v []float32 }
	run := func(workers int) (state, string) {
		rng := rand.New(rand.NewPCG(5, 6))
		s := newSlab(rng)
		before := slices.Clone(s.params)
		a, err := NewAdamW(paper, s.segments, len(s.params))
		if err != nil {
			t.Fatal(err)
		}
		pool := newCPU(t, workers)
		log := ""
		for range 3 {
			grads := normal(rng, len(s.params), 1)
			norms, _ := a.Norms(pool, grads)
			log += fmt.Sprintf("%x", norms)
			a.Update(pool, s.params, grads, norms, 1e-3)
		}
		end := 0
		for _, g := range append(s.segments, Segment{Offset: len(s.params)}) {
			if !slices.Equal(before[end:g.Offset], s.params[end:g.Offset]) {
				t.Errorf("the gap before %d moved", g.Offset)
			}
			end = g.Offset + g.Len
		}
		return state{s.params, a.M, a.V}, log
	}
	want, wantNorms := run(1)
	for _, workers := range []int{2, 3, 128} {
		got, norms := run(workers)
		if norms != wantNorms {
			t.Errorf("%d workers: norms %s, with one %s", workers, norms, wantNorms)
		}
		if !slices.Equal(got.params, want.params) || !slices.Equal(got.m, want.m) || !slices.Equal(got.v, want.v) {
			t.Errorf("%d workers: parameters or moments differ from those of one", workers)
		}
	}
}

// Four steps equal two, a restart from Steps, M and V, and two.
func TestAdamWResumes(t *testing.T) {
	pool := newCPU(t, 2)
	run := func(restart bool) []float32 {
		rng := rand.New(rand.NewPCG(7, 8))
		s := newSlab(rng)
		a, _ := NewAdamW(paper, s.segments, len(s.params))
		for step := range 4 {
			if restart && step == 2 {
				old := a
				a, _ = NewAdamW(paper, s.segments, len(s.params))
				copy(a.M, old.M)
				copy(a.V, old.V)
				a.Steps = old.Steps
			}
			grads := normal(rng, len(s.params), 1)
			norms, _ := a.Norms(pool, grads)
			a.Update(pool, s.params, grads, norms, 1e-3)
		}
		return s.params
	}
	if !slices.Equal(run(false), run(true)) {
		t.Error("a resumed run differs")
	}
}

func TestNormsNamesNonFiniteSegment(t *testing.T) {
	pool := newCPU(t, 3)
	s := newSlab(rand.New(rand.NewPCG(1, 1)))
	a, err := NewAdamW(paper, s.segments, len(s.params))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		for i, segment := range s.segments {
			for _, at := range []int{0, segment.Len / 2, segment.Len - 1} {
				if segment.Len == 0 {
					continue
				}
				grads := make([]float32, len(s.params))
				grads[segment.Offset+at] = bad
				if _, got := a.Norms(pool, grads); got != i {
					t.Errorf("%v in segment %d: found in %d", bad, i, got)
				}
			}
		}
	}
	grads := slices.Repeat([]float32{math.MaxFloat32}, len(s.params))
	if norms, got := a.Norms(pool, grads); got != -1 || math.IsInf(norms[0], 0) {
		t.Errorf("the largest finite gradients: segment %d, norms %v", got, norms)
	}
}

func TestAdamWDoesNotAllocate(t *testing.T) {
	s := newSlab(rand.New(rand.NewPCG(1, 1)))
	a, err := NewAdamW(paper, s.segments, len(s.params))
	if err != nil {
		t.Fatal(err)
	}
	pool, grads := newCPU(t, 2), make([]float32, len(s.params))
	if n := testing.AllocsPerRun(10, func() {
		norms, _ := a.Norms(pool, grads)
		a.Update(pool, s.params, grads, norms, 1e-3)
	}); n != 0 {
		t.Errorf("a step allocates %v times", n)
	}
}

func TestNewAdamWRefuses(t *testing.T) {
	good := []Segment{{Offset: 0, Len: 4, LRScale: 1}}
	with := func(change func(*Config)) Config { c := paper; change(&c); return c }
	tests := []struct {
		config   Config
		segments []Segment
		want     string
	}{
		{with(func(c *Config) { c.Beta1 = 1 }), good, "beta1 is 1, expected at least 0 and below 1"},
		{with(func(c *Config) { c.Beta2 = math.NaN() }), good, "beta2 is NaN"},
		{with(func(c *Config) { c.Eps = 0 }), good, "eps is 0, expected above 0"},
		{with(func(c *Config) { c.WeightDecay = -1 }), good, "weight_decay is -1"},
		{with(func(c *Config) { c.Clip = math.Inf(1) }), good, "clip is +Inf"},
		{paper, []Segment{{Offset: 1, Len: 4, LRScale: 1}}, "segment 0 is [1, 1+4), expected it inside [0, 4)"},
		{paper, []Segment{{Len: 2, LRScale: 1}, {Offset: 1, Len: 2, LRScale: 1}}, "segment 1 is [1, 1+2), expected it inside [2, 4)"},
		{paper, []Segment{{Len: -1, LRScale: 1}}, "segment 0"},
		{paper, []Segment{{Len: 4}}, "LRScale is 0"},
		{paper, []Segment{{Len: 4, LRScale: float32(math.NaN())}}, "LRScale is NaN"},
		{paper, []Segment{{Len: 4, LRScale: 1, ClipGroup: 1}}, "ClipGroup is 1, expected from 0 to 0"},
	}
	for _, test := range tests {
		if _, err := NewAdamW(test.config, test.segments, 4); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, expected %q", err, test.want)
		}
	}
}

func BenchmarkAdamW(b *testing.B) {
	const n = 1 << 23
	params, grads := make([]float32, n), normal(rand.New(rand.NewPCG(1, 1)), n, 1e-3)
	for _, dtype := range []string{"fp32", "bf16"} {
		config := paper
		config.BF16 = dtype == "bf16"
		a, err := NewAdamW(config, []Segment{{Len: n, LRScale: 1, Decay: true}}, n)
		if err != nil {
			b.Fatal(err)
		}
		for workers := 1; workers <= 2; workers++ {
			cpu := newCPU(b, workers)
			norms, _ := a.Norms(cpu, grads)
			b.Run(fmt.Sprintf("norms/%s/workers=%d", dtype, workers), func(b *testing.B) {
				b.SetBytes(4 * n)
				for b.Loop() {
					a.Norms(cpu, grads)
				}
			})
			b.Run(fmt.Sprintf("update/%s/workers=%d", dtype, workers), func(b *testing.B) {
				b.SetBytes(int64(a.work(n).Bytes))
				for b.Loop() {
					a.Update(cpu, params, grads, norms, 1e-3)
				}
			})
		}
	}
}
