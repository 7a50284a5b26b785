package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
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

// TestCommandsParse: every command in the pages and in the examples of --help names a verb and flags that exist, with values that they take.
func TestCommandsParse(t *testing.T) {
	texts := map[string]string{}
	for _, page := range []string{"README.md", "bench/README.md"} {
		data, err := os.ReadFile("../../" + page)
		if err != nil {
			t.Fatal(err)
		}
		texts[page] = string(data)
	}
	var examples func(c *cobra.Command)
	examples = func(c *cobra.Command) {
		texts[c.CommandPath()+" --help"] = c.Example
		for _, sub := range c.Commands() {
			examples(sub)
		}
	}
	examples(newRoot())
	for where, text := range texts {
		for _, line := range commandLines(text) {
			if err := parses(line); err != nil {
				t.Errorf("%s: %s: %v", where, line, err)
			}
		}
	}
}

var (
	blockCommand  = regexp.MustCompile(`(?m)^(?:\$ |    |  )?((?:[A-Z_]+=\S+ )*(?:mor|go run \./cmd/mor) .*)$`)
	inlineCommand = regexp.MustCompile("`((?:[A-Z_]+=\\S+ )*mor [^`]+)`")
)

// commandLines finds the commands in a page: those that lines begin with, and those between backquotes.
func commandLines(text string) []string {
	var out []string
	for _, r := range []*regexp.Regexp{blockCommand, inlineCommand} {
		for _, m := range r.FindAllStringSubmatch(text, -1) {
			out = append(out, m[1])
		}
	}
	return out
}

// parses tells what is wrong with a command line. Capital words, as in --kind KIND, stand for what is chosen.
func parses(line string) error {
	words := shellWords(line)
	for strings.Contains(words[0], "=") {
		words = words[1:]
	}
	if words[0] == "go" {
		words = words[2:]
	}
	if words[1] == "VERB" || words[1] == "completion" {
		return nil
	}
	c, rest, err := newRoot().Find(words[1:])
	if err != nil {
		return err
	}
	if !c.HasParent() {
		return fmt.Errorf("no verb")
	}
	c.InitDefaultHelpFlag()
	return c.ParseFlags(rest)
}

// shellWords splits a line as a shell does, up to what belongs to the shell.
func shellWords(line string) []string {
	words := regexp.MustCompile(`'[^']*'|"[^"]*"|[^\s'"]+`).FindAllString(line, -1)
	for i, w := range words {
		if strings.ContainsAny(w[:1], "|>&;#") {
			return words[:i]
		}
		words[i] = strings.Trim(w, `'"`)
	}
	return words
}

// TestCommandLines: what the pages are searched for is found, and what is wrong is seen.
func TestCommandLines(t *testing.T) {
	got := commandLines("A `mor bench step --size tiny` here.\n\n    MOR_CPU=avx2 mor bench kernels --only rows > log\n    more text\n$ mor inspect x\n")
	if len(got) != 3 {
		t.Fatalf("%q", got)
	}
	for _, line := range got {
		if err := parses(line); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	for _, line := range []string{"mor bench step --sizes tiny", "mor trian", "mor bench step --repetitions x"} {
		if parses(line) == nil {
			t.Errorf("%s parses", line)
		}
	}
}
