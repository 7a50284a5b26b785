//go:build !amd64

package kernel

// attentionKernelsOf returns the kernels of a level: there are none but the plain-Go definition.
func attentionKernelsOf(Level) attentionKernels { return attentionKernels{} }
