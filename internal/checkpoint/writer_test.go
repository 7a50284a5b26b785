package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPrune(t *testing.T) {
	tests := []struct {
		name    string
		metrics []float64 // of steps 1, 2, ...; 0: none
		keep    int
		want    string
	}{
		{"newest", []float64{0, 0, 0, 0}, 2, "step-000003 step-000004"},
		{"all", []float64{0, 0}, 5, "step-000001 step-000002"},
		{"best is old", []float64{3, 1, 2, 4, 5}, 2, "step-000002 step-000004 step-000005"},
		{"best is among the newest", []float64{3, 2, 1}, 1, "step-000003"},
		{"of equals the later", []float64{1, 1, 2, 3}, 1, "step-000002 step-000004"},
		{"negative", []float64{-1, 1, 2}, 1, "step-000001 step-000003"},
	}
	for _, test := range tests {
		d := lock(t, t.TempDir())
		for i, metric := range test.metrics {
			save(t, d, i+1, metric)
		}
		before := steps(t, d.path)
		removed, err := d.Prune(test.keep)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if got := steps(t, d.path); got != test.want {
			t.Errorf("%s: left are %s, expected %s", test.name, got, test.want)
		}
		if n := len(strings.Fields(before)) - len(strings.Fields(test.want)); len(removed) != n {
			t.Errorf("%s: removed %v, expected %d", test.name, removed, n)
		}
		list, err := List(d.path)
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range list {
			if _, err := Open(info.Path); err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
		}
	}
	if _, err := lock(t, t.TempDir()).Prune(0); err == nil || !strings.Contains(err.Error(), "keep is 0") {
		t.Errorf("Prune(0): %v", err)
	}
}

func TestLockSweeps(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"step-000007.tmp", "mine.tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, name, "x"), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	lock(t, dir)
	if got := steps(t, dir); got != "" {
		t.Errorf("after Lock there is still %s", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "mine.tmp")); err != nil {
		t.Errorf("a directory that is none of ours: %v", err)
	}
}

func TestLockRefusesTheSecond(t *testing.T) {
	dir := t.TempDir()
	d, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Lock(dir)
	if want := fmt.Sprintf("%s: another process (number %d) trains here", dir, os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("second Lock: %v, expected %q", err, want)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	lock(t, dir)
}

func TestLockRefusesAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, expected one that names %s", err, path)
	}
}

var errFull = errors.New("no space left on device")

// Whatever goes wrong, nothing is left of the new checkpoint, the last one is as it was, and the next one can be saved.
func TestFailedWriterLeavesTheLastCheckpoint(t *testing.T) {
	tests := []struct {
		name, want string
		fail       func(w *Writer) error
	}{
		{"full disk", "model.safetensors: no space left on device", func(w *Writer) error {
			return w.File("model.safetensors", func(o io.Writer) error {
				if err := content("half")(o); err != nil {
					return err
				}
				return errFull
			})
		}},
		{"written twice", "a is written twice", func(w *Writer) error {
			if err := w.File("a", content("")); err != nil {
				return err
			}
			return w.File("a", content(""))
		}},
		{"bad name", `"../a" cannot be the name`, func(w *Writer) error { return w.File("../a", content("")) }},
		{"manifest's name", "cannot be the name", func(w *Writer) error { return w.File(manifestName, content("")) }},
		{"name taken meanwhile", "step-000020: file already exists", func(w *Writer) error {
			if err := os.Mkdir(w.path, 0o777); err != nil {
				return err
			}
			_, err := w.Commit()
			return errors.Join(os.Remove(w.path), err)
		}},
	}
	for _, test := range tests {
		d := lock(t, t.TempDir())
		last := save(t, d, 10, 0)
		w, err := d.Create(20)
		if err != nil {
			t.Fatal(err)
		}
		err = test.fail(w)
		if err == nil {
			t.Fatalf("%s: no error", test.name)
		}
		for _, want := range []string{test.want, "checkpoint " + w.path + " is not saved: ", "the last one is "} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q, expected %q", test.name, err, want)
			}
		}
		if got := steps(t, d.path); got != "step-000010" {
			t.Errorf("%s: there is %s, expected step-000010 only", test.name, got)
		}
		if _, err := Open(last); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if err := w.File("b", content("")); err == nil || !strings.Contains(err.Error(), "given up") {
			t.Errorf("%s: File after the failure: %v", test.name, err)
		}
		if _, err := w.Commit(); err == nil || !strings.Contains(err.Error(), "given up") {
			t.Errorf("%s: Commit after the failure: %v", test.name, err)
		}
		save(t, d, 20, 0)
	}
}

func TestAbort(t *testing.T) {
	d := lock(t, t.TempDir())
	w, err := d.Create(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.File("a", content("text")); err != nil {
		t.Fatal(err)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	if got := steps(t, d.path); got != "" {
		t.Errorf("after Abort there is %s", got)
	}
	w, err = d.Create(1)
	if err != nil {
		t.Fatal(err)
	}
	path, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err != nil {
		t.Errorf("Abort after Commit: %v", err)
	}
}

func TestCheckpointsAreInOrder(t *testing.T) {
	d := lock(t, t.TempDir())
	if err := d.CheckStart(0); err != nil {
		t.Errorf("a start in an empty directory: %v", err)
	}
	save(t, d, 10, 0)
	for _, step := range []int{10, 9, -1} {
		if _, err := d.Create(step); err == nil {
			t.Errorf("step %d is created after 10", step)
		}
	}
	if err := d.CheckStart(10); err != nil {
		t.Errorf("a resume from the latest: %v", err)
	}
	if err := d.CheckStart(9); err == nil || !strings.Contains(err.Error(), "step-000010 is later than step 9") {
		t.Errorf("a start from an older step: %v", err)
	}
}

func TestSetMetricRefuses(t *testing.T) {
	d := lock(t, t.TempDir())
	w, err := d.Create(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []float64{math.NaN(), math.Inf(-1)} {
		if err := w.SetMetric(x); err == nil {
			t.Errorf("a metric of %v is taken", x)
		}
	}
}
