package kernel

// attentionKernelsOf returns the kernels of a level, or none where the plain-Go definition is used.
func attentionKernelsOf(l Level) attentionKernels {
	k := attentionKernels{transpose: attnTranspose, addScaled: attnAddScaled, prefetch: attnPrefetch}
	switch l {
	case AVX2:
		k.wide = attentionTile{16, attnScoresAVX2, attnSoftmaxAVX2, attnSoftmaxBackwardAVX2, attnAccumulateAVX2, attnOuterAVX2, attnLaneDotsAVX2}
		k.narrow = attentionTile{8, attnScoresNarrowAVX2, attnSoftmaxNarrowAVX2, attnSoftmaxBackwardNarrowAVX2, attnAccumulateNarrowAVX2, attnOuterNarrowAVX2, attnLaneDotsNarrowAVX2}
	case AVX512:
		k.wide = attentionTile{32, attnScoresAVX512, attnSoftmaxAVX512, attnSoftmaxBackwardAVX512, attnAccumulateAVX512, attnOuterAVX512, attnLaneDotsAVX512}
		k.narrow = attentionTile{16, attnScoresNarrowAVX512, attnSoftmaxNarrowAVX512, attnSoftmaxBackwardNarrowAVX512, attnAccumulateNarrowAVX512, attnOuterNarrowAVX512, attnLaneDotsNarrowAVX512}
	}
	return k
}
