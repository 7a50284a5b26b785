package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// lockFile opens and locks the file at path, in which the holder leaves its process number for errors to name.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	busy, err := tryLock(f)
	if busy {
		err = fmt.Errorf("%s: another process (number %s) trains here: wait for its end or choose another directory", filepath.Dir(path), holder(f))
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteString(strconv.Itoa(os.Getpid()))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func holder(f *os.File) string {
	text := make([]byte, 20)
	n, _ := f.ReadAt(text, 0) // whatever is there
	if _, err := strconv.Atoi(string(text[:n])); err != nil {
		return "unknown"
	}
	return string(text[:n])
}

// unlockFile closes the file, which unlocks it. The file stays: whoever waits to lock it may have it open.
func unlockFile(f *os.File) error {
	err := f.Truncate(0)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
