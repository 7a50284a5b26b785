package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestConvertWeights: --weights writes a folder that inspect describes, and refuses what it cannot do.
func TestConvertWeights(t *testing.T) {
	src := vanillaFolder(t, 2)
	dst := filepath.Join(t.TempDir(), "int8")
	out, err := command("convert", "--weights", "int8", src, dst)
	if err != nil || !strings.Contains(out, "int8") {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := command("inspect", dst); err != nil || !strings.Contains(out, "Q8_0") {
		t.Errorf("inspect: %v: %s", err, out)
	}
	for want, args := range map[string][]string{
		"int8":        {"--weights", "int7"},
		"bf16":        {"--weights", "auto"},
		"two steps":   {"--weights", "int8", "--recursive", "cycle"},
		"--lora-rank": {"--weights", "int8", "--lora-rank", "3"},
		"only runs":   {"--recursive", "cycle"},
	} {
		from := src
		if want == "only runs" {
			from = dst
		}
		_, err := command(append(append([]string{"convert"}, args...), from, filepath.Join(t.TempDir(), "x"))...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, expected %q", args, err, want)
		}
	}
}
