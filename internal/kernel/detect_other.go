//go:build !amd64

package kernel

// Has tells whether this machine can run a level.
func Has(l Level) bool { return l == Generic }
