//go:build linux

package checkpoint

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The variables that turn the test binary into a writer in a process of its own.
const (
	envRole = "CHECKPOINT_TEST_ROLE"
	envDir  = "CHECKPOINT_TEST_DIR"
)

func TestMain(m *testing.M) {
	var err error
	switch role := os.Getenv(envRole); role {
	case "":
		os.Exit(m.Run())
	case "save":
		err = saveForever(os.Getenv(envDir))
	case "full":
		err = saveWithoutSpace(os.Getenv(envDir))
	default:
		err = fmt.Errorf("%s is %q", envRole, role)
	}
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func child(role, dir string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envRole+"="+role, envDir+"="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// saveForever saves one checkpoint after the other, prints each once it is committed, and keeps two.
func saveForever(dir string) error {
	d, err := Lock(dir)
	if err != nil {
		return err
	}
	latest, err := Latest(dir)
	if err != nil && !errors.Is(err, ErrNone) {
		return err
	}
	block := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	for step := latest.Step + 1; ; step++ {
		w, err := d.Create(step)
		if err != nil {
			return err
		}
		for _, name := range []string{"model.safetensors", "optimizer.safetensors"} {
			if err := w.File(name, func(o io.Writer) error { _, err := o.Write(block); return err }); err != nil {
				return err
			}
		}
		if _, err := w.Commit(); err != nil {
			return err
		}
		fmt.Println(step)
		if _, err := d.Prune(2); err != nil {
			return err
		}
	}
}

// A process killed at any moment loses no checkpoint that it had committed, and its successor finds only sound ones.
func TestKilledWriter(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, uint64(os.Getpid())))
	for range 6 {
		cmd := child("save", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, committed := bufio.NewScanner(out), 0
		for lines.Scan() {
			if _, err := fmt.Sscan(lines.Text(), &committed); err != nil {
				t.Error(lines.Text())
			}
			if committed%3 == 0 {
				time.AfterFunc(time.Duration(rng.IntN(20_000))*time.Microsecond, func() { cmd.Process.Kill() })
			}
		}
		cmd.Wait() // killed, as it should be
		latest, err := Latest(dir)
		if err != nil || latest.Step < committed {
			t.Fatalf("latest is step %d (%v), but %d was committed", latest.Step, err, committed)
		}
		if _, err := Open(latest.Path); err != nil {
			t.Fatal(err)
		}
		d, err := Lock(dir) // the killed process's lock is gone
		if err != nil {
			t.Fatal(err)
		}
		if got := steps(t, dir); strings.Contains(got, tmpSuffix) {
			t.Errorf("after the sweep there is %s", got)
		}
		d.Close()
	}
}

func TestLockRefusesTheSecondProcess(t *testing.T) {
	dir := t.TempDir()
	lock(t, dir)
	out, err := child("save", dir).Output()
	want := fmt.Sprintf("another process (number %d) trains here", os.Getpid())
	if err == nil || !strings.Contains(string(out), want) {
		t.Errorf("%v: %q, expected %q", err, out, want)
	}
}

// saveWithoutSpace runs into a limit of 64 KiB a file, as near to a full disk as a process can get by itself.
func saveWithoutSpace(dir string) error {
	signal.Ignore(syscall.SIGXFSZ) // makes write fail instead
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 16, Max: 1 << 16}); err != nil {
		return err
	}
	d, err := Lock(dir)
	if err != nil {
		return err
	}
	w, err := d.Create(2)
	if err != nil {
		return err
	}
	return w.File("model.safetensors", func(o io.Writer) error {
		_, err := o.Write(make([]byte, 1<<20))
		return err
	})
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	d := lock(t, dir)
	last := save(t, d, 1, 0)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	out, err := child("full", dir).Output()
	want := fmt.Sprintf("error: checkpoint %[1]s/step-000002 is not saved: model.safetensors: write %[1]s/step-000002.tmp/model.safetensors: file too large; the last one is %[2]s\n", dir, last)
	if err == nil || string(out) != want {
		t.Errorf("%v: %q, expected %q", err, out, want)
	}
	if got := steps(t, dir); got != "step-000001" {
		t.Errorf("there is %s, expected step-000001 only", got)
	}
	if _, err := Open(last); err != nil {
		t.Error(err)
	}
}
