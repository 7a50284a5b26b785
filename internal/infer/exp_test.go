package infer

import (
	"math"
	"testing"
)

func TestExpNegative(t *testing.T) {
	for x := 0.0; x > -690; x -= 0.00731 {
		if got, want := expNegative(x), math.Exp(x); math.Abs(got-want) > 1e-9*want {
			t.Fatalf("e^%v is %v, want %v", x, got, want)
		}
	}
	for _, x := range []float64{-701, math.Inf(-1)} {
		if got := expNegative(x); got != 0 {
			t.Errorf("e^%v is %v, want 0", x, got)
		}
	}
}
