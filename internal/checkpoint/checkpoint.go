// Package checkpoint keeps the states of a training run as directories of named files that are either complete or not
// there, whenever the process or the machine stops.
//
// A run's directory holds one directory a checkpoint, named by its step:
//
//	step-000100/        complete: it got this name by a rename, after all of it was synced
//	step-000200.tmp/    being written or removed, or left over from a crash; swept by Lock
//	.lock               locked by the one process that writes here
//
// In each, manifest.json lists the files with their sizes and checksums. Which checkpoint is the latest or the best is
// read from the directories themselves every time; nothing else records it.
package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ErrNone means that a run's directory holds no checkpoint, or none with a metric.
var ErrNone = errors.New("no checkpoint")

// Info is what a listing tells about a checkpoint. Its files have not been verified; Open does that.
type Info struct {
	Path   string
	Step   int
	Metric *float64 // lower is better; nil where the writer gave none or the manifest cannot be read
}

// Name returns the name of a step's directory.
func Name(step int) string { return fmt.Sprintf("step-%06d", step) }

// parseName is the inverse of Name.
func parseName(name string) (step int, ok bool) {
	digits, ok := strings.CutPrefix(name, "step-")
	step, err := strconv.Atoi(digits)
	return step, ok && err == nil && step >= 0 && Name(step) == name
}

// List returns the checkpoints of the run in dir by ascending step.
func List(dir string) ([]Info, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []Info
	for _, e := range entries {
		step, ok := parseName(e.Name())
		if !ok || !e.IsDir() {
			continue
		}
		info := Info{Path: filepath.Join(dir, e.Name()), Step: step}
		if m, err := readManifest(info.Path); err == nil {
			info.Metric = m.Metric
		}
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b Info) int { return cmp.Compare(a.Step, b.Step) })
	return list, nil
}

// Latest returns the checkpoint with the highest step, or an error that is ErrNone.
func Latest(dir string) (Info, error) {
	list, err := List(dir)
	if err != nil {
		return Info{}, err
	}
	if len(list) == 0 {
		return Info{}, fmt.Errorf("%s: %w", dir, ErrNone)
	}
	return list[len(list)-1], nil
}

// Best returns the checkpoint with the lowest metric, the later one of equals, or an error that is ErrNone.
func Best(dir string) (Info, error) {
	list, err := List(dir)
	if err != nil {
		return Info{}, err
	}
	i := best(list)
	if i < 0 {
		return Info{}, fmt.Errorf("%s: %w with a metric", dir, ErrNone)
	}
	return list[i], nil
}

// best returns the index of the best, or -1.
func best(list []Info) int {
	at := -1
	for i, info := range list {
		if info.Metric != nil && (at < 0 || *info.Metric <= *list[at].Metric) {
			at = i
		}
	}
	return at
}
