package optim

import (
	"fmt"
	"math"
)

// Kind names a shape of the learning rate over time.
type Kind string

const (
	Constant Kind = "constant"
	WSD      Kind = "wsd"    // warm-up, stable, decay: a trapezoid
	Cosine   Kind = "cosine" // half a cosine from LR to MinLR
)

// Schedule gives the learning rate of every step of a run. After a linear warm-up, step s of n = Steps has
//
//	constant  LR
//	wsd       LR, but over the last d = round(DecayFraction*n) steps LR + (MinLR-LR)*(s-(n-d))/d
//	cosine    MinLR + (LR-MinLR)*(1+cos(pi*x))/2 with x = (s-Warmup)/(n-Warmup)
//
// so that wsd and cosine reach MinLR at the last step.
type Schedule struct {
	Kind          Kind
	LR            float64 // the highest rate, above 0
	MinLR         float64 // the last rate, from 0 to LR; 0 for constant
	Warmup        int     // step s of these has LR*s/Warmup
	Steps         int     // length of the run
	DecayFraction float64 // wsd: the part of Steps that decays, above 0 and at most 1; 0 for the others
}

// Validate names the first setting that makes no sense or that the kind would ignore.
func (s Schedule) Validate() error {
	switch {
	case s.Kind != Constant && s.Kind != WSD && s.Kind != Cosine:
		return fmt.Errorf("schedule is %q, expected %s, %s or %s", s.Kind, Constant, WSD, Cosine)
	case !(s.LR > 0) || math.IsInf(s.LR, 0):
		return fmt.Errorf("lr is %v, expected above 0", s.LR)
	case !(s.MinLR >= 0 && s.MinLR <= s.LR):
		return fmt.Errorf("min_lr is %v, expected from 0 to lr, %v", s.MinLR, s.LR)
	case s.Kind == Constant && s.MinLR != 0:
		return fmt.Errorf("min_lr is %v, expected 0: schedule %s does not decay", s.MinLR, s.Kind)
	case s.Steps < 1:
		return fmt.Errorf("steps is %d, expected at least 1", s.Steps)
	case s.Warmup < 0 || s.Warmup > s.Steps:
		return fmt.Errorf("warmup is %d steps, expected from 0 to steps, %d", s.Warmup, s.Steps)
	case s.Kind != WSD && s.DecayFraction != 0:
		return fmt.Errorf("decay_fraction is %v, expected 0: only schedule %s has it", s.DecayFraction, WSD)
	case s.Kind == WSD && !(s.DecayFraction > 0 && s.DecayFraction <= 1):
		return fmt.Errorf("decay_fraction is %v, expected above 0 and at most 1", s.DecayFraction)
	case s.Kind == WSD && s.Warmup+s.decaySteps() > s.Steps:
		return fmt.Errorf("warmup is %d steps, expected at most %d: of %d steps the last %d decay", s.Warmup, s.Steps-s.decaySteps(), s.Steps, s.decaySteps())
	}
	return nil
}

// At returns the learning rate of a step of a valid schedule; steps count from 1. Beyond the last step the rate stays.
func (s Schedule) At(step int) float64 {
	if step < s.Warmup {
		return s.LR * float64(step) / float64(s.Warmup)
	}
	switch s.Kind {
	case WSD:
		d := s.decaySteps()
		x := float64(min(step, s.Steps)-(s.Steps-d)) / float64(d)
		return mix(s.LR, s.MinLR, max(x, 0))
	case Cosine:
		if step >= s.Steps {
			return s.MinLR
		}
		x := float64(step-s.Warmup) / float64(s.Steps-s.Warmup)
		return mix(s.MinLR, s.LR, (1+math.Cos(math.Pi*x))/2)
	}
	return s.LR
}

func (s Schedule) decaySteps() int {
	return max(1, int(math.Round(s.DecayFraction*float64(s.Steps))))
}

// mix goes from a at x = 0 to b at x = 1 and is exact at both.
func mix(a, b, x float64) float64 { return a*(1-x) + b*x }
