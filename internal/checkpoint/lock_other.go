//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd && !solaris && !windows

package checkpoint

import "os"

// tryLock takes the process number in f for a lock, as these systems have no other that ends with its holder: after a
// crash the file must be removed by hand.
func tryLock(f *os.File) (busy bool, err error) {
	info, err := f.Stat()
	return err == nil && info.Size() > 0, err
}
