//go:build !linux

package memory

// TrimProgram is left out on systems that do not tell which pages of a program have been touched.
func TrimProgram() {}
