package model

import "fmt"

// Cost is what a model costs by its plan: values, floating-point operations (FLOPs) of each token, and values in the cache. FLOPs are
// averages over the tokens of a sequence of Context tokens, two for each multiply-add; norms, RoPE, softmax and other work that is not a matrix
// product is left out, as is usual (METHOD.md §7).
type Cost struct {
	Context    int            `json:"context"`
	Parameters ParameterCount `json:"parameters"`
	Segments   []SegmentCost  `json:"segments"`
	HeadFLOPs  float64        `json:"head_flops"` // of the output head, forward

	ForwardFLOPs float64 `json:"forward_flops"` // of all segments and the head
	TrainFLOPs   float64 `json:"train_flops"`   // three times as much: backward costs twice the forward
	KVValues     float64 `json:"kv_values"`     // keys and values kept for each token
}

// SegmentCost is the cost of one segment for each token of the sequence, whether the token runs it or not.
type SegmentCost struct {
	Name           string  `json:"name"`
	Share          float64 `json:"share"`           // of the tokens that run its layers
	MatrixFLOPs    float64 `json:"matrix_flops"`    // the layers' matrices, LoRA included
	AttentionFLOPs float64 `json:"attention_flops"` // scores and mixture of values, the causal half
	RouterFLOPs    float64 `json:"router_flops"`    // the recursion's routers, run for the tokens that arrive
	KVValues       float64 `json:"kv_values"`       // keys and values that its layers keep
}

// ForwardFLOPs is the segment's part of Cost.ForwardFLOPs.
func (s *SegmentCost) ForwardFLOPs() float64 { return s.MatrixFLOPs + s.AttentionFLOPs + s.RouterFLOPs }

// ParameterCount says what the values of a model are for.
type ParameterCount struct {
	Total        int `json:"total"`
	Active       int `json:"active"`        // of a mixture of experts only the chosen ones
	NonEmbedding int `json:"non_embedding"` // total without embedding and untied head
	Embedding    int `json:"embedding"`
	Head         int `json:"head"`   // 0 where it is tied to the embedding
	Layers       int `json:"layers"` // all unique layers
	Layer        int `json:"layer"`  // each of them
	Norm         int `json:"norm"`   // the final one
	Routers      int `json:"routers"`
	AuxRouters   int `json:"aux_routers"`
	Encoding     int `json:"encoding"`
	LoRA         int `json:"lora"`
}

// Vanilla is the model of the same effective depth without recursion and router, which costs are compared with.
func (c *Config) Vanilla() *Config {
	v := *c
	v.Recursion, v.Router = nil, nil
	return &v
}

// Shares is the share of tokens that each recursion of the loop runs for: the capacities of expert-choice and fixed depth, (N−r)/N
// for token-choice whose tokens choose each depth alike, otherwise 1. A vanilla model has none.
func (c *Config) Shares() []float64 {
	if c.Recursion == nil {
		return nil
	}
	n := c.Recursion.NumRecursion
	out := make([]float64, n)
	for r := range out {
		switch {
		case c.Router == nil:
			out[r] = 1
		case c.Token():
			out[r] = float64(n-r) / float64(n)
		default:
			out[r] = c.Router.Capacity[r]
		}
	}
	return out
}

// Count computes the cost of a valid configuration at the shares of Config.Shares, for sequences of context (1 or more) tokens.
func Count(c *Config, context int) *Cost { return c.cost(context, c.Shares()) }

// CountShares computes the cost when shares[r] of the tokens run recursion r: measured ones, or those of fewer recursions.
func CountShares(c *Config, context int, shares []float64) (*Cost, error) {
	if context < 1 {
		return nil, fmt.Errorf("context: %d: expected 1 or more tokens", context)
	}
	if n := len(c.Shares()); len(shares) != n {
		return nil, fmt.Errorf("shares: %d values for %d recursions: expected one each", len(shares), n)
	}
	for r, s := range shares {
		if !(s >= 0 && s <= 1) || r > 0 && s > shares[r-1] {
			return nil, fmt.Errorf("shares: %v at recursion %d: expected 0 to 1, and no more than at the recursion before", s, r)
		}
	}
	return c.cost(context, shares), nil
}

func (c *Config) cost(context int, shares []float64) *Cost {
	cost := &Cost{Context: context, Parameters: countParameters(c), HeadFLOPs: 2 * float64(c.HiddenSize) * float64(c.VocabSize)}
	cost.ForwardFLOPs = cost.HeadFLOPs
	for _, s := range NewPlan(c).Segments {
		sc := c.segmentCost(&s, context, shares)
		cost.Segments = append(cost.Segments, sc)
		cost.ForwardFLOPs += sc.ForwardFLOPs()
		cost.KVValues += sc.KVValues
	}
	cost.TrainFLOPs = 3 * cost.ForwardFLOPs
	return cost
}

func (c *Config) segmentCost(s *Segment, context int, shares []float64) SegmentCost {
	out := SegmentCost{Name: s.Name, Share: 1}
	if s.Recursion >= 0 {
		out.Share = shares[s.Recursion]
		out.RouterFLOPs = c.routerFLOPs(s.Recursion, shares)
		if c.KVSharing() && s.Recursion == 0 && out.Share > 0 { // later recursions read everyone's keys
			out.Share = 1
		}
	}
	for _, l := range s.Layers {
		share, seen := out.Share, out.Share // rows of the sequence that run the layer; keys that are there to be seen
		if l.KV != KVOwn {
			seen = 1
		}
		out.MatrixFLOPs += share * 2 * float64(c.layerMatrix(&l))
		// Scores and mixture take 4·h·e for each pair of query and key, half of which are in the future.
		out.AttentionFLOPs += share * seen * 2 * float64(c.QueryDim()) * float64(context)
		if l.KV != KVRead {
			out.KVValues += share * 2 * float64(c.KVDim())
		}
	}
	return out
}

// layerMatrix is how many matrix values an effective layer multiplies a row with.
func (c *Config) layerMatrix(l *Layer) int {
	d, f := c.HiddenSize, c.IntermediateSize
	n := 2 * d * c.QueryDim()
	if l.KV != KVRead {
		n += 2 * d * c.KVDim()
	}
	if c.MoE != nil {
		n += d*c.MoE.NumExperts + c.MoE.ExpertsPerToken*3*d*f
	} else {
		n += 3 * d * f
	}
	if l.Recursion < 0 || c.Recursion.LoRA == nil {
		return n
	}
	for _, t := range c.Recursion.LoRA.Targets {
		if l.KV == KVRead && (t == "k_proj" || t == "v_proj") {
			continue
		}
		in, out := c.projection(t)
		n += c.Recursion.LoRA.Rank * (in + out)
	}
	return n
}

// routerFLOPs is what scoring costs at recursion r: expert-choice scores the tokens that arrive there, token-choice scores once.
func (c *Config) routerFLOPs(r int, shares []float64) float64 {
	arrive := 1.0
	if r > 0 {
		arrive = shares[r-1]
	}
	switch {
	case shares[r] == 0: // the recursion is left out
		return 0
	case c.Expert():
		n := c.routerSize(1)
		if c.Router.Balancing == "aux_router" {
			n *= 2
		}
		return arrive * 2 * float64(n)
	case c.Token() && r == 0:
		return 2 * float64(c.routerSize(c.Recursion.NumRecursion))
	}
	return 0
}

// routerSize is how many values a router with so many outputs has.
func (c *Config) routerSize(out int) int {
	d := c.HiddenSize
	if c.Router.Kind == "linear" {
		return out * d
	}
	return 2*d*d + out*2*d
}

func countParameters(c *Config) ParameterCount {
	d, f, plan := c.HiddenSize, c.IntermediateSize, NewPlan(c)
	p := ParameterCount{Embedding: c.VocabSize * d, Norm: d}
	if !c.TieWordEmbeddings {
		p.Head = c.VocabSize * d
	}
	p.Layer = 2*d + 2*d*c.QueryDim() + 2*d*c.KVDim()
	idle := 0
	if c.MoE == nil {
		p.Layer += 3 * d * f
	} else {
		p.Layer += d*c.MoE.NumExperts + c.MoE.NumExperts*3*d*f
		idle = (c.MoE.NumExperts - c.MoE.ExpertsPerToken) * 3 * d * f
	}
	p.Layers = plan.Unique * p.Layer
	if c.Recursion != nil {
		p.countLoop(c)
	}
	p.NonEmbedding = p.Layers + p.Norm + p.Routers + p.AuxRouters + p.Encoding + p.LoRA
	p.Total = p.NonEmbedding + p.Embedding + p.Head
	p.Active = p.Total - plan.Unique*idle
	return p
}

// countLoop counts what belongs to the recursion loop and is not a layer.
func (p *ParameterCount) countLoop(c *Config) {
	n, b := c.Recursion.NumRecursion, c.BlockDepth()
	switch {
	case c.Expert():
		p.Routers = n * c.routerSize(1)
		if c.Router.Balancing == "aux_router" {
			p.AuxRouters = p.Routers
		}
		if c.Router.ThresholdRate > 0 {
			p.Routers += n // the thresholds
		}
	case c.Token():
		p.Routers = c.routerSize(n)
		if c.Router.Balancing == "loss_free" {
			p.Routers += n // the balance bias
		}
	}
	if c.Recursion.Encoding {
		p.Encoding = n * c.HiddenSize
		if !c.Recursion.Sharing.Cyclic() {
			p.Encoding *= b
		}
	}
	if lora := c.Recursion.LoRA; lora != nil {
		for _, t := range lora.Targets {
			in, out := c.projection(t)
			p.LoRA += n * b * lora.Rank * (in + out)
		}
	}
}
