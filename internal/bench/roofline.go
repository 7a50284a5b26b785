package bench

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"mor/internal/kernel"
	"mor/internal/model"
)

// KernelUse is one kernel's part in a step: what it did, how long it took, and how near to the peak of its kind it came. Kernels that compute are
// compared with the fp32 peak, the others with the bandwidth of the memory, which those whose rows lie in a cache exceed.
type KernelUse struct {
	Name    string  `json:"name"`
	Calls   float64 `json:"calls"`         // a step
	Seconds float64 `json:"time_s"`        // a step
	Packing float64 `json:"packing_s"`     // part of it that laid out the operands of products
	Part    float64 `json:"share_of_step"` // of the step's time
	FLOPS   float64 `json:"flops"`         // per second; 0 for what memory decides
	Bytes   float64 `json:"bytes_per_s"`   // every operand and result counted once
	Share   float64 `json:"share_of_peak"` // of the fp32 peak, of the bf16 peak, or of the memory's bandwidth
	Against string  `json:"peak"`          // which of them: fma, bf16 or memory
}

// peaks is what a machine can do at most.
type peaks struct{ flops, bf16, bytes float64 }

// share is how near work that took so many seconds came to the peak of its kind, and which that is. Products with stored weights of few rows wait for
// memory, those of many for multiply-adds: the larger share says which.
func (p peaks) share(w kernel.Work, seconds float64) (share float64, against string) {
	memory, top := w.Bytes/seconds/p.bytes, p.flops
	if w.FLOPs == 0 {
		return memory, "memory"
	}
	against = "fma"
	if strings.HasSuffix(w.Kernel, "bf16") {
		against, top = "bf16", p.bf16
	}
	if share = w.FLOPs / seconds / top; strings.HasPrefix(w.Kernel, "project") && share < memory {
		return memory, "memory"
	}
	return share, against
}

// rooflines turns the record of some steps, which took so many seconds together, into a table: the longest first, and last what no kernel accounts for.
func rooflines(c *model.Config, usages []kernel.Usage, steps int, seconds float64, peak peaks) []KernelUse {
	var out []KernelUse
	rest := seconds
	for _, u := range usages {
		t := u.Time.Seconds()
		rest -= t
		k := KernelUse{Name: u.Kernel, Calls: float64(u.Calls) / float64(steps), Seconds: t / float64(steps), Packing: u.Packing.Seconds() / float64(steps),
			Part: t / seconds, FLOPS: u.FLOPs / t, Bytes: u.Bytes / t}
		k.Share, k.Against = peak.share(u.Work, t)
		if u.In > 0 {
			k.Name += " " + role(c, u.In, u.Out)
		}
		out = append(out, k)
	}
	slices.SortStableFunc(out, func(a, b KernelUse) int { return cmp.Compare(b.Seconds, a.Seconds) })
	return append(out, KernelUse{Name: "rest", Seconds: rest / float64(steps), Part: rest / seconds})
}

// role names the matrix w[out,in] of a product.
func role(c *model.Config, in, out int) string {
	d, f, q := c.HiddenSize, c.IntermediateSize, c.QueryDim()
	for _, r := range []struct {
		name    string
		in, out int
	}{{"head", d, c.VocabSize}, {"gate_up", d, 2 * f}, {"down", f, d}, {"qkv", d, q + 2*c.KVDim()}, {"o", q, d}} {
		if r.in == in && r.out == out {
			return r.name
		}
	}
	return fmt.Sprintf("%dx%d", in, out)
}

// String is a row of the table.
func (k KernelUse) String() string {
	head := fmt.Sprintf("  %-22s %6.0f × %9.2f ms %5.1f %%", k.Name, k.Calls, 1000*k.Seconds/max(k.Calls, 1), 100*k.Part)
	switch k.Against {
	case "fma", "bf16":
		return fmt.Sprintf("%s  %7.1f GFLOP/s %6.1f %% of %-6s  packing %4.1f %%", head, k.FLOPS/1e9, 100*k.Share, k.Against, 100*k.Packing/k.Seconds)
	case "memory":
		return fmt.Sprintf("%s  %7.1f GB/s    %6.1f %% of memory", head, k.Bytes/1e9, 100*k.Share)
	}
	return head
}
