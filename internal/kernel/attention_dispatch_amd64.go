package kernel

// attentionKernelsOf returns the kernels of a level, or none where the plain-Go definition is used.
func attentionKernelsOf(l Level) attentionKernels {
	switch l {
	case AVX2:
		return attentionKernels{
			wide:            attentionTile{16, attnScoresAVX2, attnSoftmaxAVX2, attnAccumulateAVX2},
			narrow:          attentionTile{8, attnScoresNarrowAVX2, attnSoftmaxNarrowAVX2, attnAccumulateNarrowAVX2},
			softmaxBackward: attnSoftmaxBackwardAVX2,
			laneDots:        attnLaneDotsAVX2,
			outer:           attnOuterAVX2,
			transpose:       attnTranspose,
			addScaled:       attnAddScaled,
			prefetch:        attnPrefetch,
		}
	case AVX512:
		return attentionKernels{
			wide:            attentionTile{32, attnScoresAVX512, attnSoftmaxAVX512, attnAccumulateAVX512},
			narrow:          attentionTile{16, attnScoresNarrowAVX512, attnSoftmaxNarrowAVX512, attnAccumulateNarrowAVX512},
			softmaxBackward: attnSoftmaxBackwardAVX512,
			laneDots:        attnLaneDotsAVX512,
			outer:           attnOuterAVX512,
			transpose:       attnTranspose,
			addScaled:       attnAddScaled,
			prefetch:        attnPrefetch,
		}
	}
	return attentionKernels{}
}
