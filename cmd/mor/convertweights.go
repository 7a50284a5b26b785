package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"mor/internal/format/folder"
	"mor/internal/source"
)

// packing is the report of --weights.
type packing struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Weights     string `json:"weights"`
	Bytes       int64  `json:"bytes"` // of the weights
}

// pack writes the model of SRC with its matrices in the type of --weights, laid out as the kernels read them.
func (c *convertCommand) pack(cmd *cobra.Command, src, dst string) error {
	p, err := source.ParsePrecision(c.weights)
	if err == nil && !p.Packable() {
		err = fmt.Errorf("%q is not packed: expected bf16, f16, int8, q4_1 or q4_0", c.weights)
	}
	if err != nil {
		return fmt.Errorf("--weights: %w", err)
	}
	cpu, err := openCPU(c.threads)
	if err != nil {
		return err
	}
	defer cpu.Close()
	if src, err = resolveModel(src); err != nil {
		return err
	}
	m, err := source.OpenInference(src, cpu, p)
	if err != nil {
		return err
	}
	if err := folder.SavePacked(dst, m.Model, p.Type(), folder.SaveOptions{Tokenizer: m.Tokenizer, Files: m.Files}); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(dst, folder.WeightsFile))
	if err != nil {
		return err
	}
	return c.printPacking(cmd.OutOrStdout(), &packing{src, dst, c.weights, info.Size()})
}

func (c *convertCommand) printPacking(out io.Writer, p *packing) error {
	if c.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", " ")
		return enc.Encode(p)
	}
	_, err := fmt.Fprintf(out, "source   %s\nmodel    %s\nweights  %s, %s\n", p.Source, p.Destination, p.Weights, formatSize(p.Bytes))
	return err
}
