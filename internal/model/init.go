package model

import (
	"hash/fnv"
	"math/rand/v2"
	"strings"
)

// Init draws the weights: N(0, initializer_range) for every matrix, 1 for norms and the recursion encoding, 0 for the second factor of LoRA, so
// that it starts without effect, and for the balance bias. Each tensor has a stream of its own, made from the seed and its name.
//
// Weights lie near who works on them: each worker is the first to write to the part of the slab that it updates, before the tensors are shared out.
func (m *Model) Init(seed uint64) {
	m.cpu.Clear(m.W)
	m.cpu.Pool().Run(len(m.Layout.Tensors), 1, &initTask{m, seed})
}

type initTask struct {
	m    *Model
	seed uint64
}

func (t *initTask) Do(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		t.m.InitTensor(&t.m.Layout.Tensors[i], t.seed)
	}
}

// InitTensor draws one tensor as Init does.
func (m *Model) InitTensor(t *Tensor, seed uint64) {
	w := t.Of(m.W)
	switch {
	case t.Frozen || strings.HasPrefix(t.Name, "model.loras.") && strings.HasSuffix(t.Name, ".B"):
		clear(w)
	case !t.Decay || t.Name == "model.recursion_encoding.weight":
		for j := range w {
			w[j] = 1
		}
	default:
		h := fnv.New64a()
		h.Write([]byte(t.Name))
		rng := rand.New(rand.NewPCG(seed, h.Sum64()))
		for j := range w {
			w[j] = float32(rng.NormFloat64() * m.Config.InitializerRange)
		}
	}
}
