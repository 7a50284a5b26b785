package infer

import (
	"time"

	"mor/internal/model"
)

const (
	slowdown  = 1.7 // how many times as long as a tick without a longer text one with it takes: less than twice, because times vary
	asideRows = 128 // most rows that are read aside together; the fewest are a sixteenth
)

// aside reads longer texts beside those that decode: rows of one text at a time, and of these as many layers a tick as leave the time between the tokens of the
// others below twice what it is. So many rows are read at once that it costs little more than reading alone, and still no tick waits for more than a layer of them.
// It shows in times alone: what a text becomes does not depend on the parts in which it is read.
type aside struct {
	walk *model.Walk
	text *Sequence     // whose rows are under way; nil: none
	rows int           // that are taken next
	took time.Duration // by the layers of these rows so far
	done int           // layers
}

// beginAside lets rows of the first longer text in, where none is under way.
func (e *Engine) beginAside(budget int) {
	a := &e.aside
	for i := 0; i < len(e.running) && a.text == nil && budget > 0; i++ {
		q := e.running[i]
		if !q.reading() || !e.long(q) {
			continue
		}
		if n := min(q.left(), a.rows, budget); n > 0 && e.take(q, n) {
			a.text, a.took, a.done = q, 0, 0
			a.walk.Begin(q.chunk)
		}
	}
}

// long tells whether a text that is read is read aside where others decode.
func (e *Engine) long(q *Sequence) bool { return len(q.tokens) > e.o.LongPrefill }

// together yields the sequences whose rows go through the passes that all share: those that are not read aside.
func (e *Engine) together(yield func(*Sequence) bool) {
	for _, q := range e.running {
		if q != e.aside.text && !yield(q) {
			return
		}
	}
}

// readAside takes the rows through layers for as long as the tick, which took some time so far, bears; to the end where nothing else decodes.
func (e *Engine) readAside(tick time.Duration) {
	a := &e.aside
	if a.text == nil {
		return
	}
	spare, spent := time.Duration((slowdown-1)*float64(tick)), time.Duration(0)
	for over := false; !over; {
		started := time.Now()
		over = a.walk.Step()
		took := time.Since(started)
		spent += took
		a.took, a.done = a.took+took, a.done+1
		if !over && e.decoding > 0 && spent+took > spare {
			return
		}
	}
	if e.decoding > 0 {
		a.rows = rowsAside(a.rows, a.took/time.Duration(a.done), spare)
	}
	e.leaveAside()
}

// rowsAside is how many rows are taken next where a layer of so many takes some time and a tick has some to spare.
func rowsAside(rows int, layer, spare time.Duration) int {
	switch {
	case layer > spare:
		return max(rows/2, asideRows/16)
	case 4*layer < spare:
		return min(2*rows, asideRows)
	}
	return rows
}

// leaveAside ends the rows, and draws where they are the text's last.
func (e *Engine) leaveAside() {
	q := e.aside.text
	e.count.ReadAside += uint64(len(q.chunk))
	e.aside.text, e.from, e.draws = nil, e.aside.walk.Flow, e.draws[:0]
	e.left(q, 0)
	if len(e.draws) > 0 {
		e.draw()
	}
}
