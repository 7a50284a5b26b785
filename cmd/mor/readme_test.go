package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestReadmeVerbs: the README's table of verbs is that of the command.
func TestReadmeVerbs(t *testing.T) {
	data, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verbs() {
		if row := fmt.Sprintf("| `%s` | %s |", v.Name(), v.Short); !strings.Contains(string(data), row) {
			t.Errorf("README.md lacks the row:\n%s", row)
		}
	}
}
