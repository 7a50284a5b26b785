package corpus

import (
	"fmt"
	"math/bits"
)

// Position is where a Loader stands: with the same shard and window length it continues exactly there.
type Position struct {
	Seed  uint64 `json:"seed"`
	Epoch int64  `json:"epoch"`
	Index int64  `json:"index"` // windows of this epoch already given
}

// Loader gives windows of t+1 tokens from a shard in random order, forever. In every epoch the shard is cut at another
// offset and every window is given once, in an order that only the seed and the epoch decide.
type Loader struct {
	shard  *Shard
	t      int64
	pos    Position
	offset int64 // of the epoch's first window
	count  int64 // windows of the epoch
	perm   permutation
}

// NewLoader returns a Loader of windows of t inputs that continues at pos; Position{Seed: seed} is the beginning. The shard
// must have at least one batch of batch windows.
func NewLoader(s *Shard, t, batch int, pos Position) (*Loader, error) {
	if t < 1 || batch < 1 {
		return nil, fmt.Errorf("training text: batch of %d×%d tokens: both must be at least 1", batch, t)
	}
	hi, need := bits.Mul64(uint64(batch)+1, uint64(t))
	if hi != 0 || uint64(s.Tokens) < need-1 {
		return nil, fmt.Errorf("training text: %d tokens are too few for one batch of %d×%d tokens, which needs %d: name more text with --data, or choose a smaller batch or a shorter context",
			s.Tokens, batch, t, need-1)
	}
	l := &Loader{shard: s, t: int64(t), pos: pos}
	l.startEpoch()
	if pos.Epoch < 0 || pos.Index < 0 || pos.Index > l.count {
		return nil, fmt.Errorf("training text: position epoch %d, index %d: expected an index of 0 to %d: the text or the context is not the one that was trained on",
			pos.Epoch, pos.Index, l.count)
	}
	return l, nil
}

// Position returns where the next window will be taken.
func (l *Loader) Position() Position { return l.pos }

func (l *Loader) startEpoch() {
	key := mix(l.pos.Seed ^ mix(uint64(l.pos.Epoch)+1))
	l.offset = int64(mix(key) % uint64(l.t))
	l.count = (l.shard.Tokens - l.offset) / l.t
	l.perm = newPermutation(key, uint64(l.count))
}

// Next fills tokens and targets, both [b·t] for any b, with b windows, one after the other; targets[i] follows tokens[i]. It appends to
// starts the rows at which a document begins or goes on after a cut: every window's first row, and the first row of every further document
// inside it. How many windows are asked for at once makes no difference to the stream.
func (l *Loader) Next(tokens, targets, starts []int32) []int32 {
	t := int(l.t)
	for row := 0; row < len(tokens); row += t {
		if l.pos.Index == l.count {
			l.pos.Epoch, l.pos.Index = l.pos.Epoch+1, 0
			l.startEpoch()
		}
		at := l.offset + int64(l.perm.at(uint64(l.pos.Index)))*l.t
		l.pos.Index++
		l.shard.window(tokens[row:row+t], targets[row:row+t], at)
		starts = l.shard.starts(starts, at, t, row)
	}
	return starts
}

// window fills tokens and targets from position at, where position 0 is the end-of-text token before the first one.
func (s *Shard) window(tokens, targets []int32, at int64) {
	last := s.EOT
	if at > 0 {
		last = s.token(at - 1)
	}
	for i := range tokens {
		tokens[i] = last
		last = s.token(at + int64(i))
		targets[i] = last
	}
}

// starts appends row, and row+i for every document that begins at position at+i, 0 < i < n.
func (s *Shard) starts(dst []int32, at int64, n, row int) []int32 {
	dst = append(dst, int32(row))
	lo, hi := int64(0), s.Documents // the first document that begins, at position start+1, after at
	for lo < hi {
		mid := (lo + hi) / 2
		if start, _ := s.document(mid); start+1 > at {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	for ; lo < s.Documents; lo++ {
		start, _ := s.document(lo)
		i := start + 1 - at
		if i >= int64(n) {
			break
		}
		dst = append(dst, int32(row)+int32(i))
	}
	return dst
}

// Windows gives a shard from its beginning, every token as a target exactly once.
type Windows struct {
	shard *Shard
	t     int64
	at    int64
	end   int64
	text  int64
}

// NewWindows returns the windows of t inputs over the first documents of the shard with at most maxBytes of text, but at least
// one document; 0 means all.
func NewWindows(s *Shard, t int, maxBytes int64) (*Windows, error) {
	if t < 1 || maxBytes < 0 {
		return nil, fmt.Errorf("held-out text: windows of %d tokens over %d bytes: expected at least 1 and 0", t, maxBytes)
	}
	n := s.Documents
	if maxBytes > 0 {
		for n = 1; n < s.Documents; n++ {
			if _, text := s.document(n + 1); text > maxBytes {
				break
			}
		}
	}
	w := &Windows{shard: s, t: int64(t)}
	w.end, w.text = s.document(min(n, s.Documents))
	return w, nil
}

// Tokens returns how many targets there are in all.
func (w *Windows) Tokens() int64 { return w.end }

// Bytes returns how many bytes of text all targets stand for.
func (w *Windows) Bytes() int64 { return w.text }

// Next fills tokens and targets, both [b·t], with up to b windows and returns the number of rows; 0 means the end. Windows begin at
// multiples of t; only the last of all may be shorter. starts is what Loader.Next appends to it.
func (w *Windows) Next(tokens, targets, starts []int32) (rows int, _ []int32) {
	for rows < len(tokens) && w.at < w.end {
		n := int(min(w.t, w.end-w.at))
		w.shard.window(tokens[rows:rows+n], targets[rows:rows+n], w.at)
		starts = w.shard.starts(starts, w.at, n, rows)
		w.at += int64(n)
		rows += n
	}
	return rows, starts
}

// permutation is a keyed bijection of 0 to n-1: a Feistel network on the next even power of two, walked until it lands below n
// (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
type permutation struct {
	n    uint64
	half uint // bits of either half
	keys [6]uint64
}

func newPermutation(key, n uint64) permutation {
	p := permutation{n: n, half: max(1, uint(bits.Len64(n-1)+1)/2)}
	for i := range p.keys {
		key = mix(key + 1)
		p.keys[i] = key
	}
	return p
}

func (p *permutation) at(i uint64) uint64 {
	mask := uint64(1)<<p.half - 1
	for {
		l, r := i>>p.half, i&mask
		for _, k := range p.keys {
			l, r = r, l^mix(r^k)&mask
		}
		if i = l<<p.half | r; i < p.n {
			return i
		}
	}
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, 2014) on its next state.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
