package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"mor/internal/format/folder"
	"mor/internal/format/gguf"
	"mor/internal/format/safetensors"
	"mor/internal/model"
	"mor/internal/quant"
	"mor/internal/source"
	"mor/internal/strict"
	"mor/internal/uptrain"
)

// The forms that --to writes.
const (
	toFolder      = "mor"
	toHuggingFace = "hf"
	toGGUF        = "gguf"
)

var exportForms = []string{toFolder, toHuggingFace, toGGUF}

// dtypes are the element types of safetensors by the names of --dtype.
var dtypes = map[string]safetensors.DType{"f32": safetensors.F32, "f16": safetensors.F16, "bf16": safetensors.BF16}

// export is what --to writes; --json prints it.
type export struct {
	Source      string        `json:"source"`
	Destination string        `json:"destination"`
	Format      string        `json:"format"`
	DType       string        `json:"dtype"`
	Config      *model.Config `json:"config"`
	Parameters  int           `json:"parameters"`
	Lost        []string      `json:"lost,omitempty"` // what the new form cannot say
}

// export writes the model in another form.
func (c *convertCommand) export(cmd *cobra.Command, src, dst string) error {
	limit, err := c.checkExport()
	if err != nil {
		return err
	}
	cpu, err := openCPU(c.threads)
	if err != nil {
		return err
	}
	defer cpu.Close()
	if src, err = resolveModel(src); err != nil {
		return err
	}
	from, err := source.Open(src, cpu)
	if err != nil {
		return err
	}
	out := &export{Source: src, Destination: dst, Format: c.to, DType: c.dtype}
	m := from.Model
	if c.unroll {
		if m, out.Lost, err = uptrain.Unroll(m); err != nil {
			return fmt.Errorf("%s: %w", src, err)
		}
	}
	if m.Config.Recursion != nil && c.to != toFolder {
		return fmt.Errorf("%s: a recursive model, which %s has no form for: add --unroll to write each effective layer on its own, or take --to mor", src, c.to)
	}
	if err := c.write(dst, from, m, limit); err != nil {
		return err
	}
	out.Config, out.Parameters = m.Config, m.Layout.Size
	return out.print(cmd.OutOrStdout(), c.json)
}

// checkExport checks the flags of --to and returns the most bytes of a shard.
func (c *convertCommand) checkExport() (int64, error) {
	if !slices.Contains(exportForms, c.to) {
		return 0, fmt.Errorf("--to: %q: expected one of %s%s", c.to, strings.Join(exportForms, ", "), strict.Suggest(c.to, exportForms))
	}
	var known []string
	if c.to == toGGUF {
		for _, t := range gguf.Types() {
			known = append(known, strings.ToLower(t.String()))
		}
	} else {
		known = []string{"f32", "f16", "bf16"}
	}
	if !slices.Contains(known, c.dtype) {
		return 0, fmt.Errorf("--dtype: %q: --to %s writes %s", c.dtype, c.to, strings.Join(known, ", "))
	}
	if c.shardSize == "" {
		return 0, nil
	}
	if c.to == toGGUF {
		return 0, fmt.Errorf("--max-shard-size has no meaning with --to gguf, which writes one file: leave it out")
	}
	return parseSize("--max-shard-size", c.shardSize)
}

// write writes m, which comes from a source, to dst.
func (c *convertCommand) write(dst string, from *source.Model, m *model.Model, limit int64) error {
	if c.to == toGGUF {
		template, err := from.Files.ChatTemplate()
		if err != nil {
			return err
		}
		t, err := quant.ParseType(strings.ToUpper(c.dtype))
		if err != nil {
			return err
		}
		return gguf.Write(dst, m, gguf.WriteOptions{Type: t, Name: strings.TrimSuffix(filepath.Base(dst), ".gguf"), Tokenizer: from.Tokenizer, Stops: from.Stops, ChatTemplate: template})
	}
	files := from.Files
	if len(files) == 0 && c.to == toHuggingFace {
		files = folder.NewAssets(from.Tokenizer, from.Stops, "")
	}
	return folder.Save(dst, m, folder.SaveOptions{HuggingFace: c.to == toHuggingFace, DType: dtypes[c.dtype], MaxShardSize: limit, Tokenizer: from.Tokenizer, Files: files})
}

// parseSize reads a number of bytes: 2GB, 500MB, 4096.
func parseSize(flag, text string) (int64, error) {
	number, unit := text, 1.0
	for suffix, u := range map[string]float64{"KB": 1e3, "MB": 1e6, "GB": 1e9} {
		if rest, ok := strings.CutSuffix(strings.ToUpper(text), suffix); ok {
			number, unit = rest, u
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n*unit >= 1 && n*unit < 1<<62) {
		return 0, fmt.Errorf("%s: %q: expected a number of bytes, e.g. 2GB or 500MB", flag, text)
	}
	return int64(n * unit), nil
}

func (e *export) print(out io.Writer, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", " ")
		return enc.Encode(e)
	}
	_, err := fmt.Fprintf(out, "source   %s\nmodel    %s, %s\nwritten  %s, %s, %s parameters\n", e.Source, e.Destination, describe(e.Config), e.Format, e.DType, short(float64(e.Parameters)))
	for _, l := range e.Lost {
		fmt.Fprintf(out, "lost     %s\n", l)
	}
	return err
}
