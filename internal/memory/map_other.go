//go:build !unix

package memory

import "os"

// Map returns the content of a file.
func Map(path string) ([]byte, error) { return os.ReadFile(path) }
