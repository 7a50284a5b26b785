//go:build !amd64

package kernel

// attentionKernelsOf returns the kernels of a level, or none where the plain-Go definition is used.
func attentionKernelsOf(Level) attentionKernels { return attentionKernels{} }
