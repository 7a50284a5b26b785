package kernel

// SwiGLUBF16 is SwiGLU with y as rows of bfloat16, y[n, Words(f)], which also rounds gu to rows half[n, Words(2f)].
func (c *CPU) SwiGLUBF16(y, half, gu []float32, n, f int) {
	byRows(c, &c.task.swigluBF16, swigluBF16Task{c.bf16, halves(y), halves(half), gu, f}, n, rowGrain(f), Work{Kernel: "swiglu", Bytes: 14 * float64(n) * float64(f)})
}

// SwiGLUBackwardBF16 is SwiGLUBackward with dgu and gu as rows of bfloat16, [n, Words(2f)], which also computes y of SwiGLUBF16 again, from the rounded gu.
// dgu may be gu.
func (c *CPU) SwiGLUBackwardBF16(y, dgu, dy, gu []float32, n, f int) {
	byRows(c, &c.task.dswigluBF16, dswigluBF16Task{c.bf16, halves(y), halves(dgu), halves(gu), dy, f}, n, rowGrain(f),
		Work{Kernel: "swiglu backward", Bytes: 14 * float64(n) * float64(f)})
}

// halfRow is row i of rows of d bfloat16 values, with a zero behind an odd number.
func halfRow(x []BF16, i, d int) []BF16 {
	r := x[i*even(d):][:even(d)]
	if d%2 == 1 {
		r[d] = 0
	}
	return r[:d]
}

type swigluBF16Task struct {
	cpu     bool
	y, half []BF16
	gu      []float32
	f       int
}

func (t *swigluBF16Task) Do(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		y, half := halfRow(t.y, i, t.f), halfRow(t.half, i, 2*t.f)
		gate, up := row(t.gu, 2*i, t.f), row(t.gu, 2*i+1, t.f)
		if t.cpu {
			bf16SwiGLU((*uint16)(&y[0]), (*uint16)(&half[0]), (*uint16)(&half[t.f]), &gate[0], &up[0], t.f)
			continue
		}
		for j, g := range gate {
			y[j], half[j], half[t.f+j] = Round(g*sigmoid(g)*up[j]), Round(g), Round(up[j])
		}
	}
}

type dswigluBF16Task struct {
	cpu        bool
	y, dgu, gu []BF16
	dy         []float32
	f          int
}

func (t *dswigluBF16Task) Do(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		y, dgu, gu, dy := halfRow(t.y, i, t.f), halfRow(t.dgu, i, 2*t.f), halfRow(t.gu, i, 2*t.f), row(t.dy, i, t.f)
		if t.cpu {
			bf16SwiGLUBackward((*uint16)(&dgu[0]), (*uint16)(&dgu[t.f]), (*uint16)(&y[0]), &dy[0], (*uint16)(&gu[0]), (*uint16)(&gu[t.f]), t.f)
			continue
		}
		for j, d := range dy {
			g, u := gu[j].Float(), gu[t.f+j].Float()
			s := sigmoid(g)
			silu := g * s
			y[j], dgu[j], dgu[t.f+j] = Round(silu*u), Round(d*u*(s+silu*(1-s))), Round(d*silu)
		}
	}
}
