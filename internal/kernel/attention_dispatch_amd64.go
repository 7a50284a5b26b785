package kernel

// attentionKernelsOf returns the kernels of a level.
func attentionKernelsOf(l Level) attentionKernels {
	k := attentionKernels{sums: attnSums, addScaled: attnAddScaled, prefetch: attnPrefetch, near: attnPrefetchNear}
	k.row = rowKernelsOf(l)
	narrow, wide := laneMover{attnGatherAVX2, attnScatterAVX2, 8}, laneMover{attnGatherAVX512, attnScatterAVX512, 16}
	eight := attentionTile{8, attnScoresNarrowAVX2, attnSoftmaxNarrowAVX2, attnSoftmaxBackwardNarrowAVX2, attnAccumulateNarrowAVX2, attnOuterNarrowAVX2, attnLaneDotsNarrowAVX2, narrow}
	switch l {
	case AVX2:
		sixteen := attentionTile{16, attnScoresAVX2, attnSoftmaxAVX2, attnSoftmaxBackwardAVX2, attnAccumulateAVX2, attnOuterAVX2, attnLaneDotsAVX2, narrow}
		k.tiles = []attentionTile{eight, sixteen}
	case AVX512:
		sixteen := attentionTile{16, attnScoresNarrowAVX512, attnSoftmaxNarrowAVX512, attnSoftmaxBackwardNarrowAVX512, attnAccumulateNarrowAVX512, attnOuterNarrowAVX512, attnLaneDotsNarrowAVX512, wide}
		thirtyTwo := attentionTile{32, attnScoresAVX512, attnSoftmaxAVX512, attnSoftmaxBackwardAVX512, attnAccumulateAVX512, attnOuterAVX512, attnLaneDotsAVX512, wide}
		k.tiles = []attentionTile{eight, sixteen, thirtyTwo}
	}
	return k
}

// rowKernelsOf returns the kernels of a level for few queries.
func rowKernelsOf(l Level) rowKernels {
	k := rowKernels{softmax: attnFewSoftmaxAVX2}
	k.scores = append(k.scores, attnFewScores1AVX2, attnFewScores2AVX2, attnFewScores3AVX2)
	k.accumulate = append(k.accumulate, attnFewAccumulate1AVX2, attnFewAccumulate2AVX2, attnFewAccumulate3AVX2)
	if l == AVX512 {
		k = rowKernels{softmax: attnFewSoftmaxAVX512}
		k.scores = append(k.scores, attnFewScores1AVX512, attnFewScores2AVX512, attnFewScores3AVX512, attnFewScores4AVX512)
		k.accumulate = append(k.accumulate, attnFewAccumulate1AVX512, attnFewAccumulate2AVX512, attnFewAccumulate3AVX512, attnFewAccumulate4AVX512)
	}
	return k
}
