package main

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"mor/internal/infer"
	"mor/internal/load"
	"mor/internal/load/loadtest"
	"mor/internal/memory"
	"mor/internal/serve"
	"mor/internal/serve/servetest"
)

func TestBenchServe(t *testing.T) {
	s := loadtest.New(t, loadtest.Options{APIKey: "sesame"})
	dir := t.TempDir()
	key, picture := filepath.Join(dir, "key"), filepath.Join(dir, "load.svg")
	if err := os.WriteFile(key, []byte("sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"bench", "serve", s.URL, "--api-key-file", key, "--requests", "30", "--max-tokens", "2-6", "--malformed-share", "0.2", "--verify", "--extra", `{"max_recursion": 2}`}
	resident, _ := memory.OfProcess(os.Getpid())
	if resident > 0 { // known on this system
		args = append(args, "--pid", strconv.Itoa(os.Getpid()))
	}
	text, err := command(append(args, "--plot", picture)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"closed loop of 8 clients, seed 1", "200: ", "400: ", "output tokens/s", "depth      1.50 of 3 causal", "TTFT  ", "E2EL  ", "0 differ"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if data, err := os.ReadFile(picture); err != nil || !strings.Contains(string(data), "</svg>") {
		t.Errorf("the plot: %v, %.100s", err, data)
	}
	if bodies := s.Bodies(); len(bodies) == 0 || !strings.Contains(bodies[0], `"max_recursion":2`) {
		t.Errorf("--extra is not in the request %.300s", bodies)
	}
	if resident > 0 && !strings.Contains(text, "memory     ") {
		t.Errorf("no memory in\n%s", text)
	}
	text, err = command(append(args, "--json")...)
	if err != nil {
		t.Fatal(err)
	}
	var r load.Report
	if err := json.Unmarshal([]byte(text), &r); err != nil || r.Completed+r.Malformed != 30 || r.Verified == nil || r.TTFT.Count != r.Completed {
		t.Errorf("%v: %s", err, text)
	}
}

func TestBenchServeRefuses(t *testing.T) {
	s := loadtest.New(t, loadtest.Options{Fail: true})
	for _, c := range []struct{ args, want string }{
		{"localhost", "expected the address of a server"},
		{"http://127.0.0.1:1", "/v1/models"},
		{s.URL + " --requests 3", "3 of 3 requests failed"},
		{s.URL + " --plot load.gif", "ends in .svg or .png"},
		{s.URL + " --plot nowhere/load.svg", "--plot"},
		{s.URL + " --extra {", "--extra {: expected a JSON object"},
		{s.URL + " --api-key-file nowhere", "--api-key-file"},
		{s.URL + " --pid 999999999", "--pid 999999999"},
		{s.URL + " --max-tokens 9-3", "expected a length such as 64"},
		{s.URL + " --request 3", `did you mean "--requests"?`},
	} {
		if _, err := command(append([]string{"bench", "serve"}, strings.Fields(c.args)...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, expected %s", c.args, err, c.want)
		}
	}
}

// TestBenchServeOfServer: against the server itself, cancelled and malformed requests included, every answer is that of the request alone.
func TestBenchServeOfServer(t *testing.T) {
	m := serve.ModelOptions{Path: servetest.Folder(t, "expert", 1), Weights: "auto", Threads: 1, Engine: infer.DefaultEngineOptions()}
	s, err := serve.New(m, serve.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		h.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, more := range [][]string{nil, {"--chat"}, {"--rate", "200"}} {
		args := append([]string{"bench", "serve", h.URL, "--requests", "60", "--concurrency", "16", "--prompt-tokens", "2-20", "--max-tokens", "1-24", "--prompts", "12",
			"--cancel-share", "0.1", "--malformed-share", "0.1", "--verify", "--json"}, more...)
		text, err := command(args...)
		if err != nil {
			t.Fatalf("%v: %v: %s", more, err, text)
		}
		var r load.Report
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatal(err)
		}
		if r.Completed < 40 || r.Malformed == 0 || r.Verified.Completed != r.Completed || r.Server.NumRecursion != 3 || r.Server.Routing != "causal" || r.MeanDepth <= 0 || r.PromptTokens == 0 {
			t.Errorf("%v: %s", more, text)
		}
	}
}
