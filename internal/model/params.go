package model

import "fmt"

// Tensor is a named part of the slab, with its safetensors name.
type Tensor struct {
	Name   string
	Shape  []int
	Offset int
	Len    int
	Decay  bool // weight decay applies: every matrix; no norm
	Aux    bool // an auxiliary router: clipped on its own, at ten times the rate
	Frozen bool // not trained by gradient: the balance bias, the thresholds
	Matrix bool // multiplies rows of the stream: a model for inference has it as a kernel.Matrix, outside the slab
}

// Of is the tensor's part of a slab of weights, gradients or moments.
func (t *Tensor) Of(slab []float32) []float32 { return slab[t.Offset : t.Offset+t.Len] }

// Layout places every tensor of a model in one slab. Gradients and moments are slabs of the same layout.
type Layout struct {
	Tensors []Tensor
	Size    int // values in a slab
	Trained int // the first so many values are trained; frozen tensors stand behind them
	index   map[string]int

	apart   bool // matrices are not in the slab: their spans only name them, and begin where the slab ends
	named   int  // values that have such names
	slabEnd int

	embed, head, norm span
	encoding          span
	layers            []layerSpans
	routers           []routerSpans // expert-choice: one for each recursion; token-choice: one
	auxRouters        []routerSpans
	balanceBias       span // token-choice, loss-free balancing: [N]
	thresholds        span // expert-choice with threshold_rate: [N]
	loras             map[loraKey]loraSpans
}

// span is a part of a slab.
type span struct{ off, n int }

func (s span) of(slab []float32) []float32 { return slab[s.off : s.off+s.n] }

// layerSpans locates the weights of a unique layer. The matrices of one product stand one behind the other: q, k and v; gate and up.
type layerSpans struct {
	inputNorm, postNorm span
	qkv, o              span // [(h+2k)·e, d], [d, h·e]
	gateUp, down        span // [2f, d], [d, f]
	router              span // MoE: [experts, d]
	experts             []expertSpans
}

type expertSpans struct{ gateUp, down span } // w1 and w3; w2

// routerSpans is a linear router [out, d], or an MLP: up [2d, d], down [out, 2d].
type routerSpans struct {
	weight, up, down span
	out              int
}

type loraKey struct {
	r, j   int
	target string
}

type loraSpans struct{ a, b span } // [rank, in], [out, rank]

// Tensor finds a tensor by name.
func (l *Layout) Tensor(name string) (*Tensor, bool) {
	i, ok := l.index[name]
	if !ok {
		return nil, false
	}
	return &l.Tensors[i], true
}

// NewLayout places the tensors of a valid configuration.
func NewLayout(c *Config, p *Plan) *Layout {
	return (&Layout{}).place(c, p)
}

// newApartLayout places the tensors of a valid configuration, the matrices outside the slab.
func newApartLayout(c *Config, p *Plan) *Layout {
	small := (&Layout{apart: true}).place(c, p)
	return (&Layout{apart: true, slabEnd: small.Size}).place(c, p)
}

func (l *Layout) place(c *Config, p *Plan) *Layout {
	l.index, l.loras = map[string]int{}, map[loraKey]loraSpans{}
	d := c.HiddenSize
	l.embed = l.product("model.embed_tokens.weight", c.VocabSize, d)
	for u := range p.Unique {
		l.layers = append(l.layers, l.layer(c, fmt.Sprintf("model.layers.%d", u)))
	}
	l.norm = l.vector("model.norm.weight", d)
	l.head = l.embed
	if !c.TieWordEmbeddings {
		l.head = l.product("lm_head.weight", c.VocabSize, d)
	}
	if c.Recursion != nil {
		l.loop(c)
	}
	l.Trained = l.Size
	if c.Token() && c.Router.Balancing == "loss_free" {
		l.balanceBias = l.frozen("model.router.balance_bias", c.Recursion.NumRecursion)
	}
	if c.Expert() && c.Router.ThresholdRate > 0 {
		l.thresholds = l.frozen("model.router_thresholds", c.Recursion.NumRecursion)
	}
	return l
}

func (l *Layout) add(name string, shape ...int) span {
	n := 1
	for _, s := range shape {
		n *= s
	}
	l.index[name] = len(l.Tensors)
	l.Tensors = append(l.Tensors, Tensor{Name: name, Shape: shape, Offset: l.Size, Len: n, Decay: len(shape) > 1})
	s := span{l.Size, n}
	l.Size += n
	return s
}

func (l *Layout) matrix(name string, rows, cols int) span { return l.add(name, rows, cols) }

// product places a matrix that multiplies rows of the stream.
func (l *Layout) product(name string, rows, cols int) span {
	s := l.add(name, rows, cols)
	t := &l.Tensors[len(l.Tensors)-1]
	t.Matrix = true
	if l.apart {
		l.Size -= s.n
		s.off = l.slabEnd + l.named
		t.Offset = s.off
		l.named += s.n
	}
	return s
}

func (l *Layout) vector(name string, n int) span { return l.add(name, n) }

// frozen places a vector that no gradient trains.
func (l *Layout) frozen(name string, n int) span {
	s := l.vector(name, n)
	l.Tensors[len(l.Tensors)-1].Frozen = true
	return s
}

// join is the span of tensors that were added one behind the other.
func join(spans ...span) span {
	out := spans[0]
	for _, s := range spans[1:] {
		out.n += s.n
	}
	return out
}

func (l *Layout) layer(c *Config, base string) layerSpans {
	d, f, q, kv := c.HiddenSize, c.IntermediateSize, c.QueryDim(), c.KVDim()
	var s layerSpans
	s.inputNorm = l.vector(base+".input_layernorm.weight", d)
	s.qkv = join(l.product(base+".self_attn.q_proj.weight", q, d),
		l.product(base+".self_attn.k_proj.weight", kv, d),
		l.product(base+".self_attn.v_proj.weight", kv, d))
	s.o = l.product(base+".self_attn.o_proj.weight", d, q)
	s.postNorm = l.vector(base+".post_attention_layernorm.weight", d)
	if c.MoE == nil {
		s.gateUp = join(l.product(base+".mlp.gate_proj.weight", f, d), l.product(base+".mlp.up_proj.weight", f, d))
		s.down = l.product(base+".mlp.down_proj.weight", d, f)
		return s
	}
	base += ".block_sparse_moe"
	s.router = l.matrix(base+".gate.weight", c.MoE.NumExperts, d)
	for e := range c.MoE.NumExperts {
		at := fmt.Sprintf("%s.experts.%d", base, e)
		s.experts = append(s.experts, expertSpans{
			gateUp: join(l.product(at+".w1.weight", f, d), l.product(at+".w3.weight", f, d)),
			down:   l.product(at+".w2.weight", d, f),
		})
	}
	return s
}

// loop places what belongs to the recursion loop and is not a layer.
func (l *Layout) loop(c *Config) {
	n, d := c.Recursion.NumRecursion, c.HiddenSize
	switch {
	case c.Expert():
		for r := range n {
			l.routers = append(l.routers, l.router(c, fmt.Sprintf("model.routers.%d", r), 1))
		}
		if c.Router.Balancing == "aux_router" {
			from := len(l.Tensors)
			for r := range n {
				l.auxRouters = append(l.auxRouters, l.router(c, fmt.Sprintf("model.aux_routers.%d", r), 1))
			}
			for i := range l.Tensors[from:] {
				l.Tensors[from+i].Aux = true
			}
		}
	case c.Token():
		l.routers = append(l.routers, l.router(c, "model.router", n))
	}
	if c.Recursion.Encoding {
		rows := n
		if !c.Recursion.Sharing.Cyclic() {
			rows *= c.BlockDepth()
		}
		l.encoding = l.matrix("model.recursion_encoding.weight", rows, d)
	}
	if lora := c.Recursion.LoRA; lora != nil {
		for r := range n {
			for j := range c.BlockDepth() {
				for _, t := range lora.Targets {
					in, out := c.projection(t)
					base := fmt.Sprintf("model.loras.%d.%d.%s", r, j, t)
					l.loras[loraKey{r, j, t}] = loraSpans{l.matrix(base+".A", lora.Rank, in), l.matrix(base+".B", out, lora.Rank)}
				}
			}
		}
	}
}

func (l *Layout) router(c *Config, base string, out int) routerSpans {
	d := c.HiddenSize
	if c.Router.Kind == "linear" {
		return routerSpans{weight: l.matrix(base+".weight", out, d), out: out}
	}
	return routerSpans{up: l.matrix(base+".up.weight", 2*d, d), down: l.matrix(base+".down.weight", out, 2*d), out: out}
}

// projection gives the input and output width of a matrix of a layer.
func (c *Config) projection(name string) (in, out int) {
	d, f := c.HiddenSize, c.IntermediateSize
	switch name {
	case "q_proj":
		return d, c.QueryDim()
	case "k_proj", "v_proj":
		return d, c.KVDim()
	case "o_proj":
		return c.QueryDim(), d
	case "gate_proj", "up_proj":
		return d, f
	default: // down_proj
		return f, d
	}
}
