package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mor/internal/format/folder"
	"mor/internal/infer"
	"mor/internal/kernel"
	"mor/internal/source"
	"mor/internal/train"
)

// resolveModel is source.Resolve, with the command that makes a model where there is none.
func resolveModel(path string) (string, error) {
	dir, err := source.Resolve(path)
	var none *source.NoModelError
	if errors.As(err, &none) && path == train.Defaults().Out {
		err = fmt.Errorf("%s: %s: mor train makes one", path, none.Found)
	}
	return dir, err
}

// weightsFlag adds --weights.
func weightsFlag(cmd *cobra.Command, weights *string) {
	cmd.Flags().StringVar(weights, "weights", "auto", "type that the matrices are held in: "+strings.Join(source.Precisions(), ", ")+" (auto: what the file has)")
}

// cacheFormatFlag adds --cache-format.
func cacheFormatFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVar(format, "cache-format", string(infer.AutoFormat), "what keys and values are kept as: fp32, bf16, int8; auto: fp32 beside weights in float32, else bf16")
}

// openModel opens what resolveModel found for inference, its matrices in the type of --weights; its tokenizer must be there.
func openModel(path string, cpu *kernel.CPU, weights string) (*source.Model, error) {
	p, err := source.ParsePrecision(weights)
	if err != nil {
		return nil, fmt.Errorf("--weights: %w", err)
	}
	m, err := source.OpenInference(path, cpu, p)
	if err == nil && m.Tokenizer == nil {
		return nil, fmt.Errorf("%s: no %s: put the model's own beside its weights", path, folder.TokenizerFile)
	}
	return m, err
}
