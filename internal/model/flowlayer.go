package model

// layer runs f.groups, which are the same layer of the block at different recursions, on the rows x[n,d] of the seats.
func (f *Flow) layer(x []float32, seats []int32) {
	t, c, d := f.t, f.m.Config, f.m.Config.HiddenSize
	entry, ints := t.f.mark(), t.i.mark()
	n := len(seats)
	pos := t.i.get(n)
	for i, s := range seats {
		pos[i] = f.Seats[s].Pos
	}
	f.rows = Rows{Index: seats, Pos: pos}
	step := len(f.groups)
	if c.Recursion != nil && c.Recursion.LoRA != nil {
		step = 1 // each recursion has corrections of its own
	}
	for g := 0; g < len(f.groups); g += step {
		f.together(f.groups[g:g+step], x, seats)
	}
	for _, g := range f.groups {
		if g.Layer.Encoding >= 0 {
			part := x[g.Lo*d : g.Hi*d]
			f.m.cpu.MulVec(part, part, t.encoding(g.Layer).of(f.m.W), g.Hi-g.Lo, d)
		}
	}
	t.f.release(entry)
	t.i.release(ints)
}

// together runs groups that share every weight.
func (f *Flow) together(groups []Group, x []float32, seats []int32) {
	t, m, c := f.t, f.m, f.m.Config
	d, q, l := c.HiddenSize, c.QueryDim(), groups[0].Layer
	lo, hi := groups[0].Lo, groups[len(groups)-1].Hi
	n, w := hi-lo, &m.Layout.layers[l.Unique]
	at := t.f.mark()
	o := t.f.get(n * q)
	for g := 0; g < len(groups); {
		end := g + 1
		for end < len(groups) && groups[end].Layer.KV == groups[g].Layer.KV {
			end++
		}
		f.attention(groups[g:end], o[(groups[g].Lo-lo)*q:], x, seats, w)
		g = end
	}
	mid := x[lo*d : hi*d]
	m.linear(mid, operand{o, false}, w.o, n, q, d, true)
	t.loraForward(l, "o_proj", mid, o, n, d, 0)
	t.f.release(at)
	if c.MoE != nil {
		t.mixture(&layerTape{mid: mid, moe: moeTape{expert: f.experts()}}, w, mid, n)
		return
	}
	for lo := 0; lo < n; lo += flowRows {
		rows := min(flowRows, n-lo)
		part := mid[lo*d : (lo+rows)*d]
		lt := layerTape{mid: part}
		t.takeFFN(&lt, rows)
		t.ffn(l, &lt, w, part, rows)
		t.f.release(at)
	}
}

// flowRows is how many rows go through the FFN at once, whose hidden rows are the widest. Products take it in whole blocks of rows.
const flowRows = 224

// attention computes the attention output o of groups that have the same kind of keys.
func (f *Flow) attention(groups []Group, o, x []float32, seats []int32, w *layerSpans) {
	t, d, l := f.t, f.m.Config.HiddenSize, groups[0].Layer
	lo, hi, width := groups[0].Lo, groups[len(groups)-1].Hi, f.m.qkvDim(l)
	at := t.f.mark()
	lt := layerTape{x: x[lo*d : hi*d], qkv: t.f.get((hi - lo) * width), rstd1: t.f.get(hi - lo)}
	rows := Rows{Index: seats[lo:hi], Pos: f.rows.Pos[lo:hi]}
	t.project(l, &lt, &rows, w)
	f.attend(o[:(hi-lo)*f.m.Config.QueryDim()], lt.qkv, width, groups, seats)
	t.f.release(at)
}

// experts is memory for the rows of each expert.
func (f *Flow) experts() []expertRows {
	if len(f.moe) == 0 {
		f.moe = make([]expertRows, f.m.Config.MoE.NumExperts)
	}
	return f.moe
}
