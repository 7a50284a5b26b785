package infer

import "testing"

// TestPace: on a machine whose ticks take a time for the weights and one for each row, prompts enter, and ticks become less than twice as long, whatever the
// number of texts that decode and while it changes.
func TestPace(t *testing.T) {
	for _, c := range []struct {
		name         string
		weights, row float64
		texts        func(tick int) int
	}{
		{"rows cost as much as weights", 1, 1, func(int) int { return 1 }},
		{"rows are cheap", 1, 0.01, func(int) int { return 4 }},
		{"many texts", 1, 0.1, func(int) int { return 32 }},
		{"texts come and go", 1, 0.1, func(tick int) int { return 1 + 31*(tick/200%2) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, read, slow := pace{share: firstShare}, 0, 0
			const ticks = 1000
			for i := range ticks {
				texts := c.texts(i)
				n := p.rows(texts)
				plain := c.weights + c.row*float64(texts)
				took := plain + c.row*float64(n)
				p.saw(took, texts, n > 0)
				if read += n; took > 2*plain && i%200 > 20 {
					slow++
				}
			}
			if read < ticks/2 {
				t.Errorf("%d prompt tokens in %d ticks: prompts starve", read, ticks)
			}
			if slow > ticks/50 && c.row < c.weights { // below one row nothing can enter
				t.Errorf("%d of %d ticks took more than twice as long", slow, ticks)
			}
		})
	}
}
