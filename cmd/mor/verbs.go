package main

import (
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
		newBench(),
	}
}

// threadsFlag adds --threads.
func threadsFlag(cmd *cobra.Command, threads *int) {
	cmd.Flags().IntVar(threads, "threads", 0, "compute threads (default: one for each CPU)")
}

// openCPU starts the compute threads. MOR_CPU=generic|avx2|avx512|avx512bf16 picks the kernels.
func openCPU(threads int) (*kernel.CPU, error) {
	return kernel.Open(threads)
}
