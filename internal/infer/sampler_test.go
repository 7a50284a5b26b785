package infer_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"mor/internal/infer"
	"mor/internal/kernel"
)

// newCPU is a CPU of the best level that this machine has.
func newCPU(t testing.TB) *kernel.CPU {
	levels := kernel.Levels()
	return levelCPU(t, levels[len(levels)-1])
}

func levelCPU(t testing.TB, l kernel.Level) *kernel.CPU {
	cpu, err := kernel.New(l, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cpu.Close)
	return cpu
}

// probabilities is the definition of the options: what Sample should draw each token with.
func probabilities(o infer.Sampling, logits []float32, seen []int32) []float64 {
	x := make([]float64, len(logits))
	for i, v := range logits {
		if slices.Contains(seen, int32(i)) {
			if v > 0 {
				v /= float32(o.RepetitionPenalty)
			} else {
				v *= float32(o.RepetitionPenalty)
			}
		}
		x[i] = float64(v)
	}
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(x[b], x[a]) })
	p := make([]float64, len(x))
	if o.Temperature == 0 {
		p[order[0]] = 1
		return p
	}
	if o.TopK > 0 {
		order = order[:min(o.TopK, len(order))]
	}
	total := 0.0
	for _, i := range order {
		p[i] = math.Exp((x[i] - x[order[0]]) / o.Temperature)
		total += p[i]
	}
	kept, sum := 0, 0.0
	for n, i := range order {
		if n > 0 && (p[i] < o.MinP || sum >= o.TopP*total) {
			break
		}
		sum += p[i]
		kept++
	}
	for _, i := range order[kept:] {
		p[i] = 0
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// TestSampleFollowsTheDefinition: over many draws each token comes as often as its probability says, and one without probability never.
func TestSampleFollowsTheDefinition(t *testing.T) {
	logits := []float32{2, -1, 2, 0.5, 3, -0.25, 1, -4}
	seen := []int32{4, 1}
	for _, o := range []infer.Sampling{
		{Temperature: 1, TopP: 1, RepetitionPenalty: 1},
		{Temperature: 0, TopP: 1, RepetitionPenalty: 1},
		{Temperature: 0, TopP: 1, RepetitionPenalty: 2},
		{Temperature: 0.7, TopP: 1, RepetitionPenalty: 1.3},
		{Temperature: 1, TopP: 1, TopK: 1, RepetitionPenalty: 1},
		{Temperature: 1, TopP: 1, TopK: 2, RepetitionPenalty: 1}, // two tokens are equally second best: the lower one is kept
		{Temperature: 1, TopP: 1, TopK: 100, RepetitionPenalty: 1},
		{Temperature: 2, TopP: 0.6, RepetitionPenalty: 1},
		{Temperature: 1, TopP: 0.01, RepetitionPenalty: 1},
		{Temperature: 1, TopP: 1, MinP: 0.2, RepetitionPenalty: 1},
		{Temperature: 1, TopP: 1, MinP: 1, RepetitionPenalty: 1},
		{Temperature: 1.5, TopP: 0.8, MinP: 0.1, TopK: 5, RepetitionPenalty: 1.2},
	} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			const draws = 20000
			want := probabilities(o, logits, seen)
			s := infer.NewSampler(newCPU(t), len(logits))
			if err := s.Reset(o, 0); err != nil {
				t.Fatal(err)
			}
			s.Observe(seen...)
			s.Observe(seen...)
			got := make([]float64, len(logits))
			for range draws {
				id, err := s.Sample(slices.Clone(logits))
				if err != nil {
					t.Fatal(err)
				}
				got[id] += 1.0 / draws
			}
			for i := range got {
				if tolerance := 4.5 * math.Sqrt(want[i]*(1-want[i])/draws); math.Abs(got[i]-want[i]) > tolerance+1e-9 {
					t.Errorf("token %d: %.4f of the draws, want %.4f", i, got[i], want[i])
				}
			}
		})
	}
}

// TestSampleSupport compares the tokens that can be drawn with the definition on random logits with many ties.
func TestSampleSupport(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var cpus []*kernel.CPU
	for _, l := range kernel.Levels() {
		cpus = append(cpus, levelCPU(t, l))
	}
	for n := range 300 {
		cpu := cpus[n%len(cpus)]
		logits, spread := make([]float32, 1+rng.IntN(40)), 9
		if n%10 == 0 { // many, over several blocks of sums, the most of them hardly possible
			logits, spread = make([]float32, 1000+rng.IntN(3000)), 40
		}
		for i := range logits {
			logits[i] = float32(rng.IntN(spread)) / 2
		}
		o := infer.Sampling{Temperature: 0.3 + rng.Float64(), TopK: rng.IntN(12), TopP: 1 - rng.Float64()*0.9, MinP: rng.Float64() * 0.3, RepetitionPenalty: 1, Seed: rng.Uint64()}
		want := probabilities(o, logits, nil)
		s := infer.NewSampler(cpu, len(logits))
		if err := s.Reset(o, 0); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			if id, err := s.Sample(slices.Clone(logits)); err != nil || want[id] == 0 {
				t.Fatalf("%+v: drew token %d of %v (%v)", o, id, logits, err)
			}
		}
	}
}

// TestSamplesRepeat: the seed decides the text, the stream keeps texts apart, and nothing of an earlier text stays.
func TestSamplesRepeat(t *testing.T) {
	cpu := newCPU(t)
	logits := make([]float32, 1000)
	draw := func(s *infer.Sampler, seed, stream uint64) (out []int32) {
		o := infer.DefaultSampling()
		o.Seed, o.RepetitionPenalty = seed, 1.5
		if err := s.Reset(o, stream); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			for j := range logits {
				logits[j] = float32(math.Sin(float64(i*j + 1)))
			}
			id, err := s.Sample(logits)
			if err != nil {
				t.Fatal(err)
			}
			s.Observe(id)
			out = append(out, id)
		}
		return out
	}
	used := infer.NewSampler(cpu, len(logits))
	first := draw(used, 7, 0)
	if other := draw(used, 8, 0); slices.Equal(first, other) {
		t.Error("another seed draws the same")
	}
	if other := draw(used, 7, 1); slices.Equal(first, other) {
		t.Error("another stream draws the same")
	}
	if again := draw(used, 7, 0); !slices.Equal(first, again) {
		t.Errorf("the same seed draws %v, before %v", again, first)
	}
	if fresh := draw(infer.NewSampler(cpu, len(logits)), 7, 0); !slices.Equal(first, fresh) {
		t.Errorf("a new sampler draws %v, a used one %v", fresh, first)
	}
}

func TestSamplingIsValidated(t *testing.T) {
	nan := math.NaN()
	for name, edit := range map[string]func(*infer.Sampling){
		"temperature: -1":         func(o *infer.Sampling) { o.Temperature = -1 },
		"temperature: NaN":        func(o *infer.Sampling) { o.Temperature = nan },
		"top_k: -2":               func(o *infer.Sampling) { o.TopK = -2 },
		"top_p: 0":                func(o *infer.Sampling) { o.TopP = 0 },
		"top_p: 1.5":              func(o *infer.Sampling) { o.TopP = 1.5 },
		"min_p: 2":                func(o *infer.Sampling) { o.MinP = 2 },
		"min_p: NaN":              func(o *infer.Sampling) { o.MinP = nan },
		"repetition_penalty: 0":   func(o *infer.Sampling) { o.RepetitionPenalty = 0 },
		"repetition_penalty: NaN": func(o *infer.Sampling) { o.RepetitionPenalty = nan },
	} {
		o := infer.DefaultSampling()
		edit(&o)
		if err := infer.NewSampler(newCPU(t), 3).Reset(o, 0); err == nil || !strings.HasPrefix(err.Error(), name+": expected ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestSampleRefusesWhatIsNotFinite(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	cpu := newCPU(t)
	for _, logits := range [][]float32{{1, nan, 2}, {nan, nan}, {-inf, -inf}, {1, inf}} {
		s := infer.NewSampler(cpu, len(logits))
		if err := s.Reset(infer.DefaultSampling(), 0); err != nil {
			t.Fatal(err)
		}
		if id, err := s.Sample(logits); err == nil {
			t.Errorf("%v: drew %d", logits, id)
		}
	}
}

// sampleOptions are the ways through the sampler.
var sampleOptions = map[string]infer.Sampling{
	"greedy":  {TopP: 1, RepetitionPenalty: 1.1},
	"all":     {Temperature: 1, TopP: 1, MinP: 0.05, RepetitionPenalty: 1},
	"top_k":   {Temperature: 1, TopP: 0.95, TopK: 40, RepetitionPenalty: 1},
	"default": infer.DefaultSampling(),
}

func normalLogits(v int) []float32 {
	rng := rand.New(rand.NewPCG(3, 4))
	logits := make([]float32, v)
	for i := range logits {
		logits[i] = float32(rng.NormFloat64() * 3)
	}
	return logits
}

func TestSampleDoesNotAllocate(t *testing.T) {
	cpu := newCPU(t)
	logits := normalLogits(5000)
	for name, o := range sampleOptions {
		s := infer.NewSampler(cpu, len(logits))
		if err := s.Reset(o, 0); err != nil {
			t.Fatal(err)
		}
		if a := testing.AllocsPerRun(50, func() {
			id, err := s.Sample(logits)
			if err != nil {
				t.Fatal(err)
			}
			s.Observe(id)
		}); a > 0 {
			t.Errorf("%s: %v allocations a token", name, a)
		}
	}
}

func BenchmarkSample(b *testing.B) {
	cpu := newCPU(b)
	logits := normalLogits(49152)
	for name, o := range sampleOptions {
		b.Run(name, func(b *testing.B) {
			s := infer.NewSampler(cpu, len(logits))
			if err := s.Reset(o, 0); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := s.Sample(logits); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
