package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestKilledRunContinues: a run of 2n steps, and one that is killed on its way and resumed, end with the same weights, moments and record.
func TestKilledRunContinues(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: builds the command and trains")
	}
	work := t.TempDir()
	bin := filepath.Join(work, "mor")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(work, "text.txt"), prose(60000), 0o666); err != nil {
		t.Fatal(err)
	}
	train := func(extra ...string) *exec.Cmd {
		args := append([]string{"train", "--data", "text.txt", "--vocab-size", "300", "--context", "16", "--batch", "4", "--micro-batch", "2", "--steps", "120",
			"--save-every", "20", "--eval-every", "30", "--eval-bytes", "500", "--valid-max-bytes", "2000", "--keep", "100", "--set", "model.hidden_size=48",
			"--set", "model.intermediate_size=64", "--set", "model.num_attention_heads=2", "--set", "model.num_key_value_heads=1", "--set", "model.head_dim=16"}, extra...)
		cmd := exec.Command(bin, args...)
		cmd.Dir = work
		cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(work, "cache"))
		return cmd
	}
	if out, err := train("--out", "whole").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	killed := train("--out", "killed", "--threads", "1")
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(filepath.Join(work, "killed", "step-000060")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no checkpoint within a minute")
		}
	}
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait()
	if _, err := os.Stat(filepath.Join(work, "killed", "step-000120")); err == nil {
		t.Fatal("the run ended before it was killed: the test needs more steps")
	}
	if out, err := train("--out", "killed", "--resume", "--threads", "3").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, file := range []string{"model.safetensors", "optimizer.safetensors"} {
		a, errA := os.ReadFile(filepath.Join(work, "whole", "step-000120", file))
		b, errB := os.ReadFile(filepath.Join(work, "killed", "step-000120", file))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs (%v, %v)", file, errA, errB)
		}
	}
	if diff := cmp.Diff(records(t, filepath.Join(work, "whole")), records(t, filepath.Join(work, "killed"))); diff != "" {
		t.Errorf("metrics.jsonl differs:\n%s", diff)
	}
}

// records reads a run's record without what the clock says.
func records(t *testing.T, dir string) []map[string]any {
	data, err := os.ReadFile(filepath.Join(dir, "metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	for line := range strings.Lines(string(data)) {
		r := map[string]any{}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		delete(r, "ms")
		delete(r, "tokens_per_s")
		out = append(out, r)
	}
	return out
}

// TestInterruptSaves: an interrupt ends the step, saves, and says how to go on.
func TestInterruptSaves(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: builds the command and trains")
	}
	work := t.TempDir()
	bin := filepath.Join(work, "mor")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(work, "text.txt"), prose(60000), 0o666); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "train", "--data", "text.txt", "--vocab-size", "300", "--context", "16", "--batch", "2", "--steps", "100000", "--out", "run",
		"--valid-max-bytes", "2000", "--eval-every", "0", "--save-every", "0", "--log-every", "1")
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(work, "cache"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if data, _ := os.ReadFile(filepath.Join(work, "run", "metrics.jsonl")); len(data) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no step within a minute")
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); err == nil || code != 1 {
		t.Errorf("exit status %d, want 1", code)
	}
	want := "continue with: mor train --resume --out run\n"
	if s := stderr.String(); !strings.HasSuffix(s, want) || strings.Count(s, "\n") != 1 || !strings.Contains(s, "interrupted behind step ") {
		t.Errorf("error is %q, want one line that ends in %q", s, want)
	}
	if found, _ := filepath.Glob(filepath.Join(work, "run", "step-*")); len(found) != 1 {
		t.Errorf("checkpoints: %v, want one", found)
	}
}
