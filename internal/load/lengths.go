package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Lengths is a distribution of whole numbers of 1 or more: of one value, uniform, or normal. It is a flag's value.
type Lengths struct {
	low, high       int     // uniform, both included
	mean, deviation float64 // normal, where deviation is not 0
}

// Fixed is always n.
func Fixed(n int) Lengths { return Lengths{low: n, high: n} }

// ParseLengths reads 64 (always), 16-128 (uniform, both included) or 64~16 (normal: mean and standard deviation).
func ParseLengths(s string) (Lengths, error) {
	if mean, deviation, ok := strings.Cut(s, "~"); ok {
		m, err := strconv.ParseFloat(mean, 64)
		d, err2 := strconv.ParseFloat(deviation, 64)
		if err == nil && err2 == nil && m >= 1 && m <= maxLength && d > 0 && d <= maxLength {
			return Lengths{mean: m, deviation: d}, nil
		}
		return Lengths{}, lengthsError(s)
	}
	low, high, ok := strings.Cut(s, "-")
	if !ok {
		high = low
	}
	l, err := strconv.Atoi(low)
	h, err2 := strconv.Atoi(high)
	if err != nil || err2 != nil || l < 1 || h < l || h > maxLength {
		return Lengths{}, lengthsError(s)
	}
	return Lengths{low: l, high: h}, nil
}

// maxLength bounds what one request can be asked for by mistake.
const maxLength = 1 << 20

func lengthsError(s string) error {
	return fmt.Errorf("%s: expected a length such as 64, a range such as 16-128, or mean~deviation such as 64~16, from 1 to %d", s, maxLength)
}

// String writes what ParseLengths reads.
func (l Lengths) String() string {
	switch {
	case l.deviation > 0:
		return strconv.FormatFloat(l.mean, 'g', -1, 64) + "~" + strconv.FormatFloat(l.deviation, 'g', -1, 64)
	case l.low == l.high:
		return strconv.Itoa(l.low)
	}
	return fmt.Sprintf("%d-%d", l.low, l.high)
}

// Set and Type make it a flag.
func (l *Lengths) Set(s string) (err error) {
	*l, err = ParseLengths(s)
	return err
}

// Type is what the help calls the value.
func (l *Lengths) Type() string { return "lengths" }

// MarshalText writes it as the flag does.
func (l Lengths) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

func (l *Lengths) draw(rng *rand.Rand) int {
	if l.deviation > 0 {
		return int(min(max(math.Round(l.mean+l.deviation*rng.NormFloat64()), 1), maxLength))
	}
	return l.low + rng.IntN(l.high-l.low+1)
}
