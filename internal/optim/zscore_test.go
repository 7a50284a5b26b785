package optim

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestZScore(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var z ZScore
	var all []float64
	for i := range 400 {
		x := 3 + rng.NormFloat64()
		got, ok := z.Add(x)
		before := all[max(0, i-ZScoreWindow):]
		if ok != (len(before) >= zScoreMin) {
			t.Fatalf("value %d: ok is %v", i, ok)
		}
		if ok {
			mean, variance := moments(before)
			if want := (x - mean) / math.Sqrt(variance); math.Abs(got-want) > 1e-9 {
				t.Fatalf("value %d: z-score %v, expected %v", i, got, want)
			}
		}
		all = append(all, x)
	}
	if diff := cmp.Diff(all[len(all)-ZScoreWindow:], z.Values); diff != "" {
		t.Errorf("window: %s", diff)
	}
	if n := testing.AllocsPerRun(300, func() { z.Add(1) }); n != 0 {
		t.Errorf("Add allocates %v times", n)
	}
}

// moments in one pass, unlike the code under test.
func moments(x []float64) (mean, variance float64) {
	var sum, squares float64
	for _, v := range x {
		sum += v
		squares += v * v
	}
	mean = sum / float64(len(x))
	return mean, squares/float64(len(x)) - mean*mean
}

func TestZScoreHasNoneFor(t *testing.T) {
	var z ZScore
	for range 20 {
		z.Add(0.1)
	}
	for _, x := range []float64{0.1, 5, math.NaN(), math.Inf(1)} {
		same := ZScore{Values: z.Values[:20:20]}
		if got, ok := same.Add(x); ok {
			t.Errorf("%v after 20 times 0.1 has z-score %v", x, got)
		}
	}
	huge := ZScore{}
	for i := range 20 {
		huge.Add(math.MaxFloat64 * float64(i%2*2-1))
	}
	if got, ok := huge.Add(1); ok {
		t.Errorf("a variance beyond float64 gives z-score %v", got)
	}
}

func TestZScoreResumes(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var z, resumed ZScore
	for range 200 {
		z.Add(rng.NormFloat64())
	}
	text, err := json.Marshal(z)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &resumed); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		x := rng.NormFloat64()
		want, _ := z.Add(x)
		if got, ok := resumed.Add(x); !ok || got != want {
			t.Fatalf("z-score %v, uninterrupted %v", got, want)
		}
	}
	long := ZScore{Values: make([]float64, 1000)} // a file that was edited
	if long.Add(1); len(long.Values) != ZScoreWindow {
		t.Errorf("%d values are kept, expected %d", len(long.Values), ZScoreWindow)
	}
}
