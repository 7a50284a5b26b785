package model

// Score computes logprob[i] = log p(targets[i]) of what follows the row rows[i] of the last forward pass, and with greedy (which may be nil)
// whether greedy decoding gives that target: no token is likelier, and none before it as likely. A row may be asked for more than once.
func (m *Model) Score(logprob []float32, greedy []bool, t *Tape, rows, targets []int32) {
	d, v := m.Config.HiddenSize, m.Config.VocabSize
	step := max(16, chunkValues/v)
	if chunks := (len(rows) + step - 1) / step; chunks > 0 {
		step = (len(rows) + chunks - 1) / chunks // chunks alike: each reads the whole head
	}
	at := t.f.mark()
	hidden, logits := t.f.get(min(step, len(rows))*d), t.f.get(min(step, len(rows))*v)
	for lo := 0; lo < len(rows); lo += step {
		hi := min(lo+step, len(rows))
		n := hi - lo
		m.cpu.GatherRows(hidden[:n*d], t.norm, rows[lo:hi], d)
		m.linear(logits[:n*v], operand{hidden[:n*d], false}, m.Layout.head, n, d, v, false)
		m.cpu.CrossEntropy(logprob[lo:hi], logits[:n*v], targets[lo:hi], v, 0)
		for i := range n {
			logprob[lo+i] = -logprob[lo+i]
			if greedy != nil {
				greedy[lo+i] = likeliest(logits[i*v:(i+1)*v], targets[lo+i])
			}
		}
	}
	t.f.release(at)
}

// likeliest tells whether target is the first of the largest logits.
func likeliest(logits []float32, target int32) bool {
	top := logits[target]
	for _, v := range logits[:target] {
		if v >= top {
			return false
		}
	}
	for _, v := range logits[target+1:] {
		if v > top {
			return false
		}
	}
	return true
}
