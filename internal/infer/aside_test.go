package infer

import (
	"testing"
	"time"
)

// TestRowsAside: fewer rows are taken where a tick cannot spare the time for a layer of them, more where it can for several, within bounds.
func TestRowsAside(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		rows         int
		layer, spare time.Duration
		want         int
	}{
		{64, 2 * ms, 3 * ms, 64},
		{64, 4 * ms, 3 * ms, 32},
		{64, ms / 2, 3 * ms, 128},
		{asideRows, 0, 3 * ms, asideRows},
		{asideRows / 16, 9 * ms, ms, asideRows / 16},
		{64, ms, 0, 32},
	} {
		if got := rowsAside(c.rows, c.layer, c.spare); got != c.want {
			t.Errorf("%d rows, a layer of %v, %v to spare: got %d, expected %d", c.rows, c.layer, c.spare, got, c.want)
		}
	}
}
