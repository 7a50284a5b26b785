package folder_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mor/internal/format/folder"
)

// TestStopTokens: generation_config.json says what ends a text, and config.json where there is none.
func TestStopTokens(t *testing.T) {
	for _, c := range []struct {
		config, generation, problem string
		want                        []int32
	}{
		{config: `{"eos_token_id": 2}`, want: []int32{2}},
		{config: `{"eos_token_id": [3, 4]}`, want: []int32{3, 4}},
		{config: `{"eos_token_id": 2}`, generation: `{"eos_token_id": [5, 6]}`, want: []int32{5, 6}},
		{config: `{"eos_token_id": 2}`, generation: `{}`},
		{config: `{"eos_token_id": null}`},
		{config: `{"eos_token_id": "x"}`, problem: "eos_token_id"},
		{config: `{`, generation: `[`, problem: "generation_config.json"},
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"config.json": c.config, "generation_config.json": c.generation} {
			if text == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		files, err := folder.ReadAssets(dir)
		var got []int32
		if err == nil {
			got, err = files.StopTokens()
		}
		if c.problem != "" {
			if err == nil || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%s %s: %v, want %q", c.config, c.generation, err, c.problem)
			}
			continue
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s %s: %v, %v, want %v", c.config, c.generation, got, err, c.want)
		}
	}
}
