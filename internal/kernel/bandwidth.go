package kernel

import (
	"time"

	"mor/internal/memory"
)

// bandwidthValues makes two arrays that no cache holds.
const bandwidthValues = 1 << 24

// Bandwidth measures what the memory gives all workers together, in bytes/s: y += x over arrays that no cache holds, the best of a few sweeps. It
// takes 128 MiB while it runs, and less than a second.
func (c *CPU) Bandwidth() float64 {
	y, x := memory.Make[float32](bandwidthValues), memory.Make[float32](bandwidthValues)
	c.Add(y, x) // the first touch
	best := time.Duration(1 << 62)
	for range 5 {
		begin := time.Now()
		c.Add(y, x)
		best = min(best, time.Since(begin))
	}
	return 3 * 4 * bandwidthValues / best.Seconds()
}
