package infer

// What a pace aims at.
const (
	slowdown   = 1.7 // most times as long as a tick without prompts that one with prompts may take: less than twice, because times vary
	firstShare = 8   // prompt tokens that enter at first
	freshTicks = 64  // after so many ticks the time of one without prompts is measured again
)

// pace finds how many prompt tokens may enter a tick beside texts that decode, so that the time between the tokens of these at most doubles. It shows in times
// alone: what a text becomes does not depend on the parts in which its prompt is read.
type pace struct {
	plain float64 // seconds of a tick without prompts; 0: not seen yet
	texts int     // that decoded then
	ticks int     // with prompts since
	share float64 // prompt tokens that may enter
}

// rows is how many prompt tokens may enter beside so many texts that decode; 0 where a tick without prompts must be seen first.
func (p *pace) rows(texts int) int {
	if p.plain == 0 || p.ticks >= freshTicks || texts > 2*p.texts || 2*texts < p.texts {
		return 0
	}
	return int(p.share)
}

// saw tells how long a tick with so many texts that decode took, and whether rows of prompts were under way in it.
func (p *pace) saw(seconds float64, texts int, prompts bool) {
	switch {
	case !prompts && p.plain > 0 && p.texts == texts:
		p.plain += (seconds - p.plain) / 4
		p.ticks = 0
	case !prompts:
		p.plain, p.texts, p.ticks = seconds, texts, 0
	default:
		p.ticks++
		if seconds > slowdown*p.plain {
			p.share *= 0.9
		} else {
			p.share += 0.5
		}
		p.share = min(max(p.share, 1), 1<<20)
	}
}
