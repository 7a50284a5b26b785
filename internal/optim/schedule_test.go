package optim

import (
	"math"
	"strings"
	"testing"
)

func TestScheduleAt(t *testing.T) {
	constant := Schedule{Kind: Constant, LR: 8, Warmup: 4, Steps: 10}
	wsd := Schedule{Kind: WSD, LR: 8, MinLR: 1, Warmup: 4, Steps: 20, DecayFraction: 0.2}
	triangle := Schedule{Kind: WSD, LR: 8, Steps: 8, DecayFraction: 1}
	rounded := Schedule{Kind: WSD, LR: 8, Steps: 9, DecayFraction: 0.2} // 1.8 steps are 2
	short := Schedule{Kind: WSD, LR: 8, Steps: 2, DecayFraction: 0.2}   // 0.4 steps are 1
	cosine := Schedule{Kind: Cosine, LR: 8, MinLR: 2, Warmup: 2, Steps: 6}
	warmupOnly := Schedule{Kind: Cosine, LR: 8, MinLR: 2, Warmup: 4, Steps: 4}
	tests := []struct {
		name     string
		schedule Schedule
		at       map[int]float64
	}{
		{"constant", constant, map[int]float64{1: 2, 2: 4, 3: 6, 4: 8, 5: 8, 10: 8, 11: 8}},
		{"wsd", wsd, map[int]float64{1: 2, 4: 8, 5: 8, 16: 8, 17: 6.25, 18: 4.5, 19: 2.75, 20: 1, 21: 1}},
		{"triangle", triangle, map[int]float64{1: 7, 4: 4, 8: 0}},
		{"rounded", rounded, map[int]float64{1: 8, 7: 8, 8: 4, 9: 0}},
		{"short", short, map[int]float64{1: 8, 2: 0}},
		{"cosine", cosine, map[int]float64{1: 4, 2: 8, 3: 2 + 6*(1+math.Sqrt2/2)/2, 4: 5, 5: 2 + 6*(1-math.Sqrt2/2)/2, 6: 2, 7: 2}},
		{"warm-up only", warmupOnly, map[int]float64{1: 2, 3: 6, 4: 2}},
	}
	for _, test := range tests {
		if err := test.schedule.Validate(); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		for step, want := range test.at {
			if got := test.schedule.At(step); math.Abs(got-want) > 1e-12 {
				t.Errorf("%s: step %d has %v, expected %v", test.name, step, got, want)
			}
		}
	}
}

func TestScheduleRefuses(t *testing.T) {
	good := Schedule{Kind: WSD, LR: 1, Warmup: 1, Steps: 10, DecayFraction: 0.2}
	tests := []struct {
		want   string
		change func(*Schedule)
	}{
		{`schedule is "linear", expected constant, wsd or cosine`, func(s *Schedule) { s.Kind = "linear" }},
		{"lr is 0", func(s *Schedule) { s.LR = 0 }},
		{"lr is NaN", func(s *Schedule) { s.LR = math.NaN() }},
		{"min_lr is 2, expected from 0 to lr, 1", func(s *Schedule) { s.MinLR = 2 }},
		{"min_lr is 0.5, expected 0", func(s *Schedule) { s.Kind, s.MinLR = Constant, 0.5 }},
		{"steps is 0", func(s *Schedule) { s.Steps = 0 }},
		{"warmup is -1 steps", func(s *Schedule) { s.Warmup = -1 }},
		{"warmup is 11 steps, expected from 0 to steps, 10", func(s *Schedule) { s.Warmup = 11 }},
		{"warmup is 9 steps, expected at most 8", func(s *Schedule) { s.Warmup = 9 }},
		{"decay_fraction is 0, expected above 0", func(s *Schedule) { s.DecayFraction = 0 }},
		{"decay_fraction is 1.5", func(s *Schedule) { s.DecayFraction = 1.5 }},
		{"decay_fraction is 0.2, expected 0: only schedule wsd", func(s *Schedule) { s.Kind = Cosine }},
	}
	for _, test := range tests {
		s := good
		test.change(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, expected %q", err, test.want)
		}
	}
}
