package checkpoint

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
)

// Checkpoint is one whose files have been verified.
type Checkpoint struct {
	Info
	files []entry
}

// Open verifies the size and checksum of every file of the checkpoint at path. Where one is damaged, the error names the
// file, what was expected and found, and the newest older checkpoint of the run that is sound.
func Open(path string) (*Checkpoint, error) {
	c, err := verify(path)
	if err != nil {
		return nil, fmt.Errorf("%w; %s", err, advice(path))
	}
	return c, nil
}

// Files lists the names of the checkpoint's files in the order in which they were written.
func (c *Checkpoint) Files() []string {
	names := make([]string, len(c.files))
	for i, e := range c.files {
		names[i] = e.Name
	}
	return names
}

// File returns the path of the file of that name.
func (c *Checkpoint) File(name string) (string, error) {
	for _, e := range c.files {
		if e.Name == name {
			return filepath.Join(c.Path, name), nil
		}
	}
	return "", fmt.Errorf("%s: the checkpoint has no %s", c.Path, name)
}

func verify(path string) (*Checkpoint, error) {
	m, err := readManifest(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: no complete checkpoint: %w", path, err)
		}
		return nil, err
	}
	if step, ok := parseName(filepath.Base(path)); ok && step != m.Step {
		return nil, fmt.Errorf("%s: step is %d, expected %d by the directory's name", filepath.Join(path, manifestName), m.Step, step)
	}
	for _, e := range m.Files {
		if err := e.verify(path); err != nil {
			return nil, err
		}
	}
	return &Checkpoint{Info{path, m.Step, m.Metric}, m.Files}, nil
}

func (e entry) verify(dir string) error {
	path := filepath.Join(dir, e.Name)
	f, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != e.Size {
		return fmt.Errorf("%s: damaged: %d bytes, expected %d", path, info.Size(), e.Size)
	}
	h := crc32.New(castagnoli)
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if sum := formatSum(h.Sum32()); sum != e.CRC32C {
		return fmt.Errorf("%s: damaged: checksum (CRC-32C) is %s, expected %s", path, sum, e.CRC32C)
	}
	return nil
}

// advice says what to do about the damaged checkpoint at path.
func advice(path string) string {
	step, ok := parseName(filepath.Base(path))
	if !ok {
		return "use another checkpoint"
	}
	list, _ := List(filepath.Dir(path)) // without a list there is no older one
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Step >= step {
			continue
		}
		if _, err := verify(list[i].Path); err == nil {
			return fmt.Sprintf("move it away and use %s", list[i].Path)
		}
	}
	return "no older checkpoint is sound"
}
