package kernel

// Shape is that of the products, forward and backward, of n rows with a matrix w[out,in].
type Shape struct{ N, In, Out int }

// Operands is how the operands of products come.
type Operands int

// The ways.
const (
	FloatOperands   Operands = iota // float32 products
	RoundedOperands                 // bfloat16 products that round float32 rows
	RowOperands                     // bfloat16 products of rows that are bfloat16 already
)

// Scratch is how many bytes this CPU lays out of the operands of such products. Where it has no units for bfloat16 they are float32 products.
func (c *CPU) Scratch(o Operands, shapes ...Shape) int64 {
	if c.level == Generic {
		return 0
	}
	var most [4]int
	for _, s := range shapes {
		sizes := c.packedSizes(s)
		if o != FloatOperands && c.bf16 {
			sizes = packedSizesBF16(s, o == RoundedOperands)
		}
		for i, n := range sizes {
			most[i] = max(most[i], n)
		}
	}
	values := c.pool.Workers() * c.level.copyLen()
	for _, n := range most {
		values += n
	}
	return 4 * int64(values)
}

// packedSizes is how many values of each operand are laid out at once: packed and packedA, and two more of products that round.
func (c *CPU) packedSizes(s Shape) (sizes [4]int) {
	for _, b := range [][2]int{{s.Out, s.In}, {s.In, s.Out}} {
		sizes[0] = max(sizes[0], c.level.packedLen(parts(b[0], b[1])))
	}
	return sizes
}

// packedSizesBF16 is packedSizes of products of bfloat16, in words.
func packedSizesBF16(s Shape, round bool) (sizes [4]int) {
	sizes[1] = words(min(s.Out, packPart), s.In)
	if round {
		sizes[1] = max(sizes[1], words(s.N, max(s.In, s.Out)))
		sizes[2], sizes[3] = words(s.N, s.Out), words(s.N, s.In)
	}
	return sizes
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
	if rows == n { // one part
		values, each = 0, each+2*n*pad
	}
	if bf16 && c.bf16 {
		values += sequences * n * a.K * 2 * (even(a.E)/2 + pad) // keys and values in both forms
		each += bf16ScratchValues(pad)
	}
	return 4 * int64(values+c.pool.Workers()*each)
}
