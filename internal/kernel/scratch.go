package kernel

// Scratch is how many bytes the products with a matrix w[out,in], forward and backward, lay out of their operands at once, for n rows.
func Scratch(n, in, out int) int64 {
	rows := min(n, partK)
	packed := max(min(in*out, partN), in*rows)
	packedA := min(out*rows, partN)
	return 4 * int64(packed+packedA) * 5 / 4 // grow leaves a quarter of room
}

// AttentionScratch is how many bytes the backward of attention takes for so many sequences of n tokens each.
func AttentionScratch(sequences, n int, a Heads) int64 {
	parts := min(8, (24+a.K-1)/a.K) // of like work: the i-th ends at n·√(i/parts)
	return int64(sequences) * int64(n) * int64(8*a.K*a.E) * int64(4*parts+3) / 6
}
