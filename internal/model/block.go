package model

import "mor/internal/kernel"

// layerTape is what one effective layer computed for its m rows.
type layerTape struct {
	x, mid       []float32 // [m,d] the stream at the layer's entry and before the FFN
	rstd1, rstd2 []float32 // [m] of the two norms
	qkv          []float32 // [m,(h+2k)e] after RoPE; [m,h·e] where keys are read from the first recursion
	view         KeyView
	o            []float32 // [m,h·e] attention output
	lse          []float32 // [m,h]
	gu           []float32 // [m,2f] gate and up, rounded to bfloat16 where products are
	y            []float32 // [m,d] the output before the recursion encoding, where there is one
	moe          moeTape
	from, to     mark // where all this lies on the tape, but for x
}

func (m *Model) heads() kernel.Heads {
	c := m.Config
	return kernel.Heads{H: c.NumAttentionHeads, K: c.NumKeyValueHeads, E: c.HeadDim}
}

// qkvDim is the width of what a layer projects for attention.
func (m *Model) qkvDim(l *Layer) int { return m.Config.qkvDim(l) }

func (c *Config) qkvDim(l *Layer) int {
	if l.KV == KVRead {
		return c.QueryDim()
	}
	return c.QueryDim() + 2*c.KVDim()
}

// layer runs one effective layer on the rows x[m,d] and returns the new rows. When the tape keeps, x stays as it is and the
// result is new; otherwise the result is in x.
func (t *Tape) layer(l *Layer, lt *layerTape, rows *Rows, x []float32) []float32 {
	n, c := len(rows.Index), t.m.Config
	*lt = layerTape{x: x, moe: moeTape{expert: lt.moe.expert}}
	if t.keep {
		lt.from = t.f.mark()
		out := t.f.get(n * c.HiddenSize)
		t.compute(l, lt, rows, out)
		lt.to = t.f.mark()
		return out
	}
	if c.KVSharing() && l.Recursion == 0 { // later recursions read the keys of the first
		lt.qkv = t.f.get(n * t.m.qkvDim(l))
	}
	entry, entryInts := t.f.mark(), t.i.mark()
	t.compute(l, lt, rows, x)
	t.f.release(entry)
	t.i.release(entryInts)
	return x
}

// compute fills lt from lt.x and writes the layer's output to out, which is lt.x itself where the tape does not keep. out is nil where only the
// tape is wanted.
func (t *Tape) compute(l *Layer, lt *layerTape, rows *Rows, out []float32) {
	m, c, n := t.m, t.m.Config, len(rows.Index)
	d, w, y := c.HiddenSize, &m.Layout.layers[l.Unique], out
	lt.mid = out
	if t.keep {
		lt.mid = t.f.get(n * d)
		if l.Encoding >= 0 {
			y = t.f.get(n * d)
		}
	}
	t.attention(l, lt, rows, w)
	if c.MoE == nil {
		t.takeFFN(lt, n)
		m.beginChain(n)
	}
	at := t.f.mark()
	if t.keep {
		m.cpu.CopyRows(lt.mid, lt.x, n, d)
	}
	m.linear(lt.mid, t.operand(lt.o, n, c.QueryDim()), w.o, n, c.QueryDim(), d, true)
	t.loraForward(l, "o_proj", lt.mid, lt.o, n, d, 0)
	if t.keep && y != nil {
		m.cpu.CopyRows(y, lt.mid, n, d)
	}
	if c.MoE != nil {
		t.mixture(lt, w, y, n)
	} else {
		t.ffn(l, lt, w, y, n)
	}
	if l.Encoding >= 0 {
		lt.y = y
		if out != nil {
			m.cpu.MulVec(out, y, t.encoding(l).of(m.W), n, d)
		}
	}
	m.endChain()
	if c.MoE == nil {
		t.f.release(at)
	}
}

// encoding is the recursion-encoding vector that follows a layer.
func (t *Tape) encoding(l *Layer) span {
	d := t.m.Config.HiddenSize
	return span{t.m.Layout.encoding.off + l.Encoding*d, d}
}

// attention computes lt.o from lt.x: norm, projections, RoPE, keys, attention.
func (t *Tape) attention(l *Layer, lt *layerTape, rows *Rows, w *layerSpans) {
	m, c, n := t.m, t.m.Config, len(rows.Index)
	q, width := c.QueryDim(), m.qkvDim(l)
	if lt.qkv == nil {
		lt.qkv = t.f.get(n * width)
	}
	lt.rstd1 = t.f.get(n)
	lt.o, lt.lse = t.f.get(n*q), t.f.get(n*c.NumAttentionHeads)
	t.project(l, lt, rows, w)
	var k, v []float32
	if l.KV != KVRead {
		k, v = lt.qkv[q:], lt.qkv[q+c.KVDim():]
	}
	lt.view = t.keys.view(l, rows, k, v, width)
	m.attention(lt.o, lt.lse, lt.qkv, width, &lt.view)
}

// project computes lt.qkv from lt.x: norm, projections, RoPE.
func (t *Tape) project(l *Layer, lt *layerTape, rows *Rows, w *layerSpans) {
	m, c, n := t.m, t.m.Config, len(rows.Index)
	d, q, kv, width := c.HiddenSize, c.QueryDim(), c.KVDim(), m.qkvDim(l)
	at := t.f.mark()
	m.beginChain(n)
	h := t.normed(lt.rstd1, lt.x, w.inputNorm, n)
	m.linear(lt.qkv, h, span{w.qkv.off, width * d}, n, d, width, false)
	t.loraForward(l, "q_proj", lt.qkv, h.rows, n, width, 0)
	rotated := c.NumAttentionHeads
	if l.KV != KVRead {
		t.loraForward(l, "k_proj", lt.qkv, h.rows, n, width, q)
		t.loraForward(l, "v_proj", lt.qkv, h.rows, n, width, q+kv)
		rotated += c.NumKeyValueHeads
	}
	m.cpu.RoPE(lt.qkv, m.rope.table(rows.Pos), rows.Pos, rotated, c.HeadDim, width, false)
	m.endChain()
	t.f.release(at)
}

// takeFFN takes from the tape what ffn keeps for n rows.
func (t *Tape) takeFFN(lt *layerTape, n int) {
	lt.rstd2, lt.gu = t.f.get(n), t.f.get(n*t.m.keptWidth(2*t.m.Config.IntermediateSize))
}

// ffn adds the SwiGLU FFN of lt.mid to out, unless that is nil. The memory that it takes is the caller's to release.
func (t *Tape) ffn(l *Layer, lt *layerTape, w *layerSpans, out []float32, n int) {
	m, c := t.m, t.m.Config
	d, f := c.HiddenSize, c.IntermediateSize
	h := t.normed(lt.rstd2, lt.mid, w.postNorm, n)
	act := operand{t.f.get(n * m.keptWidth(f)), m.rounds()}
	if m.rounds() {
		gu := t.f.get(n * 2 * f)
		m.linear(gu, h, w.gateUp, n, d, 2*f, false)
		m.cpu.SwiGLUBF16(act.rows, lt.gu, gu, n, f)
	} else {
		m.linear(lt.gu, h, w.gateUp, n, d, 2*f, false)
		t.loraForward(l, "gate_proj", lt.gu, h.rows, n, 2*f, 0)
		t.loraForward(l, "up_proj", lt.gu, h.rows, n, 2*f, f)
		if out != nil {
			m.cpu.SwiGLU(act.rows, lt.gu, n, f)
		}
	}
	if out != nil {
		m.linear(out, act, w.down, n, f, d, true)
		t.loraForward(l, "down_proj", out, act.rows, n, d, 0)
	}
}

// keptWidth is how many words of the tape a row of d values takes that products read and nothing else.
func (m *Model) keptWidth(d int) int {
	if m.rounds() {
		return kernel.Words(d)
	}
	return d
}

// streamGradient is the gradient [m,d] of the stream at one place of a layer, and the same as rows of bfloat16 where products want them so; nil elsewhere.
type streamGradient struct{ dx, half []float32 }

// operand is the gradient as products read it.
func (f streamGradient) operand() operand {
	if f.half == nil {
		return operand{f.dx, false}
	}
	return operand{f.half, true}
}

// takeStream takes memory for a gradient of n rows.
func (g *gradient) takeStream(n int) streamGradient {
	d := g.t.m.Config.HiddenSize
	f := streamGradient{dx: g.t.f.get(n * d)}
	if g.t.m.rounds() {
		f.half = g.t.f.get(n * kernel.Words(d))
	}
	return f
}

// layer turns out, the gradient of the layer's output, into that of its input, and adds the gradients of its weights.
func (g *gradient) layer(l *Layer, lt *layerTape, rows *Rows, out streamGradient) {
	t, m, c, n := g.t, g.t.m, g.t.m.Config, len(rows.Index)
	d, q, width, w := c.HiddenSize, c.QueryDim(), m.qkvDim(l), &m.Layout.layers[l.Unique]
	g.begin(l)
	entry := t.f.mark()
	if l.Encoding >= 0 {
		vector := t.encoding(l)
		m.cpu.MulVecBackwardWeight(vector.of(g.w), out.dx, lt.y, n, d)
		m.cpu.MulVec(out.dx, out.dx, vector.of(m.W), n, d)
		if out.half != nil {
			m.cpu.RoundRows(out.half, out.dx, n, d)
		}
	}
	mid := out
	if c.MoE == nil {
		mid = g.takeStream(n)
	}
	do, dqkv, at := t.f.get(n*q), t.f.get(n*width), t.f.mark()
	if c.MoE != nil {
		g.mixture(lt, w, out.dx, n)
		m.linearBackwardInput(do, mid.operand(), w.o, n, q, d)
	} else {
		g.ffn(l, lt, w, out, mid, do, n)
	}
	m.linearBackwardWeight(g.w, mid.operand(), t.operand(lt.o, n, q), w.o, n, q, d)
	g.lora(l, "o_proj", do, mid.dx, lt.o, n, d, 0)
	rotated := g.keys(l, lt, rows, do, dqkv, width)
	t.f.release(at)
	g.project(l, lt, rows, w, dqkv, rotated, mid, out)
	t.f.release(entry)
}

// ffn takes out, the gradient of the layer's output, back through the FFN: to mid, that of lt.mid, and to do, that of lt.o.
func (g *gradient) ffn(l *Layer, lt *layerTape, w *layerSpans, out, mid streamGradient, do []float32, n int) {
	t, m, c := g.t, g.t.m, g.t.m.Config
	d, f := c.HiddenSize, c.IntermediateSize
	act, dgu := operand{t.f.get(n * m.keptWidth(f)), m.rounds()}, operand{lt.gu, m.rounds()} // the values of gu are not needed again
	dy, dact := out.operand(), act.rows                                                      // nor are those of dact behind those of act
	p := normedProduct{x: lt.mid, rstd: lt.rstd2, norm: w.postNorm, w: w.gateUp, width: 2 * f, corrected: [3]corrected{{"gate_proj", 0}, {"up_proj", f}}}
	p.take(t, n)
	if m.rounds() {
		dact = t.f.get(n * f)
	}
	m.beginChain(n)
	m.linearBackwardInput(dact, dy, w.down, n, f, d)
	if m.rounds() {
		m.cpu.SwiGLUBackwardBF16(act.rows, dgu.rows, dact, dgu.rows, n, f)
	} else {
		g.loraOfDown(l, lt, dact, out.dx, n)
		m.cpu.SwiGLUBackward(dgu.rows, act.rows, dact, lt.gu, n, f)
	}
	g.normed(l, &p, out.dx, mid, dgu, n)
	m.linearBackwardInput(do, mid.operand(), w.o, n, c.QueryDim(), d)
	m.endChain()
	m.beginTogether()
	m.linearBackwardWeight(g.w, dy, act, w.down, n, f, d)
	m.linearBackwardWeight(g.w, dgu, p.h, w.gateUp, n, d, 2*f)
}

// project takes dqkv, the gradient of lt.qkv, of whose heads RoPE turned so many, and mid, that of lt.mid, back to in, the gradient of lt.x.
func (g *gradient) project(l *Layer, lt *layerTape, rows *Rows, w *layerSpans, dqkv []float32, rotated int, mid, in streamGradient) {
	t, m, c, n := g.t, g.t.m, g.t.m.Config, len(rows.Index)
	d, q, width := c.HiddenSize, c.QueryDim(), g.t.m.qkvDim(l)
	p := normedProduct{x: lt.x, rstd: lt.rstd1, norm: w.inputNorm, w: span{w.qkv.off, width * d}, width: width, corrected: [3]corrected{{"q_proj", 0}}}
	if l.KV != KVRead {
		p.corrected[1], p.corrected[2] = corrected{"k_proj", q}, corrected{"v_proj", q + c.KVDim()}
	}
	p.take(t, n)
	dp := operand{dqkv, false}
	if m.rounds() {
		dp = operand{t.f.get(n * kernel.Words(width)), true}
	}
	table := m.rope.table(rows.Pos)
	m.beginChain(n)
	if m.rounds() {
		m.cpu.RoPEBF16(dp.rows, dqkv, table, rows.Pos, rotated, c.HeadDim, width, true)
	} else {
		m.cpu.RoPE(dqkv, table, rows.Pos, rotated, c.HeadDim, width, true)
	}
	g.normed(l, &p, mid.dx, in, dp, n)
	m.endChain()
	m.linearBackwardWeight(g.w, dp, p.h, p.w, n, d, width)
}

// normedProduct is the product of the norm of x with a matrix w[width,d].
type normedProduct struct {
	x, rstd   []float32
	norm, w   span
	width     int
	corrected [3]corrected
	h         operand   // the norm, computed again
	dh        []float32 // its gradient
}

// corrected is a projection that may have a correction of low rank, and its first column; without a name it is none.
type corrected struct {
	target string
	col    int
}

// take takes the memory for the norm and its gradient of n rows.
func (p *normedProduct) take(t *Tape, n int) {
	d := t.m.Config.HiddenSize
	p.h, p.dh = operand{t.f.get(n * t.m.keptWidth(d)), t.m.rounds()}, t.f.get(n*d)
}

// normed takes dy[n,width], the gradient of a product's output, back to what was normed, and adds to it after[n,d], the gradient that goes round the product: the
// sum is before, of which dx may be after.
func (g *gradient) normed(l *Layer, p *normedProduct, after []float32, before streamGradient, dy operand, n int) {
	m, d := g.t.m, g.t.m.Config.HiddenSize
	m.linearBackwardInput(p.dh, dy, p.w, n, d, p.width)
	g.loraOfNormed(l, p, p.dh, dy.rows, n)
	if &before.dx[0] != &after[0] {
		m.cpu.CopyRows(before.dx, after, n, d)
	}
	dnorm, w := p.norm.of(g.w), p.norm.of(m.W)
	if m.rounds() {
		m.cpu.RMSNormBackwardBF16(before.dx, before.half, dnorm, p.h.rows, p.dh, p.x, w, p.rstd, n, d)
	} else {
		m.cpu.RMSNormBackward(before.dx, dnorm, p.h.rows, p.dh, p.x, w, p.rstd, n, d)
	}
}

// keys runs attention backward into dqkv [m,width], and returns how many of its heads RoPE turned. The gradients of keys that later
// recursions read gather in the slot's own buffer until the layer that made them comes.
func (g *gradient) keys(l *Layer, lt *layerTape, rows *Rows, do, dqkv []float32, width int) int {
	m, c, n := g.t.m, g.t.m.Config, len(rows.Index)
	q, kv, heads := c.QueryDim(), c.KVDim(), c.NumAttentionHeads
	if l.KV == KVOwn {
		m.cpu.SetColumns(dqkv, g.shared[l.Slot], n, q, width) // of [rows of the batch, 2kv], which are the rows at hand, where there are any
		m.attentionBackward(dqkv, dqkv[q:], dqkv[q+kv:], do, lt, width, width)
		return heads + c.NumKeyValueHeads
	}
	shared := g.sharedKeys(l.Source)
	if l.KV == KVRead {
		m.attentionBackward(dqkv, shared, shared[kv:], do, lt, width, 2*kv)
		return heads
	}
	// KVUpdate: the replaced entries belong to the rows at hand, the others to the first recursion.
	dkv := g.t.cleared(g.t.batch.Rows() * 2 * kv)
	m.attentionBackward(dqkv, dkv, dkv[kv:], do, lt, width, 2*kv)
	for i, row := range rows.Index {
		part := dkv[int(row)*2*kv : (int(row)+1)*2*kv]
		copy(dqkv[i*width+q:(i+1)*width], part)
		clear(part)
	}
	m.cpu.Add(shared, dkv)
	return heads + c.NumKeyValueHeads
}

// sharedKeys is the gradient [rows of the batch, 2kv] of the keys and values in a slot that later recursions read.
func (g *gradient) sharedKeys(slot int) []float32 {
	if g.shared[slot] == nil {
		g.shared[slot] = g.sharedArena.get(g.t.batch.Rows() * 2 * g.t.m.Config.KVDim())
		g.t.m.cpu.Clear(g.shared[slot])
	}
	return g.shared[slot]
}
