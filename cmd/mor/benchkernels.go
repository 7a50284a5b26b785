package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"mor/internal/bench"
	"mor/internal/memory"
	"mor/internal/model"
)

// kernelsBench holds the flags of `mor bench kernels`.
type kernelsBench struct {
	bench.Kernels
	shapes []string
	dtype  string
	json   bool
}

func newBenchKernels() *cobra.Command {
	b := &kernelsBench{}
	cmd := &cobra.Command{
		Use:   "kernels",
		Short: "Every kernel: its time, GFLOP/s or GB/s, and the share of the peak of its kind, which is measured beside it",
		Long: `Measure kernels one by one: products of training forward (linear) and backward (dx, dw), attention, what works on each value or row, the optimizer, and
products with stored weights. What multiplies is compared with the peak of multiply-adds of its type, measured beside each repetition; what waits for memory
with the memory's bandwidth, which kernels whose rows lie in a cache exceed, as products of bytes exceed the peak of float32. Products are measured at
--shape, the others at the sizes of the 135m model for 2,048 tokens.`,
		Example: `  mor bench kernels
  mor bench kernels --only attention,pointwise --threads 1,2
  mor bench kernels --shape 2048x576x1536 --threads 1 --repetitions 20
  mor bench kernels --dtype bf16 --only products
  MOR_CPU=avx2 mor bench kernels --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(b.shapes) > 0 && !cmd.Flags().Changed("only") {
				b.Groups = []string{"products"}
			}
			if err := b.check(); err != nil {
				return err
			}
			return b.run(cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&b.Groups, "only", bench.Groups(), "kernels to measure (with --shape by default: products)")
	f.IntVar(&b.Repetitions, "repetitions", 5, "repetitions of each kernel; medians are shown")
	f.IntSliceVar(&b.Threads, "threads", []int{1, 2}, "numbers of threads")
	f.StringArrayVar(&b.shapes, "shape", nil, "products to measure, rows x in x out (default: those of the models)")
	f.StringVar(&b.dtype, "dtype", "fp32", "type of the operands of products: fp32 or bf16")
	f.BoolVar(&b.json, "json", false, "print JSON Lines: the machine, then each kernel")
	return cmd
}

// check reads the flags.
func (b *kernelsBench) check() error {
	products := false
	for _, g := range b.Groups {
		if err := bench.CheckGroup(g); err != nil {
			return fmt.Errorf("--only %w", err)
		}
		products = products || g == "products"
	}
	b.Shapes = bench.Shapes
	if len(b.shapes) > 0 {
		b.Shapes = nil
	}
	for _, s := range b.shapes {
		sizes, ok := parseSizes(s, 3)
		if !ok {
			return fmt.Errorf("--shape %s: expected rows x in x out, each from 1 to 1,000,000, e.g. 2048x576x1536", s)
		}
		b.Shapes = append(b.Shapes, [3]int(sizes))
	}
	if len(b.shapes) > 0 && !products {
		return fmt.Errorf("--shape is of products: add products to --only %s", strings.Join(b.Groups, ","))
	}
	if b.Repetitions < 1 {
		return fmt.Errorf("--repetitions %d: expected at least 1", b.Repetitions)
	}
	for _, n := range b.Threads {
		if n < 1 || n > mostThreads {
			return fmt.Errorf("--threads %d: expected 1 to %d", n, mostThreads)
		}
	}
	if need := b.Bytes(); products && !memory.Fits(need) {
		return fmt.Errorf("--shape: the largest product takes about %s, which this machine has not free: choose smaller sizes", formatSize(need))
	}
	var err error
	if b.Dtype, err = model.ParseDtype(b.dtype); err != nil {
		return fmt.Errorf("--%w", err)
	}
	return nil
}

func (b *kernelsBench) run(w io.Writer) error {
	cpu, err := openCPU(0)
	if err != nil {
		return err
	}
	defer cpu.Close()
	enc := json.NewEncoder(w)
	if err := printMachine(w, enc, bench.Describe(cpu), b.json); err != nil {
		return err
	}
	return b.Run(cpu.Level(), func(k bench.Kernel) {
		if b.json {
			_ = enc.Encode(k) // standard output: nothing can be done about its loss
			return
		}
		fmt.Fprintln(w, k)
	})
}
