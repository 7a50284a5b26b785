package bench

import (
	"testing"
	"time"

	"mor/internal/kernel"
	"mor/internal/model"
)

// TestRooflines: kernels are named by the role of their matrix, sorted by time, compared with the peak of their kind, and the rest adds up to the step.
func TestRooflines(t *testing.T) {
	c, err := model.Preset("tiny", "vanilla", model.MiddleCycle, 3)
	if err != nil {
		t.Fatal(err)
	}
	usages := []kernel.Usage{
		{Work: kernel.Work{Kernel: "rope", Bytes: 30e9}, Calls: 4, Time: time.Second},
		{Work: kernel.Work{Kernel: "dx", In: c.IntermediateSize, Out: c.HiddenSize, FLOPs: 400e9}, Calls: 2, Time: 2 * time.Second, Packing: time.Second / 2},
		{Work: kernel.Work{Kernel: "linear", In: 5, Out: 7, FLOPs: 1e9}, Calls: 2, Time: time.Second / 2},
	}
	got := rooflines(c, usages, 2, 4, peaks{flops: 400e9, bytes: 60e9})
	want := []KernelUse{
		{"dx down", 1, 1, 0.25, 0.5, 200e9, 0, 0.5, "fma"},
		{"rope", 2, 0.5, 0, 0.25, 0, 30e9, 0.5, "memory"},
		{"linear 5x7", 1, 0.25, 0, 0.125, 2e9, 0, 0.005, "fma"},
		{"rest", 0, 0.25, 0, 0.125, 0, 0, 0, ""},
	}
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for i, k := range got {
		if k != want[i] {
			t.Errorf("row %d: %+v, want %+v", i, k, want[i])
		}
	}
}
