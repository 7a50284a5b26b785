package model_test

import (
	"math"
	"slices"
	"testing"

	"mor/internal/golden"
	"mor/internal/kernel"
	"mor/internal/model"
)

func newModel(t testing.TB, c *model.Config, level kernel.Level, workers int) *model.Model {
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	cpu, err := kernel.New(level, workers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cpu.Close)
	m := model.New(c, cpu)
	m.Init(7)
	for i := range m.Layout.Tensors { // LoRA starts without effect, norms at 1: move everything off its start
		w := m.Layout.Tensors[i].Of(m.W)
		for j := range w {
			w[j] += 0.05 * float32(math.Sin(float64(13*i+7*j+1)))
		}
	}
	return m
}

func withTargets(b *model.Batch) *model.Batch {
	b.Targets = make([]int32, b.Rows())
	for i := range b.Targets {
		b.Targets[i] = -1
		if i+1 < b.Rows() && b.Positions[i+1] > 0 {
			b.Targets[i] = b.Tokens[i+1]
		}
	}
	return b
}

func targets(b *model.Batch) int {
	n := 0
	for _, t := range b.Targets {
		if t >= 0 {
			n++
		}
	}
	return n
}

var training = model.Mode{Routing: model.TopK, Training: true, Step: 3}

// gradients runs a batch forward and backward.
func gradients(t testing.TB, m *model.Model, b *model.Batch, mode model.Mode) ([]float32, model.Losses) {
	tape := m.NewTape()
	if err := m.Forward(tape, b, mode, true); err != nil {
		t.Fatal(err)
	}
	grads := make([]float32, m.Layout.Size)
	var l model.Losses
	m.Backward(tape, grads, model.Norm{Targets: targets(b), Share: 1}, &l)
	return grads, l
}

// eachKind runs a test for every kind at every level.
func eachKind(t *testing.T, run func(t *testing.T, c *model.Config, level kernel.Level)) {
	for _, k := range golden.Kinds() {
		for _, level := range kernel.Levels() {
			t.Run(k.Name+"/"+level.String(), func(t *testing.T) { run(t, k.Config, level) })
		}
	}
}

// TestWorkersDoNotMatter: losses and gradients are the same bits with 1, 2, 3 and 128 workers, more than rows and cores.
func TestWorkersDoNotMatter(t *testing.T) {
	eachKind(t, func(t *testing.T, c *model.Config, level kernel.Level) {
		b := withTargets(model.NewBatch(golden.Sequences(c, 19, 33, 8)...))
		want, wantLoss := gradients(t, newModel(t, c, level, 1), b, training)
		counts := []int{2, 3}
		if c.Expert() && level == kernel.Levels()[len(kernel.Levels())-1] {
			counts = append(counts, 128)
		}
		for _, workers := range counts {
			got, loss := gradients(t, newModel(t, c, level, workers), b, training)
			if !slices.Equal(got, want) || loss.Total != wantLoss.Total {
				t.Errorf("%d workers: loss %v and %v with one; gradients differ by up to %.1e", workers, loss.Total, wantLoss.Total, maxDiff(got, want))
			}
		}
	})
}

// TestBatchDoesNotMatter: a sequence has the same logits, bit for bit, alone and among others, in either routing.
func TestBatchDoesNotMatter(t *testing.T) {
	eachKind(t, func(t *testing.T, c *model.Config, level kernel.Level) {
		m := newModel(t, c, level, 2)
		sequences := golden.Sequences(c, 5, 1, 33, 17, 2, 40, 9, 9, 9, 21, 3, 16, 32, 31, 1, 7, 12)
		tape := m.NewTape()
		for _, mode := range []model.Mode{{Routing: model.Causal}, {Routing: model.TopK}} {
			all := model.NewBatch(sequences...)
			if err := m.Forward(tape, all, mode, false); err != nil {
				t.Fatal(err)
			}
			want := make([]float32, all.Rows()*c.VocabSize)
			m.Logits(want, tape, 0, all.Rows())
			for i, s := range sequences {
				if err := m.Forward(tape, model.NewBatch(s), mode, false); err != nil {
					t.Fatal(err)
				}
				got := make([]float32, len(s)*c.VocabSize)
				m.Logits(got, tape, 0, len(s))
				if from := want[int(all.Starts[i])*c.VocabSize:]; !slices.Equal(got, from[:len(got)]) {
					t.Errorf("%v: sequence %d of %d tokens differs by %.1e among others", mode.Routing, i, len(s), maxDiff(got, from))
				}
			}
		}
	})
}

// TestAccumulation: the gradients of 1x8 sequences are those of 8x1. They are the same bits where every weight is used once a pass.
func TestAccumulation(t *testing.T) {
	eachKind(t, func(t *testing.T, c *model.Config, level kernel.Level) {
		m := newModel(t, c, level, 2)
		sequences := golden.Sequences(c, 16, 16, 16, 16, 16, 16, 16, 16)
		all := withTargets(model.NewBatch(sequences...))
		want, wantLoss := gradients(t, m, all, training)
		got, tape, total := make([]float32, m.Layout.Size), m.NewTape(), 0.0
		var l model.Losses
		for _, s := range sequences {
			b := withTargets(model.NewBatch(s))
			if err := m.Forward(tape, b, training, true); err != nil {
				t.Fatal(err)
			}
			m.Backward(tape, got, model.Norm{Targets: targets(all), Share: 1.0 / 8}, &l)
			total += l.Total
		}
		if c.Recursion == nil && c.MoE == nil && !c.TieWordEmbeddings {
			if !slices.Equal(got, want) {
				t.Errorf("gradients differ by %.1e", maxDiff(got, want))
			}
			return
		}
		// Balancing losses are products of batch means: those of micro-batches do not add up to that of the step.
		if c.MoE != nil || c.Token() && c.Router.Balancing == "loss" {
			return
		}
		if math.Abs(total-wantLoss.Total) > 1e-5 {
			t.Errorf("loss %v, want %v", total, wantLoss.Total)
		}
		if d := maxDiff(got, want); d > 1e-5 {
			t.Errorf("gradients differ by %.1e", d)
		}
	})
}

// TestFiniteDifferences: moving the weights of a tensor along its gradient changes the loss as the gradient says.
func TestFiniteDifferences(t *testing.T) {
	eachKind(t, func(t *testing.T, c *model.Config, level kernel.Level) {
		m := newModel(t, c, level, 2)
		b := withTargets(model.NewBatch(golden.Sequences(c, 19, 12)...))
		b.Docs = []int32{0, 7, 19}
		grads, _ := gradients(t, m, b, training)
		tape := m.NewTape()
		loss := func(aux bool) float64 {
			if err := m.Forward(tape, b, training, false); err != nil {
				t.Fatal(err)
			}
			var l model.Losses
			m.Loss(tape, model.Norm{Targets: targets(b), Share: 1}, &l)
			if c.Router != nil && c.Router.Balancing == "aux_router" && !aux {
				return l.Total - c.Router.BalancingCoef*l.Aux // the auxiliary routers' input is detached: the others do not see their loss
			}
			return l.Total
		}
		for _, tensor := range m.Layout.Tensors {
			g, w := tensor.Of(grads), tensor.Of(m.W)
			norm := 0.0
			for _, v := range g {
				norm += float64(v) * float64(v)
			}
			if norm = math.Sqrt(norm); tensor.Frozen || norm < 1e-4 {
				continue
			}
			saved := slices.Clone(w)
			// Three steps: a rounding error shrinks with a longer one, curvature and flipped decisions with a shorter one.
			best := math.Inf(1)
			for _, h := range []float64{1.6e-2, 1e-3, 1e-4} {
				move := func(by float64) float64 {
					for i := range w {
						w[i] = saved[i] + float32(by*float64(g[i])/norm)
					}
					return loss(tensor.Aux)
				}
				slope := (move(h) - move(-h)) / (2 * h)
				best = min(best, math.Abs(slope-norm)/norm)
			}
			copy(w, saved)
			if best > 0.02 {
				t.Errorf("%s: the loss changes by %.1f %% more or less than its gradient %.2e says", tensor.Name, 100*best, norm)
			}
		}
	})
}

// TestThresholdsFollowTopK: with threshold_rate, causal routing picks as many candidates as top-k does.
func TestThresholdsFollowTopK(t *testing.T) {
	for _, k := range golden.Kinds() {
		if k.Name != "expert_threshold_rate" {
			continue
		}
		m := newModel(t, k.Config, kernel.Generic, 1)
		b := withTargets(model.NewBatch(golden.Sequences(k.Config, 30, 30, 30)...))
		_, l := gradients(t, m, b, training)
		m.UpdateThresholds(l.Cuts, 1)
		depth := map[model.Routing][]int32{}
		for _, routing := range []model.Routing{model.TopK, model.Causal} {
			tape := m.NewTape()
			if err := m.Forward(tape, b, model.Mode{Routing: routing}, false); err != nil {
				t.Fatal(err)
			}
			count := make([]int32, 4)
			for _, d := range tape.Depth {
				count[d]++
			}
			depth[routing] = count
		}
		// The thresholds are of all sequences together, so a sequence may get more than its share, the batch may not; behind the first
		// recursion the streams differ a little.
		for d, n := range depth[model.TopK] {
			if diff := n - depth[model.Causal][d]; diff < -4 || diff > 4 {
				t.Errorf("tokens by depth: %v causal, %v topk", depth[model.Causal], depth[model.TopK])
				break
			}
		}
	}
}

// TestSteadyStepDoesNotAllocate: once a tape has seen a batch, a training step on it needs no new memory.
func TestSteadyStepDoesNotAllocate(t *testing.T) {
	for _, k := range golden.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			m := newModel(t, k.Config, kernel.Levels()[len(kernel.Levels())-1], 2)
			b := withTargets(model.NewBatch(golden.Sequences(k.Config, 19, 33)...))
			tape, grads := m.NewTape(), make([]float32, m.Layout.Size)
			norm := model.Norm{Targets: targets(b), Share: 1}
			var l model.Losses
			step := func() {
				if err := m.Forward(tape, b, training, true); err != nil {
					t.Fatal(err)
				}
				m.Backward(tape, grads, norm, &l)
			}
			step()
			if a := testing.AllocsPerRun(5, step); a > 0 {
				t.Errorf("%v allocations", a)
			}
		})
	}
}
