// Package kernel computes the products, attention and pointwise functions of a Transformer layer, forward and backward, on float32 rows.
//
// Dimensions, everywhere: n rows, d hidden, h heads, k kv heads, e head dimension, f ffn, v vocabulary. Matrices are
// row-major. Arguments go outputs, inputs, sizes; a gradient is its tensor's name with d before it.
//
// Every output element is reduced in one fixed order, whatever the tile, the number of rows or the number of workers.
package kernel

import (
	"fmt"
	"os"

	"mor/internal/parallel"
)

// Level is an instruction set that the kernels are written for.
type Level int

// The levels, slowest first.
const (
	Generic Level = iota
	AVX2
	AVX512
	AVX512BF16 // AVX512 with units for products of bfloat16
)

var levelNames = []string{"generic", "avx2", "avx512", "avx512bf16"}

func (l Level) String() string { return levelNames[l] }

// CPU computes with one level on one pool of workers. It is not safe for concurrent use.
type CPU struct {
	pool     *parallel.Pool
	level    Level // of the kernels of float32: at most AVX512
	vnni     bool  // products of bytes by VPDPBUSD
	bf16     bool  // products of pairs of bfloat16 by VDPBF16PS: the level is AVX512BF16
	task     tasks
	profile  profile
	chain    chain
	together together
}

// New returns a CPU of the given level with so many workers; fewer than 1 means one for each CPU.
func New(level Level, workers int) (*CPU, error) {
	if !Has(level) {
		return nil, fmt.Errorf("kernel: this CPU lacks %s: set MOR_CPU to one of %v", level, Levels())
	}
	return &CPU{pool: parallel.New(workers), level: level.vector(), vnni: hasVNNI(level.vector()), bf16: level == AVX512BF16}, nil
}

// Open returns a CPU of the best level that this machine has, or of the level that MOR_CPU names.
func Open(workers int) (*CPU, error) {
	name := os.Getenv("MOR_CPU")
	if name == "" {
		levels := Levels()
		return New(levels[len(levels)-1], workers)
	}
	for i, n := range levelNames {
		if n == name {
			return New(Level(i), workers)
		}
	}
	return nil, fmt.Errorf("kernel: MOR_CPU=%q: expected one of %v", name, levelNames)
}

// Levels lists what this machine can run, slowest first.
func Levels() []Level {
	var out []Level
	for l := range levelNames {
		if Has(Level(l)) {
			out = append(out, Level(l))
		}
	}
	return out
}

// Level is the instruction set in use.
func (c *CPU) Level() Level {
	if c.bf16 {
		return AVX512BF16
	}
	return c.level
}

// vector is the level of the kernels of float32.
func (l Level) vector() Level { return min(l, AVX512) }

// Pool is the workers in use, for sweeps that are not kernels.
func (c *CPU) Pool() *parallel.Pool { return c.pool }

// Close ends the workers.
func (c *CPU) Close() { c.pool.Close() }

// tasks holds one reusable task of each kind, so that a call does not allocate.
type tasks struct {
	packed      []float32 // panels of the product at hand
	packedA     []float32
	rowsA       []float32 // rounded operands of a gradient of weights
	rowsB       []float32
	roundPanel  roundPanelTask
	swigluBF16  slots[swigluBF16Task]
	dswigluBF16 slots[dswigluBF16Task]
	zero        []float32
	roundPair   roundPairsTask
	roundRows   slots[roundPairsTask]
	attnRound   attentionRoundTask
	bf16        slots[bf16Task]
	edge        []edgeTile  // by worker
	copied      [][]float32 // by worker
	pack        packTask
	multiply    multiplyTask
	outer       slots[outerTask]
	linear      slots[linearTask]
	dinput      slots[dinputTask]
	rowsProduct slots[rowsProduct]
	dweight     dweightTask
	norm        slots[normTask]
	dnorm       slots[dnormTask]
	rope        slots[ropeTask]
	swiglu      slots[swigluTask]
	dswiglu     slots[dswigluTask]
	crossent    crossEntropyTask
	span        spanTask
	row         slots[rowTask]
	column      columnTask
	gather      gatherTask
	panel       panelTask
	float       floatTask
	sweep       sweep
	attention   attentionTask
	paged       pagedTask

	activations activations
	dattn       dattentionTask
	dattnSum    dattentionSumTask
	attn        attentionBuffers
}

// release makes the tasks of a chain free again.
func (t *tasks) release() {
	t.swigluBF16.release()
	t.dswigluBF16.release()
	t.roundRows.release()
	t.bf16.release()
	t.linear.release()
	t.dinput.release()
	t.rowsProduct.release()
	t.norm.release()
	t.dnorm.release()
	t.rope.release()
	t.swiglu.release()
	t.dswiglu.release()
	t.row.release()
}
