package kernel

import "time"

// Work is what one call of a kernel has to do, whatever way it does it.
type Work struct {
	Kernel  string
	In, Out int     // of a product with w[out,in]
	FLOPs   float64 // of products and attention; 0 where memory is what a kernel waits for
	Bytes   float64 // every operand and result once
}

// Usage sums up the calls of a kernel; products are kept apart by shape.
type Usage struct {
	Work
	Calls   int
	Time    time.Duration
	Packing time.Duration // part of Time that laid out the operands of products ahead of them
}

// profile is a CPU's record of its kernels.
type profile struct {
	on     bool
	usages []Usage
	pack   time.Duration // of the product at hand
}

// Profile starts a new record of the kernels, or ends recording. While it is off, a kernel costs nothing more.
func (c *CPU) Profile(on bool) {
	c.profile.on, c.profile.usages = on, c.profile.usages[:0]
}

// Usages lists what each kernel did since Profile, in the order of their first calls.
func (c *CPU) Usages() []Usage { return c.profile.usages }

// Start is when a kernel begins, for Done; zero while nothing is recorded.
func (c *CPU) Start() time.Time {
	if !c.profile.on {
		return time.Time{}
	}
	return time.Now()
}

// Done records a kernel that began at start. Sweeps outside this package use it as kernels do:
//
//	defer cpu.Done(cpu.Start(), kernel.Work{...})
func (c *CPU) Done(start time.Time, w Work) {
	c.profile.record(w, c.since(start))
}

// since is the time since start; zero while nothing is recorded.
func (c *CPU) since(start time.Time) time.Duration {
	if !c.profile.on {
		return 0
	}
	return time.Since(start)
}

// record adds a call to what is recorded, while anything is.
func (p *profile) record(w Work, took time.Duration) {
	if !p.on {
		return
	}
	u := p.usage(w)
	u.Calls++
	u.Time += took
	u.FLOPs += w.FLOPs
	u.Bytes += w.Bytes
	u.Packing += p.pack
	p.pack = 0
}

// packed adds to what the product at hand spends on laying out operands.
func (p *profile) packed(start time.Time) {
	if p.on {
		p.pack += time.Since(start)
	}
}

func (p *profile) usage(w Work) *Usage {
	for i := range p.usages {
		if u := &p.usages[i]; u.Kernel == w.Kernel && u.In == w.In && u.Out == w.Out {
			return u
		}
	}
	p.usages = append(p.usages, Usage{Work: Work{Kernel: w.Kernel, In: w.In, Out: w.Out}})
	return &p.usages[len(p.usages)-1]
}

// productWork is a product of n rows with w[out,in].
func productWork(kernel string, n, in, out int) Work {
	return Work{kernel, in, out, 2 * float64(n) * float64(in) * float64(out), 4 * (float64(n)*float64(in+out) + float64(in)*float64(out))}
}

// sweepWork reads and writes so many values once.
func sweepWork(kernel string, values int) Work {
	return Work{Kernel: kernel, Bytes: 4 * float64(values)}
}

// attentionWork counts products of [rows of the range, e] for every pair of a query and a key that it sees.
func attentionWork(kernel string, products, values int, a Heads, span Range) Work {
	pairs := 0
	for i, hi := range span.Hi {
		pairs += int(hi - span.Lo[i])
	}
	return Work{Kernel: kernel, FLOPs: 2 * float64(products) * float64(a.H*a.E) * float64(pairs), Bytes: 4 * float64(values)}
}
