package kernel

// Shape is that of the products, forward and backward, of n rows with a matrix w[out,in].
type Shape struct{ N, In, Out int }

// Scratch is how many bytes this CPU lays out of the operands of such products, whose rows are bfloat16 where the CPU has units for it.
func (c *CPU) Scratch(bf16 bool, shapes ...Shape) int64 {
	if c.level == Generic {
		return 0
	}
	packed, packedA := 0, 0
	for _, s := range shapes {
		b, a := c.packedSizes(s)
		if bf16 && c.bf16 {
			b, a = packedSizesBF16(s)
		}
		packed, packedA = max(packed, b), max(packedA, a)
	}
	return 4 * int64(packed+packedA+c.pool.Workers()*c.level.tall()*(blockK+align))
}

// packedSizes is how many values of both operands are packed at once.
func (c *CPU) packedSizes(s Shape) (packed, packedA int) {
	cols, depth := parts(s.Out, s.In)
	packed = c.level.packedLen(cols, depth)
	cols, depth = parts(s.In, s.Out)
	packed = max(packed, c.level.packedLen(cols, depth))
	k, tall := min(s.N, partK), c.level.tall()
	packed = max(packed, c.level.packedLen(s.In, k))
	return packed, min(s.Out+tall-1, max(partN/max(k, 1), tall)) / tall * tall * k
}

// packedSizesBF16 is packedSizes of products of bfloat16, in words.
func packedSizesBF16(s Shape) (packed, packedA int) {
	pairs, tile := even(min(s.N, partK))/2, AVX512BF16.tallest()
	return AVX512BF16.packedLen(s.In, pairs), max(words(s.N, max(s.In, s.Out)), (s.Out+tile-1)/tile*tile*pairs)
}

// AttentionScratch is how many bytes attention and its backward take for so many causal sequences of n tokens each, in bfloat16 where that is asked for and
// the CPU has units for it.
func (c *CPU) AttentionScratch(bf16 bool, sequences, n int, a Heads) int64 {
	if c.level == Generic {
		return 0
	}
	pad := (a.E + embedAlign - 1) / embedAlign * embedAlign
	part, rows, work := max(n*(n+1)/2/chunkParts(a), chunkWorth/(a.H/a.K)), 0, 0
	for i := 1; i <= n; i++ {
		if work += i; work >= part || i == n {
			rows, work = rows+i, 0
		}
	}
	values, each := sequences*rows*2*a.K*pad, scratchValues(pad)
	if bf16 && c.bf16 {
		values += sequences * n * a.K * 2 * (even(a.E)/2 + pad) // keys and values in both forms
		each += bf16ScratchValues(pad)
	}
	return 4 * int64(values+c.pool.Workers()*each)
}
