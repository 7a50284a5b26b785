package model

import (
	"fmt"
	"math"

	"mor/internal/kernel"
	"mor/internal/memory"
)

// Model is a plan with its weights, bound to the CPU that computes it. It is not safe for concurrent use: it has one CPU.
type Model struct {
	Config *Config
	Plan   *Plan
	Layout *Layout
	W      []float32 // the weights, one slab

	cpu  *kernel.CPU
	rope rope

	dtype   Dtype // of the products
	layouts layouts

	// Of a model for inference:
	matrices map[int]*kernel.Matrix    // by the offset of their tensor
	products map[span][]*kernel.Matrix // by Seal: those that stand side by side
	embed    *kernel.Matrix
}

// New returns a model whose weights are zero. c must be valid (Validate).
func New(c *Config, cpu *kernel.CPU) *Model {
	p := NewPlan(c)
	l := NewLayout(c, p)
	return &Model{Config: c, Plan: p, Layout: l, W: memory.Make[float32](l.Size), cpu: cpu, rope: newRope(c), layouts: newLayouts(c, p, l)}
}

// CPU is what the model computes with.
func (m *Model) CPU() *kernel.CPU { return m.cpu }

// Routing says how expert-choice picks tokens.
type Routing int

// The two routings of expert-choice (METHOD.md §3). Other kinds route alike under both.
const (
	Causal Routing = iota // a token continues where its own score passes the threshold
	TopK                  // the best k of a sequence continue: looks into the future
)

func (r Routing) String() string { return [...]string{"causal", "topk"}[r] }

// Mode is how a forward pass routes.
type Mode struct {
	Routing      Routing
	Training     bool    // warm-ups of capacity and balance are in force
	Step         int     // training step, counted from 1
	MaxRecursion int     // at most so many recursions; 0 means all
	Threshold    float64 // of the score's sigmoid, for causal expert-choice; 0 means 0.5
}

// Check refuses what the model has no meaning for.
func (d Mode) Check(c *Config) error {
	if d.MaxRecursion < 0 || d.MaxRecursion > c.Recursions() {
		return fmt.Errorf("max_recursion: %d: expected 1 to %d, or 0 for all", d.MaxRecursion, c.Recursions())
	}
	if d.MaxRecursion != 0 && d.MaxRecursion != c.Recursions() && !c.Recursion.Sharing.Cyclic() {
		return fmt.Errorf("max_recursion: %d: %s sharing has no recursion to leave out; use 0", d.MaxRecursion, c.Recursion.Sharing)
	}
	if !(d.Threshold >= 0 && d.Threshold < 1) {
		return fmt.Errorf("router_threshold: %v: expected a probability between 0 and 1", d.Threshold)
	}
	if d.Threshold != 0 && (!c.Expert() || d.Routing == TopK) {
		return fmt.Errorf("router_threshold: %v: only causal expert-choice routing has a threshold; leave it out", d.Threshold)
	}
	return nil
}

// recursions is how many recursions may run.
func (d Mode) recursions(c *Config) int {
	if d.MaxRecursion == 0 {
		return c.Recursions()
	}
	return d.MaxRecursion
}

// cut is the logit that a score must exceed.
func (d Mode) cut() float32 {
	if d.Threshold == 0 || d.Threshold == 0.5 {
		return 0
	}
	return float32(math.Log(d.Threshold / (1 - d.Threshold)))
}

// Tape holds what a forward pass computed and backward needs. It grows to the largest batch and is then reused without allocation.
type Tape struct {
	Recompute Recompute // what a pass that backward may follow leaves out

	m     *Model
	f     arena[float32]
	i     arena[int32]
	keep  bool // layers record what they computed
	batch *Batch
	mode  Mode

	all   Rows
	first []int32  // [n] first row that each row may attend to
	keys  keyStore // plain, or for the length of a ForwardTree tree
	plain *batchKeys
	tree  *treeKeys
	segs  []segmentTape
	out   []float32 // [n,d] the stream behind the last layer
	rstd  []float32 // [n] of the final norm
	norm  []float32 // [n,d] the final norm: what the head reads

	Depth []int32 // [n] recursions that each token took; 1 for a vanilla model

	token   tokenTape
	moe     []moeTotals // by expert
	moeRows int         // rows of all layers together, which the load-balancing loss is a mean over
	back    gradient
	zeros   []float32 // what ClearGradients cleared and no backward has added to
	loans   []loan    // what the last backward moved to the gradients, from the end of the slab on

	replaying bool // backward computes again what forward did not keep
}

// NewTape returns an empty tape.
func (m *Model) NewTape() *Tape {
	t := &Tape{m: m, segs: make([]segmentTape, len(m.Plan.Segments))}
	for i, s := range m.Plan.Segments {
		t.segs[i].layers = make([]layerTape, len(s.Layers))
	}
	if m.Config.MoE != nil {
		t.moe = make([]moeTotals, m.Config.MoE.NumExperts)
	}
	t.plain = &batchKeys{t: t, slots: make([]KeyView, m.Plan.Slots)}
	t.keys = t.plain
	return t
}

// Bytes is how much memory the activations and gradients on the tape have taken, those of whole numbers apart.
func (t *Tape) Bytes() int64 {
	n := t.f.touched()
	if t.back.sharedArena != nil {
		n += t.back.sharedArena.touched()
	}
	return 4 * int64(n)
}

// segmentTape is what a segment did.
type segmentTape struct {
	run    Rows // the rows that went through the layers
	layers []layerTape
	x      []float32 // [m,d] what went in, where the segment is gated
	y      []float32 // [m,d] what came out
	expert expertTape
}

// cleared returns n zeros of the tape.
func (t *Tape) cleared(n int) []float32 {
	s := t.f.get(n)
	t.m.cpu.Clear(s)
	return s
}

// rows returns a set that has room for n rows of the batch's sequences.
func (t *Tape) rows(n int) Rows {
	var r Rows
	r.Index, r.Pos, r.Span.Lo, r.Span.Hi = t.i.get(n), t.i.get(n), t.i.get(n), t.i.get(n)
	r.Starts = t.i.get(len(t.batch.Starts))
	return r
}
