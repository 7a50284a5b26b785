//go:build !amd64

package kernel

// attentionKernelsOf returns the kernels of a level: there are none but the plain-Go definition.
func attentionKernelsOf(Level) attentionKernels { return attentionKernels{} }

func attnSoftmaxBF16(p, s, m, l, shrink *float32, limit *int32, base, keys, full int) {}

func attnSoftmaxBackwardBF16(p, dsRows, dsPairs *float32, stride int, s, dp, lse, delta *float32, limit *int32, base, keys, full int) {
}

func attnScaleLanes(c, scale *float32, rows int) {}

func bf16Pairs32(dst *float32, step int, low, high *float32, blocks int) {}
