//go:build !unix

package memory

// Peak is not known on this system.
func Peak() int64 { return 0 }

// Resident is not known on this system.
func Resident() int64 { return 0 }

// OfProcess is not known on this system.
func OfProcess(int) (resident, peak int64) { return 0, 0 }

// ResetPeak is not possible on this system.
func ResetPeak() bool { return false }

// Total is not known on this system.
func Total() int64 { return 0 }

// Available is not known on this system.
func Available() (bytes int64, known bool) { return 0, false }
