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
	m, n, d := t.m, len(rows.Index), t.m.Config.HiddenSize
	w := &m.Layout.layers[l.Unique]
	lt.mid = out
	if t.keep {
		lt.mid = t.f.get(n * d)
	}
	t.attention(l, lt, rows, w)
	if t.keep {
		m.cpu.Copy(lt.mid, lt.x)
	}
	m.linear(lt.mid, operand{lt.o, false}, w.o, n, m.Config.QueryDim(), d, true)
	t.loraForward(l, "o_proj", lt.mid, lt.o, n, d, 0)
	y := out
	if t.keep {
		if l.Encoding >= 0 {
			y = t.f.get(n * d)
		}
		m.cpu.Copy(y, lt.mid)
	}
	if m.Config.MoE != nil {
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
	t.f.release(at)
}

// ffnRows is how many rows go through the first half of the FFN at once where gate and up are kept rounded: few enough to stay in the outer cache.
const ffnRows = 256

// ffn adds the SwiGLU FFN of lt.mid to out, unless that is nil.
func (t *Tape) ffn(l *Layer, lt *layerTape, w *layerSpans, out []float32, n int) {
	m, c := t.m, t.m.Config
	d, f := c.HiddenSize, c.IntermediateSize
	lt.rstd2, lt.gu = t.f.get(n), t.f.get(n*m.keptWidth(2*f))
	at := t.f.mark()
	h := t.normed(lt.rstd2, lt.mid, w.postNorm, n)
	act := operand{t.f.get(n * m.keptWidth(f)), m.rounds()}
	if m.rounds() {
		gu := t.f.get(min(n, ffnRows) * 2 * f)
		for lo := 0; lo < n; lo += ffnRows {
			rows := min(ffnRows, n-lo)
			m.linear(gu, h.from(lo, d), w.gateUp, rows, d, 2*f, false)
			m.cpu.SwiGLUBF16(act.from(lo, f).rows, lt.gu[lo*kernel.Words(2*f):], gu, rows, f)
		}
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
	t.f.release(at)
}

// keptWidth is how many words of the tape a row of d values takes that products read and nothing else.
func (m *Model) keptWidth(d int) int {
	if m.rounds() {
		return kernel.Words(d)
	}
	return d
}

// layer turns dx[m,d], the gradient of the layer's output, into that of its input, and adds the gradients of its weights.
func (g *gradient) layer(l *Layer, lt *layerTape, rows *Rows, dx []float32) {
	t, m, n, d := g.t, g.t.m, len(rows.Index), g.t.m.Config.HiddenSize
	w := &m.Layout.layers[l.Unique]
	g.begin(l)
	entry := t.f.mark()
	if l.Encoding >= 0 {
		vector := t.encoding(l)
		m.cpu.MulVecBackwardWeight(vector.of(g.w), dx, lt.y, n, d)
		m.cpu.MulVec(dx, dx, vector.of(m.W), n, d)
		if g.half != nil {
			m.cpu.RoundRows(g.half, dx, n, d)
		}
	}
	if m.Config.MoE != nil {
		g.mixture(lt, w, dx, n)
	} else {
		g.ffn(l, lt, w, dx, n)
	}
	t.f.release(entry)
	g.attention(l, lt, rows, w, dx)
	t.f.release(entry)
}

// backwardRows is how many rows go through a product and what follows it at once: few enough that the next finds them in a cache. Corrections of low rank
// see all rows.
const backwardRows = 512

func (g *gradient) rowsAtOnce(n int) int {
	if g.t.m.rounds() {
		return min(n, backwardRows)
	}
	return n
}

// ffn adds to dx[m,d], the gradient of the layer's output, what flows back through the FFN: then it is the gradient of lt.mid.
func (g *gradient) ffn(l *Layer, lt *layerTape, w *layerSpans, dx []float32, n int) {
	t, m, c := g.t, g.t.m, g.t.m.Config
	d, f := c.HiddenSize, c.IntermediateSize
	act, dgu := operand{t.f.get(n * m.keptWidth(f)), m.rounds()}, operand{lt.gu, m.rounds()} // the values of gu are not needed again
	dy, at := g.operand(dx), t.f.mark()
	if m.rounds() {
		step := g.rowsAtOnce(n)
		dact := t.f.get(step * f)
		for lo := 0; lo < n; lo += step {
			rows, gu := min(step, n-lo), dgu.from(lo, 2*f).rows
			m.linearBackwardInput(dact, dy.from(lo, d), w.down, rows, f, d)
			m.cpu.SwiGLUBackwardBF16(act.from(lo, f).rows, gu, dact, gu, rows, f)
		}
	} else {
		dact := act.rows // nor are these
		m.linearBackwardInput(dact, dy, w.down, n, f, d)
		g.loraOfDown(l, lt, dact, dx, n)
		m.cpu.SwiGLUBackward(dgu.rows, act.rows, dact, lt.gu, n, f)
	}
	t.f.release(at)
	m.linearBackwardWeight(g.w, dy, act, w.down, n, f, d)
	g.normed(l, normedProduct{lt.mid, lt.rstd2, w.postNorm, w.gateUp, 2 * f, [3]corrected{{"gate_proj", 0}, {"up_proj", f}}}, dx, dgu, n)
}

// attention adds to dx[m,d], the gradient of lt.mid, what flows back through attention: then it is the gradient of lt.x.
func (g *gradient) attention(l *Layer, lt *layerTape, rows *Rows, w *layerSpans, dx []float32) {
	t, m, c, n := g.t, g.t.m, g.t.m.Config, len(rows.Index)
	d, q, width := c.HiddenSize, c.QueryDim(), g.t.m.qkvDim(l)
	do, dqkv, at := t.f.get(n*q), t.f.get(n*width), t.f.mark()
	dy := g.operand(dx)
	m.linearBackwardInput(do, dy, w.o, n, q, d)
	m.linearBackwardWeight(g.w, dy, t.operand(lt.o, n, q), w.o, n, q, d)
	t.f.release(at)
	g.lora(l, "o_proj", do, dx, lt.o, n, d, 0)
	rotated := g.keys(l, lt, rows, do, dqkv, width)
	dp := operand{dqkv, false}
	if m.rounds() {
		dp = operand{t.f.get(n * kernel.Words(width)), true}
		m.cpu.RoPEBF16(dp.rows, dqkv, m.rope.table(rows.Pos), rows.Pos, rotated, c.HeadDim, width, true)
	} else {
		m.cpu.RoPE(dqkv, m.rope.table(rows.Pos), rows.Pos, rotated, c.HeadDim, width, true)
	}
	corrections := [3]corrected{{"q_proj", 0}}
	if l.KV != KVRead {
		corrections[1], corrections[2] = corrected{"k_proj", q}, corrected{"v_proj", q + c.KVDim()}
	}
	g.normed(l, normedProduct{lt.x, lt.rstd1, w.inputNorm, span{w.qkv.off, width * d}, width, corrections}, dx, dp, n)
}

// normedProduct is the product of the norm of x with a matrix w[width,d].
type normedProduct struct {
	x, rstd   []float32
	norm, w   span
	width     int
	corrected [3]corrected
}

// corrected is a projection that may have a correction of low rank, and its first column; without a name it is none.
type corrected struct {
	target string
	col    int
}

// normed takes dy[n,width], the gradient of a product's output, back to what was normed: it adds to dx[n,d].
func (g *gradient) normed(l *Layer, p normedProduct, dx []float32, dy operand, n int) {
	t, m, d := g.t, g.t.m, g.t.m.Config.HiddenSize
	h, step := operand{t.f.get(n * m.keptWidth(d)), m.rounds()}, g.rowsAtOnce(n)
	dh := t.f.get(step * d)
	for lo := 0; lo < n; lo += step {
		rows := min(step, n-lo)
		dx, x, rstd := dx[lo*d:], p.x[lo*d:], p.rstd[lo:]
		m.linearBackwardInput(dh, dy.from(lo, p.width), p.w, rows, d, p.width)
		g.loraOfNormed(l, &p, dh, dy.rows, n)
		if m.rounds() {
			m.cpu.RMSNormBackwardBF16(dx, operand{g.half, true}.from(lo, d).rows, p.norm.of(g.w), h.from(lo, d).rows, dh, x, p.norm.of(m.W), rstd, rows, d)
		} else {
			m.cpu.RMSNormBackward(dx, p.norm.of(g.w), h.rows, dh, x, p.norm.of(m.W), rstd, rows, d)
		}
	}
	m.linearBackwardWeight(g.w, dy, h, p.w, n, d, p.width)
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
