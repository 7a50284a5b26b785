package checkpoint

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

const tmpSuffix = ".tmp"

// Dir is a run's directory, locked for writing. It is not safe for concurrent use.
type Dir struct {
	path string
	lock *os.File
}

// Lock makes the run's directory if need be, takes its lock and removes what an interrupted writer left over. It fails where
// another process holds the lock. Close gives the lock back; so does the end of the process, however it ends.
func Lock(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(path, ".lock"))
	if err != nil {
		return nil, err
	}
	d := &Dir{path: path, lock: lock}
	if err := d.sweep(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Close gives the lock back.
func (d *Dir) Close() error { return unlockFile(d.lock) }

func (d *Dir) sweep() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, isTmp := strings.CutSuffix(e.Name(), tmpSuffix)
		if _, ok := parseName(name); ok && isTmp {
			if err := os.RemoveAll(filepath.Join(d.path, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// CheckStart refuses to train on from a step where a later checkpoint is there already: it would stay the latest, though
// of another run. A run that starts anew starts from step 0, or from -1 where it saves its initial state.
func (d *Dir) CheckStart(step int) error {
	latest, err := Latest(d.path)
	if errors.Is(err, ErrNone) {
		return nil
	}
	if err == nil && latest.Step > step {
		err = fmt.Errorf("%s is later than step %d, where this run starts: resume from it, move it away, or choose another directory", latest.Path, step)
	}
	return err
}

// Writer writes one checkpoint.
type Writer struct {
	dir      *Dir
	tmp      string // path while it is written
	path     string // path once it is complete
	manifest manifest
	closed   bool
}

// Create begins the checkpoint of a step, which must be later than those that are there. Commit or Abort ends it.
func (d *Dir) Create(step int) (*Writer, error) {
	if step < 0 {
		return nil, fmt.Errorf("%s: step is %d, expected at least 0", d.path, step)
	}
	w := &Writer{dir: d, path: filepath.Join(d.path, Name(step)), manifest: manifest{Version: manifestVersion, Step: step, Files: []entry{}}}
	w.tmp = w.path + tmpSuffix
	if latest, err := Latest(d.path); err == nil && latest.Step >= step {
		return nil, w.explain(errors.New("its step is not later"))
	} else if err != nil && !errors.Is(err, ErrNone) {
		return nil, err
	}
	if err := os.Mkdir(w.tmp, 0o777); err != nil {
		return nil, w.explain(err)
	}
	return w, nil
}

// SetMetric stores the figure by which the best checkpoint is chosen; lower is better.
func (w *Writer) SetMetric(x float64) error {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return fmt.Errorf("%s: metric is %v, expected a finite number", w.path, x)
	}
	w.manifest.Metric = &x
	return nil
}

// File adds a file with what write writes, and syncs it. An error, for want of space as a rule, ends the checkpoint:
// what is there of it is removed, and the error names the file and the last checkpoint, which is untouched.
func (w *Writer) File(name string, write func(io.Writer) error) error {
	if w.closed {
		return w.errClosed()
	}
	if err := w.add(name, write); err != nil {
		w.Abort()
		return w.explain(err)
	}
	return nil
}

func (w *Writer) add(name string, write func(io.Writer) error) error {
	if err := checkName(name); err != nil {
		return err
	}
	for _, e := range w.manifest.Files {
		if e.Name == name {
			return fmt.Errorf("%s is written twice", name)
		}
	}
	e, err := writeFile(filepath.Join(w.tmp, name), write)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	w.manifest.Files = append(w.manifest.Files, e)
	return nil
}

// Commit makes the checkpoint durable under its name and returns its path. After an error there is none of that name.
func (w *Writer) Commit() (path string, err error) {
	if w.closed {
		return "", w.errClosed()
	}
	if err := w.commit(); err != nil {
		w.Abort()
		return "", w.explain(err)
	}
	w.closed = true
	return w.path, nil
}

func (w *Writer) commit() error {
	text, err := w.manifest.encode()
	if err != nil {
		return err
	}
	if _, err := writeFile(filepath.Join(w.tmp, manifestName), func(f io.Writer) error {
		_, err := f.Write(text)
		return err
	}); err != nil {
		return err
	}
	if err := syncDir(w.tmp); err != nil {
		return err
	}
	if _, err := os.Lstat(w.path); !errors.Is(err, fs.ErrNotExist) { // a rename may replace an empty directory
		return &os.PathError{Op: "rename", Path: w.path, Err: fs.ErrExist}
	}
	if err := os.Rename(w.tmp, w.path); err != nil {
		return err
	}
	if err := syncDir(w.dir.path); err != nil {
		if undo := os.Rename(w.path, w.tmp); undo != nil {
			return fmt.Errorf("%w, nor can it be taken back: %w", err, undo)
		}
		return err
	}
	return nil
}

// Abort removes what was written. After Commit, File's error or Abort it does nothing.
func (w *Writer) Abort() error {
	if w.closed {
		return nil
	}
	w.closed = true
	return os.RemoveAll(w.tmp)
}

func (w *Writer) errClosed() error {
	return fmt.Errorf("%s: the checkpoint was committed or given up before", w.path)
}

// explain adds to an error which checkpoint is missing now and which is there.
func (w *Writer) explain(err error) error {
	last := "there is none before it"
	if latest, e := Latest(w.dir.path); e == nil {
		last = "the last one is " + latest.Path
	}
	return fmt.Errorf("checkpoint %s is not saved: %w; %s", w.path, err, last)
}

// Prune removes all but the newest keep checkpoints and the best one, and returns the paths of those it removed.
func (d *Dir) Prune(keep int) (removed []string, err error) {
	if keep < 1 {
		return nil, fmt.Errorf("%s: keep is %d checkpoints, expected at least 1", d.path, keep)
	}
	list, err := List(d.path)
	if err != nil {
		return nil, err
	}
	best := best(list)
	for i := 0; i < len(list)-keep; i++ {
		if i == best {
			continue
		}
		// Renamed first, it is never half a checkpoint under a complete one's name.
		tmp := list[i].Path + tmpSuffix
		if err := os.Rename(list[i].Path, tmp); err != nil {
			return removed, err
		}
		if err := os.RemoveAll(tmp); err != nil {
			return removed, err
		}
		removed = append(removed, list[i].Path)
	}
	return removed, nil
}

// writeFile creates and syncs a file with what write writes.
func writeFile(path string, write func(io.Writer) error) (entry, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return entry{}, err
	}
	s := &summed{f: f}
	b := bufio.NewWriterSize(s, 1<<16)
	err = write(b)
	if err == nil {
		err = b.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return entry{filepath.Base(path), s.size, formatSum(s.sum)}, err
}

// summed counts and sums what is written to f.
type summed struct {
	f    *os.File
	size int64
	sum  uint32
}

func (s *summed) Write(p []byte) (int, error) {
	n, err := s.f.Write(p)
	s.size += int64(n)
	s.sum = crc32.Update(s.sum, castagnoli, p[:n])
	return n, err
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	if runtime.GOOS == "windows" { // directories cannot be opened for that, and NTFS logs names itself
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	if e := d.Close(); err == nil {
		err = e
	}
	return err
}
