package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"mor/internal/checkpoint"
	"mor/internal/corpus"
	"mor/internal/format/folder"
	"mor/internal/format/safetensors"
	"mor/internal/kernel"
	"mor/internal/memory"
	"mor/internal/model"
	"mor/internal/optim"
	"mor/internal/source"
	"mor/internal/strict"
	"mor/internal/token"
)

// The files of a checkpoint that only training reads.
const (
	optimizerFile = "optimizer.safetensors"
	trainerFile   = "trainer.json"
)

// State is what a checkpoint keeps beside weights and moments.
type State struct {
	Version  int             `json:"version"`
	Step     int             `json:"step"`   // steps done
	Tokens   int64           `json:"tokens"` // tokens trained on
	Position corpus.Position `json:"position"`
	Corpus   string          `json:"corpus"` // key of the token shards
	Loss     optim.ZScore    `json:"loss_z"`
	GradNorm optim.ZScore    `json:"grad_norm_z"`
	Options  Options         `json:"options"`
}

const stateVersion = 1

// Trainer owns everything that a step changes.
type Trainer struct {
	State
	Model *model.Model
	Tok   *token.Tokenizer

	data   *corpus.Dataset
	loader *corpus.Loader
	opt    *optim.AdamW
	grads  []float32
	tape   *model.Tape
	batch  model.Batch
	micro  model.Losses
	starts []int32
	cuts   []float64
}

// Record is one training step, as it stands in metrics.jsonl.
type Record struct {
	Type     string  `json:"type"` // "step"
	Step     int     `json:"step"`
	Tokens   int64   `json:"tokens"`
	Loss     float64 `json:"loss"` // cross-entropy, nats a token
	LossZ    *Z      `json:"loss_z"`
	Total    float64 `json:"total"` // what is differentiated
	Aux      float64 `json:"aux"`
	Balance  float64 `json:"balance"`
	Z        float64 `json:"z"`
	Routing  string  `json:"routing"` // of the loss: topk for expert-choice in training
	GradNorm float64 `json:"grad_norm"`
	GradZ    *Z      `json:"grad_norm_z"`
	LR       float64 `json:"lr"`
	// Token-choice: how evenly depth is used.
	Load    []float64 `json:"load,omitempty"`
	Entropy float64   `json:"load_entropy,omitempty"` // nats
	MaxVio  float64   `json:"max_vio,omitempty"`      // largest load over the mean, less 1
	// Timing is the only part that differs between two runs of the same seed.
	Millis       float64 `json:"ms"`
	TokensPerSec float64 `json:"tokens_per_s"`
}

// Z is a z-score; nil while there is too little to compare with.
type Z = float64

// New returns a trainer at step 0 with freshly drawn weights.
func New(o Options, data *corpus.Dataset, tok *token.Tokenizer, cpu *kernel.CPU) (*Trainer, error) {
	t := &Trainer{Model: model.New(o.Model, cpu), Tok: tok, data: data}
	t.State = State{Version: stateVersion, Options: o, Corpus: data.Manifest.Key, Position: corpus.Position{Seed: o.Seed}}
	t.Model.Init(o.Seed)
	if o.Init != "" {
		m, err := source.Open(o.Init, cpu)
		if err != nil {
			return nil, err
		}
		if m.Layout.Size != t.Model.Layout.Size {
			return nil, fmt.Errorf("init: %s has %d parameters, the model of the options %d: leave the model's keys as they are there", o.Init, m.Layout.Size, t.Model.Layout.Size)
		}
		copy(t.Model.W, m.W)
	}
	return t, t.prepare()
}

// Segments tells the optimizer how each tensor of a layout is treated.
func Segments(l *model.Layout) []optim.Segment {
	var out []optim.Segment
	for _, t := range l.Tensors {
		if t.Frozen {
			continue
		}
		s := optim.Segment{Offset: t.Offset, Len: t.Len, Decay: t.Decay, LRScale: 1}
		if t.Aux {
			s.LRScale, s.ClipGroup = 10, 1
		}
		out = append(out, s)
	}
	return out
}

// prepare allocates what the options and the model ask for.
func (t *Trainer) prepare() (err error) {
	o, size := &t.Options, t.Model.Layout.Size
	o.ChooseDtype(t.Model.CPU(), nil)
	if t.opt, err = optim.NewAdamW(o.optimizer(), Segments(t.Model.Layout), size); err != nil {
		return err
	}
	if t.loader, err = corpus.NewLoader(t.data.Train, o.Context, o.Batch, t.Position); err != nil {
		return err
	}
	dtype, err := model.ParseDtype(o.Dtype)
	if err != nil {
		return err
	}
	t.Model.SetDtype(dtype)
	t.grads, t.tape = memory.Make[float32](size), t.Model.NewTape()
	if t.tape.Recompute, err = model.ParseRecompute(o.Recompute); err != nil {
		return err
	}
	n := o.MicroBatch * o.Context
	t.batch = model.Batch{Tokens: make([]int32, n), Targets: make([]int32, n), Positions: make([]int32, n), Starts: make([]int32, o.MicroBatch+1)}
	for i := range t.batch.Positions {
		t.batch.Positions[i] = int32(i % o.Context)
	}
	for i := range t.batch.Starts {
		t.batch.Starts[i] = int32(i * o.Context)
	}
	return nil
}

// Step does one optimizer step. A loss or gradient that is not finite is an error, and the weights stay as they were.
func (t *Trainer) Step(r *Record) error {
	o := &t.Options
	step := t.State.Step + 1
	*r = Record{Type: "step", Step: step, LR: o.schedule().At(step), Load: r.Load[:0]}
	t.cuts = t.cuts[:0]
	parts := o.Batch / o.MicroBatch
	t.Model.ClearGradients(t.tape, t.grads)
	norm := model.Norm{Targets: o.Batch * o.Context, Share: 1 / float64(parts)}
	mode := model.Mode{Routing: model.TopK, Training: true, Step: step}
	for range parts {
		t.starts = t.loader.Next(t.batch.Tokens, t.batch.Targets, t.starts[:0])
		if t.batch.Docs = nil; o.DocumentMask {
			t.batch.Docs = t.starts
		}
		if err := t.Model.Forward(t.tape, &t.batch, mode, true); err != nil {
			return err
		}
		t.Model.Backward(t.tape, t.grads, norm, &t.micro)
		r.add(&t.micro)
		t.cuts = addTo(t.cuts, t.micro.Cuts)
	}
	if math.IsNaN(r.Total) || math.IsInf(r.Total, 0) {
		return t.diverged(step, fmt.Sprintf("the loss is %v", r.Total))
	}
	cpu := t.Model.CPU()
	norms, bad := t.opt.Norms(cpu, t.grads)
	if bad >= 0 {
		return t.diverged(step, fmt.Sprintf("the gradient of %s is not finite", t.trained(bad)))
	}
	r.GradNorm = norms[0]
	t.opt.Update(cpu, t.Model.W, t.grads, norms, r.LR)
	t.Model.WeightsChanged()
	t.Model.UpdateBalance(r.Load, step)
	t.Model.UpdateThresholds(t.cuts, step)
	t.State.Step, t.Position = step, t.loader.Position()
	t.State.Tokens += int64(o.Batch * o.Context)
	r.Tokens = t.State.Tokens
	r.Routing = routingName(t.Model.Config, model.TopK)
	r.LossZ, r.GradZ = score(&t.State.Loss, r.Loss), score(&t.State.GradNorm, r.GradNorm)
	r.balance()
	return nil
}

func score(z *optim.ZScore, x float64) *Z {
	if s, ok := z.Add(x); ok {
		return &s
	}
	return nil
}

// routingName names a routing where the model has two.
func routingName(c *model.Config, r model.Routing) string {
	if !c.Expert() {
		return "causal"
	}
	return r.String()
}

// balance derives the balance of depths from the load.
func (r *Record) balance() {
	r.Entropy, r.MaxVio = 0, 0
	if len(r.Load) == 0 {
		return
	}
	top := 0.0
	for _, f := range r.Load {
		if f > 0 {
			r.Entropy -= f * math.Log(f)
		}
		top = max(top, f)
	}
	r.MaxVio = top*float64(len(r.Load)) - 1
}

// trained names the tensor behind an optimizer segment.
func (t *Trainer) trained(segment int) string {
	for _, tensor := range t.Model.Layout.Tensors {
		if tensor.Frozen {
			continue
		}
		if segment == 0 {
			return tensor.Name
		}
		segment--
	}
	return "?"
}

// ErrDiverged means that training met a number that is not finite.
var ErrDiverged = errors.New("training diverged")

func (t *Trainer) diverged(step int, what string) error {
	last := "there is no checkpoint yet"
	if info, err := checkpoint.Latest(t.Options.Out); err == nil {
		last = "the last good checkpoint is " + info.Path
	}
	return fmt.Errorf("%w at step %d: %s; %s; resume from it with a lower lr, or look at the data", ErrDiverged, step, what, last)
}

// Save writes a checkpoint of the state as it is. metric, lower is better, decides which checkpoint is the best; nil: it cannot be.
func (t *Trainer) Save(dir *checkpoint.Dir, metric *float64) (string, error) {
	w, err := dir.Create(t.State.Step)
	if err != nil {
		return "", err
	}
	defer w.Abort()
	state, err := json.MarshalIndent(&t.State, "", " ")
	if err != nil {
		return "", err
	}
	tok, err := t.Tok.MarshalJSON()
	if err != nil {
		return "", err
	}
	bytes := func(data []byte) func(io.Writer) error {
		return func(w io.Writer) error { _, err := w.Write(data); return err }
	}
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{folder.ConfigFile, bytes(t.Model.Config.JSON())},
		{folder.TokenizerFile, bytes(tok)},
		{folder.WeightsFile, func(w io.Writer) error { return folder.WriteWeights(w, t.Model) }},
		{optimizerFile, func(w io.Writer) error {
			return safetensors.Write(w, t.moments(), map[string]string{"steps": fmt.Sprint(t.opt.Steps)})
		}},
		{trainerFile, bytes(append(state, '\n'))},
	} {
		if err := w.File(f.name, f.write); err != nil {
			return "", err
		}
	}
	if metric != nil {
		if err := w.SetMetric(*metric); err != nil {
			return "", err
		}
	}
	path, err := w.Commit()
	if err != nil {
		return "", err
	}
	_, err = dir.Prune(t.Options.Keep)
	return path, err
}

// ReadState reads what a checkpoint says about its run, verified.
func ReadState(path string) (*State, error) {
	c, err := checkpoint.Open(path)
	if err != nil {
		return nil, err
	}
	name, err := c.File(trainerFile)
	if err != nil {
		return nil, fmt.Errorf("%s: a model without training state cannot be resumed: %w", path, err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	s := State{Options: Options{Recompute: "none", Dtype: "fp32", OptimizerDtype: "fp32"}} // what a checkpoint means that does not say
	if err := strict.JSON(data, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("%s: version %d, expected %d: it was written by another version of mor", name, s.Version, stateVersion)
	}
	return &s, nil
}

// Resume returns a trainer that continues behind a checkpoint as if it had never stopped. o may differ from the saved options as Conflict
// allows.
func Resume(path string, s *State, o Options, data *corpus.Dataset, tok *token.Tokenizer, cpu *kernel.CPU) (*Trainer, error) {
	o.ChooseDtype(cpu, s)
	if err := o.Conflict(&s.Options); err != nil {
		return nil, err
	}
	if data.Manifest.Key != s.Corpus {
		return nil, fmt.Errorf("the data is not what %s was trained on: its files or the tokenizer changed; start a new run with another --out", path)
	}
	m, err := folder.Open(path, cpu)
	if err != nil {
		return nil, err
	}
	t := &Trainer{Model: m, Tok: tok, data: data, State: *s}
	t.Options = o
	if err := t.prepare(); err != nil {
		return nil, err
	}
	t.opt.Steps = s.Step
	return t, t.readMoments(filepath.Join(path, optimizerFile))
}

// add adds the losses of a micro-batch.
func (r *Record) add(l *model.Losses) {
	r.Loss += l.CE
	r.Total += l.Total
	r.Aux += l.Aux
	r.Balance += l.Balance
	r.Z += l.Z
	r.Load = addTo(r.Load, l.Load)
}

// addTo adds part to sum, which is empty at first.
func addTo(sum, part []float64) []float64 {
	if len(sum) == 0 {
		return append(sum, part...)
	}
	for i, v := range part {
		sum[i] += v
	}
	return sum
}
