package model

import "fmt"

// KVMode says where an effective layer finds the keys and values that its queries read.
type KVMode int

// The modes of keys and values.
const (
	KVOwn    KVMode = iota // computed from the rows at hand, which see nothing else
	KVRead                 // those of the first recursion, for every earlier position (recursive sharing)
	KVUpdate               // the same, with the entries of the rows at hand replaced by their own
)

// Gate says how the rows of a segment are chosen.
type Gate int

// The gates.
const (
	GateNone   Gate = iota // every row that came in
	GateExpert             // the recursion's router picks rows: top-k, or the threshold
	GateToken              // the rows whose token chose this depth or a greater one
	GateFixed              // the rows whose position says so
)

// Layer is one effective layer.
type Layer struct {
	Unique    int // index of its weights
	Recursion int // r, or −1 outside the loop
	Block     int // j, the index in the shared block, or −1 outside the loop
	Slot      int // where its keys and values are kept
	Source    int // slot of the first recursion, which KVRead and KVUpdate read
	KV        KVMode
	Encoding  int // row of the recursion encoding that multiplies the stream after it, or −1
}

// Segment is a run of effective layers done by the same rows.
type Segment struct {
	Name      string
	Recursion int // r, or −1 where rows are not narrowed by recursion
	Gate      Gate
	Layers    []Layer
}

// Plan is what forward, backward, inference, accounting and inspect walk.
type Plan struct {
	Segments []Segment
	Unique   int // layers with weights of their own
	Slots    int // KV slots
}

// NewPlan compiles a valid configuration.
func NewPlan(c *Config) *Plan {
	p := &Plan{}
	if c.Recursion == nil {
		layers := make([]Layer, c.NumHiddenLayers)
		for i := range layers {
			layers[i] = Layer{Unique: i, Recursion: -1, Block: -1, Slot: i, Encoding: -1}
		}
		p.Unique, p.Slots = len(layers), len(layers)
		p.Segments = []Segment{{Name: "layers", Recursion: -1, Layers: layers}}
		return p
	}
	outer := func(name string, unique int) {
		p.Segments = append(p.Segments, Segment{Name: name, Recursion: -1, Layers: []Layer{{Unique: unique, Recursion: -1, Block: -1, Slot: p.Slots, Encoding: -1}}})
		p.Slots++
	}
	b := c.BlockDepth()
	p.Unique = b
	start := 0
	if c.Recursion.Sharing.Middle() {
		outer("prelude", 0)
		start, p.Unique = 1, b+2
	}
	p.loop(c, start)
	if c.Recursion.Sharing.Middle() {
		outer("coda", b+1)
	}
	return p
}

// loop appends the segments of the recursion loop, whose block starts at the unique layer start.
func (p *Plan) loop(c *Config, start int) {
	n, b := c.Recursion.NumRecursion, c.BlockDepth()
	first := make([]int, b) // slot of each block layer at recursion 0
	layer := func(r, j int) Layer {
		l := Layer{Unique: start + j, Recursion: r, Block: j, Slot: p.Slots, Encoding: -1}
		if r == 0 {
			first[j] = l.Slot
		}
		l.Source = first[j]
		if r > 0 && c.Recursion.KVSharing {
			l.KV = KVRead
			if c.Recursion.KVUpdate {
				l.KV = KVUpdate
			}
		}
		if l.KV == KVRead {
			l.Slot = first[j]
		} else {
			p.Slots++
		}
		return l
	}
	if !c.Recursion.Sharing.Cyclic() { // each layer n times in a row
		s := Segment{Name: "loop", Recursion: -1}
		for j := range b {
			for r := range n {
				l := layer(r, j)
				if c.Recursion.Encoding {
					l.Encoding = j*n + r
				}
				s.Layers = append(s.Layers, l)
			}
		}
		p.Segments = append(p.Segments, s)
		return
	}
	gate := GateNone
	if c.Router != nil {
		gate = map[string]Gate{ExpertChoice: GateExpert, TokenChoice: GateToken, FixedDepth: GateFixed}[c.Router.Type]
	}
	for r := range n {
		s := Segment{Name: fmt.Sprintf("recursion %d", r), Recursion: r, Gate: gate}
		for j := range b {
			s.Layers = append(s.Layers, layer(r, j))
		}
		if c.Recursion.Encoding {
			s.Layers[b-1].Encoding = r
		}
		p.Segments = append(p.Segments, s)
	}
}
