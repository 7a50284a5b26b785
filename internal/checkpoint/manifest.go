package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"mor/internal/strict"
)

const (
	manifestName    = "manifest.json"
	manifestVersion = 1
	maxManifest     = 1 << 20 // bytes
)

// manifest is the content of manifest.json.
type manifest struct {
	Version int      `json:"version"`
	Step    int      `json:"step"`
	Metric  *float64 `json:"metric,omitempty"`
	Files   []entry  `json:"files"`
}

// entry describes a file. CRC-32C finds truncated and damaged files at the speed of memory; it is no seal against forgery.
type entry struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	CRC32C string `json:"crc32c"` // 8 hexadecimal digits
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func formatSum(sum uint32) string { return fmt.Sprintf("%08x", sum) }

// readManifest reads the manifest of the checkpoint at path.
func readManifest(path string) (*manifest, error) {
	path = filepath.Join(path, manifestName)
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

func parseManifest(text []byte) (*manifest, error) {
	if len(text) > maxManifest {
		return nil, fmt.Errorf("more than %d bytes", maxManifest)
	}
	var m manifest
	if err := strict.JSON(text, &m); err != nil {
		return nil, err
	}
	if m.Version != manifestVersion {
		return nil, fmt.Errorf("version is %d, expected %d", m.Version, manifestVersion)
	}
	if m.Step < 0 {
		return nil, fmt.Errorf("step is %d, expected at least 0", m.Step)
	}
	seen := map[string]bool{}
	for i, e := range m.Files {
		if err := checkName(e.Name); err != nil {
			return nil, fmt.Errorf("files[%d]: %w", i, err)
		}
		if seen[e.Name] {
			return nil, fmt.Errorf("files[%d]: %s is there twice", i, e.Name)
		}
		if e.Size < 0 {
			return nil, fmt.Errorf("files[%d]: size is %d, expected at least 0", i, e.Size)
		}
		seen[e.Name] = true
	}
	return &m, nil
}

func (m *manifest) encode() ([]byte, error) {
	text, err := json.MarshalIndent(m, "", "  ")
	if err == nil && len(text) >= maxManifest {
		err = fmt.Errorf("%s: %d bytes, expected below %d; a checkpoint is for fewer files", manifestName, len(text), maxManifest)
	}
	return append(text, '\n'), err
}

// checkName refuses what is no plain name of a file inside the checkpoint.
func checkName(name string) error {
	if name == manifestName || name == "." || !filepath.IsLocal(name) || filepath.Base(name) != name {
		return fmt.Errorf("%q cannot be the name of a file in a checkpoint", name)
	}
	return nil
}

// openRegular opens a file that is neither a directory nor a device or pipe, on which reading could hang.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	return os.Open(path)
}
