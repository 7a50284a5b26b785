package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"mor/internal/bench"
)

func newBench() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure kernels and training steps against this machine's own peak, decoding, a queue of requests, and servers under load",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBenchKernels(), newBenchStep(), newBenchDecode(), newBenchThroughput(), newBenchServe())
	return cmd
}

func printMachine(w io.Writer, enc *json.Encoder, m bench.Machine, asJSON bool) error {
	if asJSON {
		return enc.Encode(m)
	}
	_, err := fmt.Fprintf(w, "%s, %d cores, %s, %s of %s, %s, %s, %s\nfp32 peak %.1f GFLOP/s with 1 thread, %.1f with %d; bf16 %.1f and %.1f\n\n", m.CPU, m.Cores, formatSize(m.Memory), m.Level,
		strings.Join(m.Levels, " "), m.System, m.Go, m.Time, m.PeakOne/1e9, m.Peak/1e9, m.Threads, m.BF16One/1e9, m.BF16/1e9)
	return err
}

// parseSizes reads n sizes with an x between each two, as in 2048x576x1536: each from 1 to a million.
func parseSizes(text string, n int) ([]int, bool) {
	parts := strings.Split(text, "x")
	var out []int
	for _, p := range parts {
		v, err := strconv.Atoi(p)
		if err != nil || v < 1 || v > 1e6 {
			return nil, false
		}
		out = append(out, v)
	}
	return out, len(out) == n
}
