package main

import (
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far long work is, on standard error: a bar on a terminal, nothing elsewhere, where the lines around it tell enough.
type progress struct {
	bar   *progressbar.ProgressBar
	stage string
	said  time.Time // of the last plain line
}

// sayEvery is how often long work writes a plain line where there is no terminal.
const sayEvery = 30 * time.Second

// say is set for work that prints nothing until its end: elsewhere than on a terminal it writes a line now and then.
func (p *progress) say(stage string, done, total int64) {
	if term.IsTerminal(int(os.Stderr.Fd())) {
		p.set(stage, done, total, false)
		return
	}
	if p.stage != stage {
		p.stage, p.said = stage, time.Now()
	}
	if time.Since(p.said) >= sayEvery {
		fmt.Fprintf(os.Stderr, "%s: %s of %s\n", stage, group(done), group(total))
		p.said = time.Now()
	}
}

// set moves the bar of a stage; another stage starts another bar.
func (p *progress) set(stage string, done, total int64, bytes bool) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return
	}
	if p.bar == nil || p.stage != stage {
		p.finish()
		p.stage = stage
		p.bar = progressbar.NewOptions64(total, progressbar.OptionSetDescription(fmt.Sprintf("%-10s", stage)), progressbar.OptionSetWriter(os.Stderr),
			progressbar.OptionShowBytes(bytes), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
	}
	_ = p.bar.Set64(done) // a bar that cannot be drawn is no reason to stop
}

// finish removes the bar.
func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
		p.bar = nil
	}
}

// formatSize writes a number of bytes.
func formatSize(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d bytes", n)
}

// group writes a whole number with commas.
func group[T int | int32 | int64](n T) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// short writes a large number with a unit: 12.3M.
func short(x float64) string {
	for _, u := range []struct {
		above float64
		unit  string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if x >= u.above {
			return fmt.Sprintf("%.3g%s", x/u.above, u.unit)
		}
	}
	return fmt.Sprintf("%.3g", x)
}
