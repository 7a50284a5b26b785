package model

import "math"

// Seat is a row on its way through the model. The caller sets the first fields.
type Seat struct {
	Token, Pos int32
	Limit      int32   // most recursions: Mode.Recursions
	Cut        float32 // expert-choice: Mode.Cut, which the score must pass beyond the recursion's own threshold

	Depth int32 // recursions taken
	Next  int32 // the recursion that comes next
	Out   bool  // the row leaves the loop

	picked bool    // the coming recursion changes the row; otherwise it only makes keys for others
	gate   float32 // weight of what the coming recursion adds; token-choice: of the exit
	choice int32   // token-choice: the last recursion
}

// Group is rows of one effective layer.
type Group struct {
	Segment int
	Layer   *Layer
	Lo, Hi  int  // rows of the pass
	Last    bool // the segment's last layer
	Idle    bool // the rows have left: they are computed for nothing, and nothing of them is kept
}

// Attend keeps the keys and values of rows of a pass and computes their attention output o[n, h·e] from qkv[n, width], which has no keys and values where the
// groups read those of others. seats lists the rows of the pass; those of a sequence stand together within a group, ascending.
type Attend func(o, qkv []float32, width int, groups []Group, seats []int32)

// Flow takes rows of many sequences through the model, each at its own recursion, under causal routing. What it computes for a row does not depend on
// the other rows of a pass. It allocates nothing once it has seen its largest passes.
type Flow struct {
	Seats  []Seat
	Scores []float32 // [seats, N] router scores of the recursions that a row arrived at

	m      *Model
	t      *Tape
	attend Attend
	x, h   []float32 // [seats, d] the stream; token-choice: the row in the loop
	norm   []float32 // [rows, d] of the last Leave
	rows   Rows      // of the pass
	moe    []expertRows
	groups []Group
	gates  []float32
	index  []int32
	first  int // segments before the loop
	loop   int // segments of the loop
}

// NewFlow returns a flow with so many seats.
func (m *Model) NewFlow(seats int, attend Attend) *Flow {
	d, n := m.Config.HiddenSize, m.Config.Recursions()
	f := &Flow{m: m, t: m.newFlowTape(), attend: attend, Seats: make([]Seat, seats), Scores: make([]float32, seats*n), x: make([]float32, seats*d)}
	if m.Config.Token() {
		f.h = make([]float32, seats*d)
	}
	for _, s := range m.Plan.Segments {
		if s.Recursion >= 0 {
			f.loop++
		} else if f.loop == 0 {
			f.first++
		}
	}
	return f
}

// newFlowTape returns the memory of a flow, which lives longer than what it hands out, and counts few integers.
func (m *Model) newFlowTape() *Tape {
	t := m.NewTape()
	t.f.outside, t.i.least = true, 1<<14
	return t
}

// Recursions is how many recursions may run.
func (d Mode) Recursions(c *Config) int { return d.recursions(c) }

// Score is the logit that a score must exceed beyond the recursion's own threshold.
func (d Mode) Score() float32 { return d.cut() }

// Enter runs the rows through what comes before the loop and decides about the first recursion.
func (f *Flow) Enter(seats []int32) {
	x := f.enter(seats)
	for i := range f.first {
		f.segment(i, x, seats)
	}
	f.entered(x, seats)
}

// enter returns the embeddings x[n,d] of rows that begin.
func (f *Flow) enter(seats []int32) []float32 {
	f.t.f.reset()
	f.t.i.reset()
	x, tokens := f.t.f.get(len(seats)*f.m.Config.HiddenSize), f.t.i.get(len(seats))
	for i, s := range seats {
		seat := &f.Seats[s]
		*seat = Seat{Token: seat.Token, Pos: seat.Pos, Limit: seat.Limit, Cut: seat.Cut}
		tokens[i] = seat.Token
	}
	f.m.lookUp(x, tokens)
	return x
}

// entered seats rows that have come to the loop.
func (f *Flow) entered(x []float32, seats []int32) {
	f.put(f.x, x, seats)
	if f.loop == 0 {
		for _, s := range seats {
			f.Seats[s].Depth, f.Seats[s].Out = int32(f.m.Config.Recursions()), true
		}
		return
	}
	if f.m.Config.Token() {
		f.choose(x, seats)
		f.put(f.h, x, seats)
	}
	f.route(seats)
}

// segment runs all rows through a segment outside the loop.
func (f *Flow) segment(i int, x []float32, seats []int32) {
	for j := range f.m.Plan.Segments[i].Layers {
		f.outside(i, j, x, seats)
	}
}

// outside runs all rows through layer j of a segment outside the loop.
func (f *Flow) outside(i, j int, x []float32, seats []int32) {
	s := &f.m.Plan.Segments[i]
	f.groups = append(f.groups[:0], Group{i, &s.Layers[j], 0, len(seats), j == len(s.Layers)-1, false})
	f.layer(x, seats)
}

// Loop runs each row through its next recursion and decides about the one behind it. seats is in order of Next. Behind them may stand idle rows that have
// left the loop: they are computed like the others, for nothing.
func (f *Flow) Loop(seats []int32, idle int) {
	y := f.arrive(seats)
	for j := range f.m.Config.BlockDepth() {
		f.block(j, y, seats, idle)
	}
	f.looped(y, seats[:len(seats)-idle])
}

// arrive returns the stream y[n,d] of rows that begin a recursion.
func (f *Flow) arrive(seats []int32) []float32 {
	f.t.f.reset()
	f.t.i.reset()
	stream := f.x
	if f.m.Config.Token() {
		stream = f.h
	}
	y := f.t.f.get(len(seats) * f.m.Config.HiddenSize)
	f.m.cpu.GatherRows(y, stream, seats, f.m.Config.HiddenSize)
	return y
}

// block runs each row through layer j of its recursion.
func (f *Flow) block(j int, y []float32, seats []int32, idle int) {
	last, live := j == f.m.Config.BlockDepth()-1, len(seats)-idle
	f.groups = f.groups[:0]
	for lo := 0; lo < live; {
		hi, r := lo+1, f.Seats[seats[lo]].Next
		for hi < live && f.Seats[seats[hi]].Next == r {
			hi++
		}
		s := f.first + int(r)
		f.groups = append(f.groups, Group{s, &f.m.Plan.Segments[s].Layers[j], lo, hi, last, false})
		lo = hi
	}
	if idle > 0 {
		g := f.groups[len(f.groups)-1]
		g.Lo, g.Hi, g.Idle = live, len(seats), true
		f.groups = append(f.groups, g)
	}
	f.layer(y, seats)
}

// looped ends a recursion of rows and decides about the next one.
func (f *Flow) looped(y []float32, seats []int32) {
	f.add(y, seats)
	at := 0
	for i, s := range seats {
		if i > 0 && f.Seats[s].Next != f.Seats[seats[i-1]].Next {
			f.route(seats[at:i])
			at = i
		}
	}
	f.route(seats[at:])
}

// add puts what a recursion computed, y[n,d], where it belongs.
func (f *Flow) add(y []float32, seats []int32) {
	c, d := f.m.Config, f.m.Config.HiddenSize
	token, additive := c.Token(), c.Adaptive() && c.Router.Gating == "additive"
	f.gates, f.index = f.gates[:0], f.index[:0]
	kept := 0 // rows of y that are added, moved together
	for i, s := range seats {
		seat, row := &f.Seats[s], y[i*d:(i+1)*d]
		if !seat.picked {
			seat.Out = true
			continue
		}
		seat.Next++
		seat.Depth = seat.Next
		switch {
		case token && seat.choice >= seat.Next:
			copy(f.h[int(s)*d:], row)
			continue
		case !token && !c.Expert():
			copy(f.x[int(s)*d:], row)
			continue
		}
		gate := seat.gate
		if additive {
			gate = 1
		}
		f.gates, f.index = append(f.gates, gate), append(f.index, s)
		copy(y[kept*d:(kept+1)*d], row)
		kept++
		seat.Out = token
	}
	if additive && !token {
		f.m.cpu.ScatterAddRows(f.x, y[:kept*d], f.index, d)
		return
	}
	f.m.cpu.ScatterAddScaled(f.x, y[:kept*d], f.gates, f.index, d)
}

// route decides whether rows that arrive at one recursion go on.
func (f *Flow) route(seats []int32) {
	c := f.m.Config
	kept := f.t.i.get(len(seats))[:0]
	for _, s := range seats {
		seat := &f.Seats[s]
		if seat.Out = seat.Out || seat.Next >= seat.Limit; !seat.Out {
			kept = append(kept, s)
		}
	}
	if len(kept) == 0 {
		return
	}
	r := f.Seats[kept[0]].Next
	switch {
	case c.Expert():
		f.score(int(r), kept)
	case c.Adaptive() && !c.Token(): // fixed depth
		for _, s := range kept {
			_, frac := math.Modf(float64(f.Seats[s].Pos) * golden)
			f.Seats[s].picked = frac < c.Router.Capacity[r]
		}
	default:
		for _, s := range kept {
			f.Seats[s].picked = true
		}
		return
	}
	if c.KVSharing() && r == 0 { // later recursions of other tokens read everyone's keys
		return
	}
	for _, s := range kept {
		f.Seats[s].Out = !f.Seats[s].picked
	}
}

// score computes the expert-choice router of recursion r and picks the rows whose score passes.
func (f *Flow) score(r int, seats []int32) {
	m, c, d := f.m, f.m.Config, f.m.Config.HiddenSize
	in := f.t.f.get(len(seats) * d)
	m.cpu.GatherRows(in, f.x, seats, d)
	var rt, aux routerTape
	f.t.route(&rt, &m.Layout.routers[r], in, len(seats), c.Router.Temperature)
	decides := rt.logit
	if c.Router.Balancing == "aux_router" {
		f.t.route(&aux, &m.Layout.auxRouters[r], in, len(seats), 1)
		decides = aux.logit
	}
	cut := m.Cut(r, Mode{})
	for i, s := range seats {
		seat := &f.Seats[s]
		seat.gate, _ = c.Router.gateOf(rt.logit[i])
		f.Scores[int(s)*c.Recursions()+r] = decides[i]
		if c.Router.RandRouter {
			seat.picked = float64(drawn(0, r, seat.Pos, seat.Token)) < c.Router.share(r)
			continue
		}
		seat.picked = decides[i] > seat.Cut+cut
	}
}

// choose routes rows under token-choice, once, on the stream x[n,d] that enters the loop.
func (f *Flow) choose(x []float32, seats []int32) {
	m, router, n := f.m, f.m.Config.Router, f.m.Config.Recursions()
	var rt routerTape
	f.t.route(&rt, &m.Layout.routers[0], x, len(seats), router.Temperature)
	var bias []float32
	if router.Balancing == "loss_free" {
		bias = m.Layout.balanceBias.of(m.W)
	}
	p := f.t.f.get(n)
	for i, s := range seats {
		seat, logit := &f.Seats[s], rt.logit[i*n:(i+1)*n]
		copy(f.Scores[int(s)*n:], logit)
		router.weights(p, logit)
		seat.choice = min(int32(argmax(p, bias)), seat.Limit-1)
		seat.gate = p[seat.choice]
	}
}

// Leave runs rows through what comes behind the loop, and the final norm.
func (f *Flow) Leave(seats []int32) {
	x := f.leave(seats)
	for i := f.first + f.loop; i < len(f.m.Plan.Segments); i++ {
		f.segment(i, x, seats)
	}
	f.left(x, seats)
}

// leave returns the stream x[n,d] of rows that have left the loop.
func (f *Flow) leave(seats []int32) []float32 {
	f.t.f.reset()
	f.t.i.reset()
	x := f.t.f.get(len(seats) * f.m.Config.HiddenSize)
	f.m.cpu.GatherRows(x, f.x, seats, f.m.Config.HiddenSize)
	return x
}

// left ends rows with the final norm, for Logits.
func (f *Flow) left(x []float32, seats []int32) {
	c, d := f.m.Config, f.m.Config.HiddenSize
	rstd := f.t.f.get(len(seats))
	f.norm = f.t.f.get(len(seats) * d)
	f.m.cpu.RMSNorm(f.norm, rstd, x, f.m.Layout.norm.of(f.m.W), len(seats), d, float32(c.RMSNormEps))
}

// Logits computes logits[m, v] of the rows of the last Leave, or of a whole Walk, that rows lists.
func (f *Flow) Logits(logits []float32, rows []int32) {
	d, at := f.m.Config.HiddenSize, f.t.f.mark()
	in := f.t.f.get(len(rows) * d)
	f.m.cpu.GatherRows(in, f.norm, rows, d)
	f.m.linear(logits, operand{in, false}, f.m.Layout.head, len(rows), d, f.m.Config.VocabSize, false)
	f.t.f.release(at)
}

// put writes rows to their seats.
func (f *Flow) put(to, x []float32, seats []int32) {
	d := f.m.Config.HiddenSize
	for i, s := range seats {
		copy(to[int(s)*d:int(s+1)*d], x[i*d:(i+1)*d])
	}
}
