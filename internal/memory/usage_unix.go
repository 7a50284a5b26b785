//go:build unix && !linux

package memory

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Peak is the largest resident memory of this process so far, in bytes.
func Peak() int64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return int64(u.Maxrss)
	}
	return int64(u.Maxrss) << 10
}

// Resident is not known on this system: the peak stands for it.
func Resident() int64 { return Peak() }

// OfProcess is not known on this system.
func OfProcess(int) (resident, peak int64) { return 0, 0 }

// ResetPeak is not possible on this system.
func ResetPeak() bool { return false }

// Total is not known on this system.
func Total() int64 { return 0 }

// Available is not known on this system.
func Available() (bytes int64, known bool) { return 0, false }
