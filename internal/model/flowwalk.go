package model

// Walk takes a flow's rows through the whole model by itself, a layer at a time, while the flow goes on with others. What it computes for a row is what
// Enter, Loop and Leave compute. Logits has the rows in the order of Begin.
type Walk struct {
	*Flow  // with the seats of the other flow, and memory of its own
	seats  []int32
	live   []int32 // of the phase
	x      []float32
	phase  int // entering, then the recursions, then leaving
	layer  int // of the phase
	before int // layers before the loop
	behind int
}

// Walk returns a walk for rows that have seats in f.
func (f *Flow) Walk() *Walk {
	w := &Walk{Flow: &Flow{m: f.m, t: f.m.newFlowTape(), attend: f.attend, Seats: f.Seats, Scores: f.Scores, x: f.x, h: f.h, first: f.first, loop: f.loop}}
	for i, s := range f.m.Plan.Segments {
		if i < f.first {
			w.before += len(s.Layers)
		} else if i >= f.first+f.loop {
			w.behind += len(s.Layers)
		}
	}
	return w
}

// Begin has rows of one sequence, ascending, start. A walk that was under way is forgotten.
func (w *Walk) Begin(seats []int32) {
	w.seats, w.phase, w.layer = append(w.seats[:0], seats...), 0, 0
	w.open()
}

// Step runs one layer. It returns whether the rows have come to the end.
func (w *Walk) Step() bool {
	if w.layer < w.layers() {
		switch {
		case w.phase == 0:
			w.step(0)
		case w.phase > w.loop:
			w.step(w.first + w.loop)
		default:
			w.block(w.layer, w.x, w.live, 0)
		}
		w.layer++
	}
	for w.layer == w.layers() { // the phase is over, or no row goes through it
		if w.phase > w.loop {
			w.left(w.x, w.live)
			return true
		}
		w.next()
	}
	return false
}

// step runs the layer outside the loop that is counted from a segment on.
func (w *Walk) step(segment int) {
	j := w.layer
	for j >= len(w.m.Plan.Segments[segment].Layers) {
		j -= len(w.m.Plan.Segments[segment].Layers)
		segment++
	}
	w.outside(segment, j, w.x, w.live)
}

// layers is how many the phase has.
func (w *Walk) layers() int {
	switch {
	case w.phase == 0:
		return w.before
	case w.phase > w.loop:
		return w.behind
	case len(w.live) == 0:
		return 0
	}
	return w.m.Config.BlockDepth()
}

// next ends a phase other than the last one and opens the next.
func (w *Walk) next() {
	if w.phase == 0 {
		w.entered(w.x, w.live)
	} else if len(w.live) > 0 {
		w.looped(w.x, w.live)
	}
	w.phase, w.layer = w.phase+1, 0
	w.open()
}

// open finds the rows of the phase, and what they begin with.
func (w *Walk) open() {
	w.live = w.live[:0]
	for _, s := range w.seats {
		if w.phase == 0 || w.phase > w.loop || !w.Seats[s].Out {
			w.live = append(w.live, s)
		}
	}
	switch {
	case w.phase == 0:
		w.x = w.enter(w.live)
	case w.phase > w.loop:
		w.x = w.leave(w.live)
	case len(w.live) > 0:
		w.x = w.arrive(w.live)
	}
}
