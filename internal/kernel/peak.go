package kernel

import "time"

// peakRounds makes a measurement of a millisecond or two, beside which waking the workers is little.
const peakRounds = 1 << 21

// Peak measures what this machine's fp32 multiply-add units do at most with the CPU's level, in FLOP/s of all workers together: chains of
// multiply-adds in registers. It takes a third of a second; the best of many short runs counts, so that other load shows little.
func (c *CPU) Peak() float64 { return c.peak(c.level, c.pool.Workers()) }

// PeakOne is the peak of one worker.
func (c *CPU) PeakOne() float64 { return c.peak(c.level, 1) }

// PeakBF16 is the peak of multiply-adds of bfloat16 operands, which is that of float32 where the level has no units for them.
func (c *CPU) PeakBF16() float64 { return c.peak(c.Level(), c.pool.Workers()) }

// PeakOneBF16 is PeakBF16 of one worker.
func (c *CPU) PeakOneBF16() float64 { return c.peak(c.Level(), 1) }

func (c *CPU) peak(level Level, workers int) float64 {
	t := &peakTask{level: level}
	best := time.Duration(1 << 62)
	for start := time.Now(); time.Since(start) < 300*time.Millisecond; {
		begin := time.Now()
		c.pool.Run(workers, 1, t)
		best = min(best, time.Since(begin))
	}
	return float64(workers) * t.level.fmaPeak(0) / best.Seconds()
}

type peakTask struct{ level Level }

func (t *peakTask) Do(_, lo, hi int) {
	for range hi - lo {
		t.level.fmaPeak(peakRounds)
	}
}

// fmaPeakGeneric does rounds of multiply-adds in four chains, as far as plain Go goes, and returns the FLOPs of peakRounds rounds.
func fmaPeakGeneric(rounds int) float64 {
	var a, b, c, d float32
	x := float32(rounds & 1)
	for range rounds {
		a += x * a
		b += x * b
		c += x * c
		d += x * d
	}
	if a+b+c+d != 0 { // never: keeps the chains alive
		return 0
	}
	return peakRounds * 4 * 2
}
