package kernel

import "math"

// attentionGeneric is the definition of Attention for the query rows [lo, hi).
func attentionGeneric(o, lse, q, k, v []float32, lo, hi, qs, kvs int, a Heads, span Range) {
	scale := float32(1 / math.Sqrt(float64(a.E)))
	for i := lo; i < hi; i++ {
		for j := range a.H {
			g := j / (a.H / a.K)
			query := q[i*qs+j*a.E : i*qs+(j+1)*a.E]
			out := o[(i*a.H+j)*a.E : (i*a.H+j+1)*a.E]
			clear(out)
			soft := onlineSoftmax{top: float32(math.Inf(-1))}
			for t := int(span.Lo[i]); t < int(span.Hi[i]); t++ {
				w := soft.next(scale*dot(query, k[t*kvs+g*a.E:]), out)
				for p := range out {
					out[p] += w * v[t*kvs+g*a.E+p]
				}
			}
			for p := range out {
				out[p] /= soft.sum
			}
			lse[i*a.H+j] = soft.top + float32(math.Log(float64(soft.sum)))
		}
	}
}

// dattentionGeneric is the definition of AttentionBackward for the kv head g.
func dattentionGeneric(t *dattentionTask, g int) {
	a, e, group := t.a, t.a.E, t.a.H/t.a.K
	scale := float32(1 / math.Sqrt(float64(e)))
	for i := range t.span.Lo {
		for j := g * group; j < (g+1)*group; j++ {
			query, dquery := t.q[i*t.qs+j*e:i*t.qs+(j+1)*e], t.dq[i*t.dqs+j*e:i*t.dqs+(j+1)*e]
			out, dout := t.o[(i*a.H+j)*e:(i*a.H+j+1)*e], t.do[(i*a.H+j)*e:(i*a.H+j+1)*e]
			delta := dot(out, dout)
			clear(dquery)
			for r := int(t.span.Lo[i]); r < int(t.span.Hi[i]); r++ {
				key, value := t.k[r*t.kvs+g*e:], t.v[r*t.kvs+g*e:]
				dkey, dvalue := t.dk[r*t.dkvs+g*e:], t.dv[r*t.dkvs+g*e:]
				p := float32(math.Exp(float64(scale*dot(query, key) - t.lse[i*a.H+j])))
				ds := p * (dot(dout, value) - delta) * scale
				for x := range e {
					dvalue[x] += p * dout[x]
					dkey[x] += ds * query[x]
					dquery[x] += ds * key[x]
				}
			}
		}
	}
}

// dot is the inner product of a with as many values of b.
func dot(a, b []float32) float32 {
	var s float32
	for i, x := range a {
		s += x * b[i]
	}
	return s
}
