package main

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"

	"mor/internal/bench"
	"mor/internal/memory"
)

// TestExpectedMemory: a process that trains takes the memory that was predicted, within a tenth.
func TestExpectedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("measures processes of some seconds")
	}
	if _, known := memory.Available(); !known {
		t.Skip("this system does not tell how much memory is in use")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"--kind expert --batch 8x512 --recompute all",
		"--kind vanilla --batch 4x512 --dtype bf16",
		"--kind token+moe --batch 4x512 --dtype bf16 --recompute all",
		"--kind recursive+kv_sharing --batch 4x512 --optimizer-dtype bf16 --recompute block",
	} {
		cmd := exec.Command(self, append([]string{"bench", "step", "--size", "small", "--repetitions", "1", "--json"}, strings.Fields(args)...)...)
		cmd.Args[0] = "mor"
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var s bench.Step
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil {
			t.Fatal(err)
		}
		if r := float64(s.Expected.Peak) / float64(s.PeakMemory); math.Abs(r-1) > 0.1 {
			t.Errorf("%s: expected %d bytes, measured %d: ratio %.2f", args, s.Expected.Peak, s.PeakMemory, r)
		}
	}
}
