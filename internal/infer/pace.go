package infer

// What a pace aims at.
const (
	slowdown   = 1.6 // how many times as long as a tick without prompts one with prompts takes: less than twice, because times vary
	firstShare = 8   // prompt tokens that enter at first
	freshTicks = 64  // after so many ticks the time of one without prompts is measured again
	sightings  = 3   // ticks without prompts that tell their time at first
	step       = 1.05
)

// pace finds how many prompt tokens may enter a tick beside texts that decode, so that the time between the tokens of these at most doubles. It follows medians,
// by a small step up or down at each tick, so that a tick which something else delayed counts no more than others. It shows in times alone: what a text becomes
// does not depend on the parts in which its prompt is read.
type pace struct {
	plain float64 // seconds of a tick without prompts
	seen  int     // ticks that plain comes from, up to sightings
	texts int     // that decoded in them
	ticks int     // with prompts since
	share float64 // prompt tokens that may enter
}

// rows is how many prompt tokens may enter beside so many texts that decode; 0 where a tick without prompts must be seen first.
func (p *pace) rows(texts int) int {
	if p.seen < sightings || p.ticks >= freshTicks || p.other(texts) {
		return 0
	}
	return int(p.share)
}

// saw tells how long a tick with so many texts that decode took, and whether rows of prompts were under way in it.
func (p *pace) saw(seconds float64, texts int, prompts bool) {
	if prompts {
		p.ticks++
		p.share = min(max(towards(p.share, slowdown*p.plain > seconds), 1), 1<<20)
		return
	}
	p.ticks = 0
	switch {
	case p.seen == 0 || p.other(texts):
		p.plain, p.texts, p.seen = seconds, texts, 1
	case p.seen < sightings:
		p.plain = min(p.plain, seconds)
		p.seen++
	default:
		p.plain, p.texts = towards(p.plain, seconds > p.plain), texts
	}
}

// other tells whether so many texts take another time than those that were seen.
func (p *pace) other(texts int) bool { return texts > 2*p.texts || 2*texts < p.texts }

// towards is a value one step up or down.
func towards(v float64, up bool) float64 {
	if up {
		return v * step
	}
	return v / step
}
