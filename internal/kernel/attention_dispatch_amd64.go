package kernel

// attentionKernelsOf returns the kernels of a level.
func attentionKernelsOf(l Level) attentionKernels {
	k := attentionKernels{transpose: attnTranspose, addScaled: attnAddScaled, prefetch: attnPrefetch}
	eight := attentionTile{8, attnScoresNarrowAVX2, attnSoftmaxNarrowAVX2, attnSoftmaxBackwardNarrowAVX2, attnAccumulateNarrowAVX2, attnOuterNarrowAVX2, attnLaneDotsNarrowAVX2}
	switch l {
	case AVX2:
		sixteen := attentionTile{16, attnScoresAVX2, attnSoftmaxAVX2, attnSoftmaxBackwardAVX2, attnAccumulateAVX2, attnOuterAVX2, attnLaneDotsAVX2}
		k.tiles = []attentionTile{eight, sixteen}
	case AVX512:
		sixteen := attentionTile{16, attnScoresNarrowAVX512, attnSoftmaxNarrowAVX512, attnSoftmaxBackwardNarrowAVX512, attnAccumulateNarrowAVX512, attnOuterNarrowAVX512, attnLaneDotsNarrowAVX512}
		thirtyTwo := attentionTile{32, attnScoresAVX512, attnSoftmaxAVX512, attnSoftmaxBackwardAVX512, attnAccumulateAVX512, attnOuterAVX512, attnLaneDotsAVX512}
		k.tiles = []attentionTile{eight, sixteen, thirtyTwo}
	}
	return k
}
