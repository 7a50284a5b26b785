package kernel

// Heads is the shape of grouped-query attention: head j of h reads kv head j/(h/k); each has e values.
type Heads struct{ H, K, E int }

// Range bounds what each query row may attend to: the key rows [Lo[i], Hi[i]), with Hi[i] > Lo[i] and both non-decreasing in i. Ragged
// sequences, documents, recursion-wise caches and shared keys are all of this form. The keys of a row are reduced in tiles that
// are counted from Lo[i], so its result does not depend on the other rows.
type Range struct{ Lo, Hi []int32 }

// Attention computes o[n, h·e] = softmax(q·kᵀ/√e)·v over each row's range, and lse[n, h], the logsumexp of its scores, which backward
// needs. Rows of q lie qs apart, those of k and v kvs apart, those of o h·e apart.
func (c *CPU) Attention(o, lse, q, k, v []float32, qs, kvs int, a Heads, span Range) {
	defer c.Done(c.Start(), attentionWork("attention", 2, len(span.Lo)*2*(a.H+a.K)*a.E, a, span))
	if len(span.Lo) == 0 {
		return
	}
	t := &c.task.attention
	*t = attentionTask{o, lse, q, k, v, qs, kvs, a, span, c.attentionBuffers(a), nil, 1}
	if t.buf != nil {
		t.run(c)
	} else {
		c.pool.Run(len(span.Lo), 1, t)
	}
	*t = attentionTask{}
}

// AttentionBackward sets dq (rows dqs apart) and adds to dk and dv (rows dkvs apart) the gradients of Attention, from do[n, h·e] and what
// Attention read and wrote.
func (c *CPU) AttentionBackward(dq, dk, dv, do, o, lse, q, k, v []float32, dqs, dkvs, qs, kvs int, a Heads, span Range) {
	start := c.Start()
	if len(span.Lo) == 0 {
		return
	}
	work := attentionWork("attention backward", 5, len(span.Lo)*4*(a.H+a.K)*a.E, a, span)
	t := &c.task.dattn
	*t = dattentionTask{dq, dk, dv, do, o, lse, q, k, v, dqs, dkvs, qs, kvs, a, span, c.attentionBuffers(a), nil}
	if t.buf != nil {
		t.split()
		c.runItems(start, t, len(t.buf.chunks)*a.K, work)
		return
	}
	defer c.Done(start, work)
	c.pool.Run(a.K, 1, t)
	*t = dattentionTask{}
}

// attentionBuffers readies the memory of the level's kernels; it returns nil where the plain-Go definition is used.
func (c *CPU) attentionBuffers(a Heads) *attentionBuffers {
	if c.level == Generic {
		return nil
	}
	b := &c.task.attn
	b.prepare(c.level, c.pool.Workers(), a.E)
	return b
}
