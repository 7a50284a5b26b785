package infer

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// outlet lets tokens out once their text cannot be part of a stop string any more, however tokens and characters cut it. A stop string
// ends the text where its last character comes, and takes everything from its first character on with it.
type outlet struct {
	stop     []string
	held     []Token // not let out yet
	stopping bool    // stop strings are in force; before, they are text
	text     []byte  // their text
	out      []Token // ready to be delivered; the caller empties it
}

// validateStop refuses stop strings that cannot occur.
func validateStop(stop []string) error {
	for i, s := range stop {
		if s == "" {
			return &OptionError{Name: fmt.Sprintf("stop[%d]", i), Found: "empty", Expected: "the text to stop at"}
		}
		if !utf8.ValidString(s) {
			return &OptionError{Name: fmt.Sprintf("stop[%d]", i), Found: fmt.Sprintf("%q", s), Expected: "valid UTF-8"}
		}
	}
	return nil
}

func (o *outlet) reset(stop []string) {
	o.stop, o.held, o.text, o.out, o.stopping = stop, o.held[:0], o.text[:0], o.out[:0], true
}

// add takes a token. It returns the stop string that the text has reached, if any. keep tells that the token's last bytes are still to come, as
// they are the beginning of a character: then the token stays.
func (o *outlet) add(t Token, keep bool) (stop string, stopped bool) {
	o.out = o.out[:0]
	before := len(o.text)
	o.held, o.text = append(o.held, t), append(o.text, t.Text...)
	for end := before + 1; end <= len(o.text) && o.stopping; end++ {
		if at, stop := o.match(o.text[:end]); at >= 0 {
			o.release(at, true)
			return stop, true
		}
	}
	at := 0
	for at < len(o.text) && !o.begins(o.text[at:]) {
		at++
	}
	o.release(at, false)
	if keep && len(o.held) == 0 {
		o.held, o.text = append(o.held, t), append(o.text, t.Text...)
		o.out = o.out[:len(o.out)-1]
	}
	return "", false
}

// match finds the longest stop string that the text ends with and returns where it begins, or -1.
func (o *outlet) match(text []byte) (at int, stop string) {
	at = -1
	for _, s := range o.stop {
		if len(s) > len(stop) && len(s) <= len(text) && string(text[len(text)-len(s):]) == s {
			at, stop = len(text)-len(s), s
		}
	}
	return at, stop
}

// begins tells whether a stop string may begin with the text.
func (o *outlet) begins(text []byte) bool {
	for _, s := range o.stop {
		if len(s) >= len(text) && s[:len(text)] == string(text) {
			return true
		}
	}
	return false
}

// release lets out the tokens whose text ends at or before at. With cut, the text ends there: so does that of the token that at falls into,
// and the tokens behind it are dropped.
func (o *outlet) release(at int, cut bool) {
	n, used := 0, 0
	for n < len(o.held) && used+len(o.held[n].Text) <= at && !(cut && used == at) {
		used += len(o.held[n].Text)
		n++
	}
	if cut && used < at {
		o.held[n].Text = strings.Clone(o.held[n].Text[:at-used])
		used = at
		n++
	}
	o.out = append(o.out, o.held[:n]...)
	if cut {
		n, used = len(o.held), len(o.text)
	}
	o.held = o.held[:copy(o.held, o.held[n:])]
	o.text = o.text[:copy(o.text, o.text[used:])]
}

// finish lets out everything; rest is the text of a character that was never completed.
func (o *outlet) finish(rest string) {
	o.release(len(o.text), false)
	if rest != "" && len(o.out) > 0 {
		o.out[len(o.out)-1].Text += rest
	}
}
