package corpus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A stamp file remembers the SHA-256 of files so that unchanged ones need not be read again. As in git's index an entry is
// believed only if size, times and inode are the same and the file was at rest when it was hashed.
type stamps struct {
	Version int     `json:"version"`
	Taken   int64   `json:"taken"` // before the first file was hashed, ns
	Files   []stamp `json:"files"`
}

type stamp struct {
	Path  string `json:"path"`
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime"` // ns
	Ctime int64  `json:"ctime"` // ns; 0 where the system does not tell
	Inode uint64 `json:"inode"`
	SHA   string `json:"sha256"`
}

const (
	stampVersion = 1
	restTime     = int64(2 * time.Second) // coarsest file time in use (FAT)
	maxJSON      = 1 << 30                // largest stamp file or manifest that is read
)

// hashFiles returns the SHA-256 of every file, and its size and times when that was taken.
func hashFiles(ctx context.Context, opt Options, files []file, cacheDir string) ([][sha256.Size]byte, []stamp, error) {
	now := stamps{Version: stampVersion, Taken: time.Now().UnixNano(), Files: make([]stamp, len(files))}
	list := sha256.New()
	for i, f := range files {
		st, err := stampOf(f.path)
		if err != nil {
			return nil, nil, fmt.Errorf("data %q: %w", f.path, rootCause(err))
		}
		now.Files[i] = st
		fmt.Fprintf(list, "%q\n", st.Path)
	}
	path := filepath.Join(cacheDir, "stamps-"+hex.EncodeToString(list.Sum(nil)[:16])+".json")
	old := readStamps(path)
	sums := make([][sha256.Size]byte, len(files))
	var mu sync.Mutex
	p := Progress{Stage: "hash", Total: totalSize(files)}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(opt.workers())
	fresh := false
	for i, st := range now.Files {
		if sum, ok := old.find(i, st); ok {
			sums[i], now.Files[i].SHA = sum, hex.EncodeToString(sum[:])
			p.Total -= st.Size
			continue
		}
		fresh = true
		g.Go(func() error {
			sum, err := hashFile(ctx, st.Path)
			if err != nil {
				return fmt.Errorf("data %q: %w", st.Path, rootCause(err))
			}
			sums[i], now.Files[i].SHA = sum, hex.EncodeToString(sum[:])
			mu.Lock()
			defer mu.Unlock()
			p.Done += st.Size
			opt.progress(p)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	if fresh {
		writeStamps(path, now, opt)
	}
	return sums, now.Files, nil
}

func stampOf(path string) (stamp, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return stamp{}, err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return stamp{}, err
	}
	st := stamp{Path: abs, Size: info.Size(), Mtime: info.ModTime().UnixNano()}
	st.Inode, st.Ctime = changeStamp(abs)
	return st, nil
}

// find returns the remembered hash of file i if it is surely still right.
func (s *stamps) find(i int, st stamp) (sum [sha256.Size]byte, ok bool) {
	if i >= len(s.Files) {
		return sum, false
	}
	was := s.Files[i]
	raw, err := hex.DecodeString(was.SHA)
	was.SHA = ""
	if err != nil || len(raw) != sha256.Size || was != st || max(st.Mtime, st.Ctime) > s.Taken-restTime {
		return sum, false
	}
	return [sha256.Size]byte(raw), true
}

// readStamps returns what is remembered; a file that cannot be read means nothing is.
func readStamps(path string) *stamps {
	s := &stamps{}
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxJSON {
		return s
	}
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, s) != nil || s.Version != stampVersion {
		return &stamps{}
	}
	return s
}

// writeStamps is only for speed, so failing is worth no more than a warning.
func writeStamps(path string, s stamps, opt Options) {
	b, err := json.Marshal(s)
	if err == nil {
		err = writeFile(path, b)
	}
	if err != nil {
		opt.warn("the sources will be hashed again next time", "error", err)
	}
}

// writeFile replaces a file as a whole: written aside, synced, renamed.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails, as it should, once renamed
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func hashFile(ctx context.Context, path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h, n := sha256.New(), int64(0)
	if _, err := io.Copy(h, &countReader{ctx: ctx, in: f, n: &n}); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
