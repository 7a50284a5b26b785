package corpus

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// keys returns two independent hashes of a text: the first decides whether it is held out, the second whether it is sampled.
// Both depend on nothing but the text, so copies of a document always share their fate.
func keys(text []byte) (split, sample uint64) {
	sum := sha256.Sum256(text)
	return binary.LittleEndian.Uint64(sum[:]), binary.LittleEndian.Uint64(sum[8:])
}

// heldOutBelow returns the bound under which a document's split key holds it out: fraction of all keys, or, where no document of
// the sources lies there, just above the smallest key, so that even a small corpus has held-out text.
func heldOutBelow(ctx context.Context, opt Options) (uint64, error) {
	if opt.ValidFraction == 0 {
		return 0, nil
	}
	bound := uint64(math.Ldexp(opt.ValidFraction, 64))
	least, other := uint64(math.MaxUint64), false
	for d, err := range Documents(ctx, opt.Sources) {
		if err != nil {
			return 0, err
		}
		k, _ := keys(d.Text)
		if k < bound {
			return bound, nil
		}
		other = other || least != math.MaxUint64 && k != least
		least = min(least, k)
	}
	if !other {
		return 0, fmt.Errorf("data %s: the only text is too short to hold part of it out: name more text with --data", quoted(opt.Paths))
	}
	return least + 1, nil
}

// picked is a document chosen by its key.
type picked struct {
	key  uint64
	seq  int64 // number of the document in reading order
	text []byte
	ids  []int32
}

// picker keeps the documents with the smallest keys that fit into max bytes together: a choice spread over the whole corpus
// that does not depend on the order of reading.
type picker struct {
	max     int64
	bytes   int64
	items   []picked
	bound   uint64 // keys above it no longer fit
	dropped int64
}

func newPicker(max int64) *picker { return &picker{max: max, bound: math.MaxUint64} }

// add offers a document; it copies what it keeps.
func (p *picker) add(key uint64, seq int64, text []byte, ids []int32) {
	if key > p.bound {
		p.dropped++
		return
	}
	p.items = append(p.items, picked{key, seq, slices.Clone(text), slices.Clone(ids)})
	if p.bytes += int64(len(text)); p.bytes > 2*p.max {
		p.trim()
	}
}

// trim sorts the documents by key and drops those that do not fit; the first one always stays.
func (p *picker) trim() {
	slices.SortFunc(p.items, func(a, b picked) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.seq, b.seq)) })
	p.bytes = 0
	for i, it := range p.items {
		if i > 0 && p.bytes+int64(len(it.text)) > p.max {
			p.bound = it.key
			p.dropped += int64(len(p.items) - i)
			clear(p.items[i:])
			p.items = p.items[:i]
			return
		}
		p.bytes += int64(len(it.text))
	}
}

// Sample returns up to maxBytes of training documents, spread over the whole corpus, for training a tokenizer. It reads all
// the sources, needs up to 2·maxBytes of memory, and never returns a held-out document.
func Sample(ctx context.Context, opt Options, maxBytes int64) ([][]byte, error) {
	if err := opt.check(); err != nil {
		return nil, err
	}
	if maxBytes < 1 {
		return nil, fmt.Errorf("data: sample of %d bytes: must be at least 1", maxBytes)
	}
	held, err := heldOutBelow(ctx, opt)
	if err != nil {
		return nil, err
	}
	p, seq := newPicker(maxBytes), int64(0)
	for d, err := range Documents(ctx, opt.Sources) {
		if err != nil {
			return nil, err
		}
		if split, sample := keys(d.Text); split >= held {
			p.add(sample, seq, d.Text, nil)
		}
		seq++
	}
	p.trim()
	if len(p.items) == 0 {
		return nil, errAllHeldOut(opt)
	}
	texts := make([][]byte, len(p.items))
	for i, it := range p.items {
		texts[i] = it.text
	}
	return texts, nil
}

func errAllHeldOut(opt Options) error {
	return fmt.Errorf("data %s: a held-out fraction of %v leaves no text to train on: lower it or name more text with --data",
		quoted(opt.Paths), opt.ValidFraction)
}
