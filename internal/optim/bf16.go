package optim

import (
	"math"

	"mor/internal/kernel"
)

// widening updates moments that are kept in bfloat16: a block of them is widened, updated in float32, and rounded stochastically. What a value is
// rounded with depends on the seed, the step and its place alone, so neither workers nor a resume show in the result.
type widening struct {
	m, v    []uint16
	key     uint64
	scratch [][2][blockLen]float32 // by worker: m and v
}

func (w *widening) update(c *kernel.AdamW, level kernel.Level, worker int, params, grads []float32, b block) {
	m16, v16 := w.m[b.lo:b.hi], w.v[b.lo:b.hi]
	m, v := w.scratch[worker][0][:len(m16)], w.scratch[worker][1][:len(m16)]
	for i := range m {
		m[i], v[i] = math.Float32frombits(uint32(m16[i])<<16), math.Float32frombits(uint32(v16[i])<<16)
	}
	c.Update(level, params[b.lo:b.hi], m, v, grads[b.lo:b.hi])
	key := w.key + uint64(b.lo)*rounds
	for i := range m {
		r := scramble(key)
		key += rounds
		m16[i], v16[i] = roundBF16(m[i], uint32(r)), roundBF16(v[i], uint32(r>>32))
	}
}

// rounds is the step of a splitmix64 sequence (Steele et al. 2014), whose i-th number needs none before it.
const rounds = 0x9E3779B97F4A7C15

func roundingKey(seed uint64, step int) uint64 {
	return scramble(scramble(seed+rounds) + uint64(step)*rounds)
}

// scramble is the finalizer of splitmix64.
func scramble(x uint64) uint64 {
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// roundBF16 rounds x to one of the two bfloat16 around it, up in magnitude with the probability of how far it is beyond the lower one; the upper half of
// random decides. The largest finite value does not become infinite.
func roundBF16(x float32, random uint32) uint16 {
	const infinite = 0x7F80
	bits := math.Float32bits(x)
	up := bits + random>>16
	if up>>16&infinite == infinite {
		return uint16(bits >> 16)
	}
	return uint16(up >> 16)
}
