package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mor/internal/kernel"
)

// verbs lists the commands, in the order of the help.
func verbs() []*cobra.Command {
	return []*cobra.Command{
		newTrain(),
		newGenerate(),
		newEval(),
		newInspect(),
		newConvert(),
		newTokenizer(),
		newServe(),
		newBench(),
	}
}

// mostThreads is more than any machine has cores, and few enough to start.
const mostThreads = 1024

// threadsFlag adds --threads.
func threadsFlag(cmd *cobra.Command, threads *int) {
	cmd.Flags().IntVar(threads, "threads", 0, "compute threads (default: one for each CPU)")
}

// openCPU starts the compute threads. MOR_CPU=generic|avx2|avx512|avx512bf16 picks the kernels.
func openCPU(threads int) (*kernel.CPU, error) {
	if threads < 0 || threads > mostThreads {
		return nil, fmt.Errorf("--threads %d: expected 1 to %d, or 0 for one for each CPU", threads, mostThreads)
	}
	return kernel.Open(threads)
}
