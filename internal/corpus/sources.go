package corpus

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// file is one file on the disk that is to be read.
type file struct {
	path  string // where it lies
	name  string // slash-separated, inside the path that was asked for: independent of where that lies
	size  int64
	named bool // asked for by its own name: then a binary file is an error
}

// GoSource returns the Go source files that every Go installation carries under GOROOT/src, test data included.
func GoSource(ctx context.Context) (Sources, error) {
	root := os.Getenv("GOROOT")
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if s := strings.TrimSpace(string(out)); err == nil && s != "" {
		root = s
	}
	if root == "" {
		return Sources{}, fmt.Errorf("data: no Go installation found (`go env GOROOT` does not answer): name your own text with --data")
	}
	src := Sources{Paths: []string{filepath.Join(root, "src")}, Include: []string{"*.go"}}
	if _, _, err := src.files(); err != nil {
		return Sources{}, fmt.Errorf("data: the Go installation at %s has no source files: name your own text with --data", root)
	}
	return src, nil
}

// files lists what the paths mean, in reading order, and counts what it leaves out; a file that is reached twice counts once.
func (s Sources) files() (all []file, left LeftOut, err error) {
	if err := s.check(); err != nil {
		return nil, left, err
	}
	for _, p := range s.Paths {
		found, out, err := s.expand(p)
		if err != nil {
			return nil, left, err
		}
		all = append(all, found...)
		left.Shards += out.Shards
	}
	seen := make(map[string]bool, len(all))
	all = slices.DeleteFunc(all, func(f file) bool {
		abs, err := filepath.Abs(f.path)
		if err != nil {
			abs = f.path
		}
		twice := seen[abs]
		seen[abs] = true
		return twice
	})
	if len(all) == 0 {
		return nil, left, fmt.Errorf("data %s: no file found: name files or folders of text with --data", quoted(s.Paths))
	}
	if s.MaxBytes > 0 {
		all = draw(all, s.MaxBytes)
	}
	return all, left, nil
}

// expand lists the files of one path.
func (s Sources) expand(p string) (all []file, left LeftOut, err error) {
	info, err := os.Stat(p)
	switch {
	case err == nil && info.IsDir():
		return s.walk(p)
	case err == nil && info.Mode().IsRegular():
		return []file{{path: p, name: filepath.Base(p), size: info.Size(), named: true}}, left, nil
	case err == nil:
		return nil, left, fmt.Errorf("data %q: neither a file nor a folder (%s): name files or folders of text with --data", p, info.Mode().Type())
	case !errors.Is(err, fs.ErrNotExist) || !strings.ContainsAny(p, "*?["):
		return nil, left, fmt.Errorf("data %q: %w: name files or folders of text with --data", p, rootCause(err))
	case strings.Contains(p, "**"):
		return nil, left, fmt.Errorf("data %q: ** is not supported: name the folder, it is read recursively", p)
	}
	matches, err := filepath.Glob(p)
	if err != nil {
		return nil, left, fmt.Errorf("data %q: %w", p, err)
	}
	if len(matches) == 0 {
		return nil, left, fmt.Errorf("data %q: the pattern matches no file: name files or folders of text with --data", p)
	}
	slices.Sort(matches)
	for _, m := range matches {
		info, err := os.Stat(m)
		switch {
		case errors.Is(err, fs.ErrNotExist): // a link to nothing
		case err != nil:
			return nil, left, fmt.Errorf("data %q: %w", m, rootCause(err))
		case info.Mode().IsRegular():
			all = append(all, file{path: m, name: filepath.Base(m), size: info.Size()})
		case info.IsDir():
			found, out, err := s.walk(m)
			if err != nil {
				return nil, left, err
			}
			all = append(all, found...)
			left.Shards += out.Shards
		}
	}
	return all, left, nil
}

// walk lists the regular files (and links to some) below root, sorted by their slash-separated path inside it,
// and what a dataset leaves out of them.
func (s Sources) walk(root string) (all []file, left LeftOut, err error) {
	resolved, err := filepath.EvalSymlinks(root) // WalkDir does not enter a root that is a link
	if err != nil {
		return nil, left, fmt.Errorf("data %q: %w", root, rootCause(err))
	}
	var about []string // files that describe a saved dataset
	err = filepath.WalkDir(resolved, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != resolved && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(resolved, p)
		if err != nil {
			return err
		}
		if d.Name() == stateName || d.Name() == dictName {
			about = append(about, filepath.ToSlash(rel))
		}
		if !s.included(d.Name()) || d.Type()&^fs.ModeSymlink != 0 {
			return nil
		}
		info, err := os.Stat(p)
		if d.Type() != 0 && (err != nil || !info.Mode().IsRegular()) {
			return nil // a link to nothing or to a folder
		}
		if err != nil {
			return err
		}
		all = append(all, file{path: p, name: filepath.ToSlash(rel), size: info.Size()})
		return nil
	})
	if err != nil {
		return nil, left, fmt.Errorf("data %q: %w", root, err)
	}
	slices.SortFunc(all, func(a, b file) int { return strings.Compare(a.name, b.name) })
	folders, err := savedFolders(resolved, about, all)
	if err != nil {
		return nil, left, err
	}
	all, left = datasetFiles(all, folders)
	return all, left, nil
}

// included reports whether a file of a folder or an archive is wanted.
func (s Sources) included(name string) bool {
	base := path.Base(name)
	return len(s.Include) == 0 || slices.ContainsFunc(s.Include, func(p string) bool {
		ok, _ := path.Match(p, base)
		return ok
	})
}

// draw keeps files by the order of their names' hashes until they hold max bytes, so that a limit reads from all over
// the sources and not only their beginning; the order of reading stays.
func draw(all []file, max int64) []file {
	order := make([]int, len(all))
	sums := make([][sha256.Size]byte, len(all))
	for i, f := range all {
		order[i], sums[i] = i, sha256.Sum256([]byte(f.name))
	}
	slices.SortStableFunc(order, func(a, b int) int { return slices.Compare(sums[a][:], sums[b][:]) })
	var size int64
	for n, i := range order {
		if size += all[i].size; size >= max {
			order = order[:n+1]
			break
		}
	}
	slices.Sort(order)
	kept := make([]file, len(order))
	for n, i := range order {
		kept[n] = all[i]
	}
	return kept
}

func totalSize(files []file) int64 {
	var n int64
	for _, f := range files {
		n += f.size
	}
	return n
}

func quoted(paths []string) string {
	q := make([]string, len(paths))
	for i, p := range paths {
		q[i] = fmt.Sprintf("%q", p)
	}
	return strings.Join(q, ", ")
}

// rootCause drops the path that an fs.PathError repeats.
func rootCause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
