package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mor": main})
}

// TestScripts runs the command as a user does: testdata/script/*.txtar.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_CACHE_HOME", env.WorkDir+"/cache")
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("MOR_CPU", os.Getenv("MOR_CPU"))
			return os.WriteFile(env.WorkDir+"/text.txt", prose(40000), 0o666)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"oneline":  oneLine,
			"truncate": truncate,
			"repeat":   repeat,
		},
	})
}

// prose makes n bytes of text that repeats, but not soon.
func prose(n int) []byte {
	words := strings.Fields("the router decides for each token how many times one shared block of layers is applied and a token that leaves early frees its place")
	var b strings.Builder
	for state := uint32(1); b.Len() < n; {
		state = state*1664525 + 1013904223
		b.WriteString(words[state>>16%uint32(len(words))])
		b.WriteByte(" \n"[state>>28&state>>29&1])
	}
	return []byte(b.String()[:n])
}

// oneLine checks that the last command's error is one line.
func oneLine(ts *testscript.TestScript, _ bool, _ []string) {
	text := ts.ReadFile("stderr")
	if n := strings.Count(strings.TrimSpace(text), "\n"); n != 0 || text == "" {
		ts.Fatalf("expected an error of one line, got %d:\n%s", n+1, text)
	}
}

// truncate FILE halves a file.
func truncate(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	info, err := os.Stat(path)
	ts.Check(err)
	ts.Check(os.Truncate(path, info.Size()/2))
}

// repeat FILE N TEXT writes a text so many times.
func repeat(ts *testscript.TestScript, _ bool, args []string) {
	n := 0
	for _, c := range args[1] {
		n = 10*n + int(c-'0')
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Repeat(args[2]+" ", n)), 0o666))
}

func TestFlagSuggestions(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"train --step 3", `unknown flag --step: did you mean "--steps"?`},
		{"train --zzzzzzzzzzzz", `unknown flag --zzzzzzzzzzzz: mor train --help lists them`},
	} {
		root := newRoot()
		root.SetArgs(strings.Fields(c.args))
		if err := root.ExecuteContext(context.Background()); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", c.args, err, c.want)
		}
	}
}
