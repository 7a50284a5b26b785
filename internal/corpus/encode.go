package corpus

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
)

// batchBytes is the text that travels together from the reader to a worker and to the writer.
const batchBytes = 256 << 10

// batch is some consecutive documents on their way.
type batch struct {
	docs []batchDoc
	text []byte
	ids  []int32
	done int64         // bytes of files read so far
	made chan struct{} // a value arrives once ids and keys are there
}

type batchDoc struct {
	name    string
	part    int
	more    bool
	textEnd int
	idsEnd  int
	split   uint64
	sample  uint64
}

// pipeline reads in one goroutine, encodes in several and writes in one, in the order of reading.
type pipeline struct {
	opt   Options
	enc   Encoder
	held  uint64 // documents with a split key below it are held out
	free  chan *batch
	work  chan *batch
	order chan *batch
	total int64

	train *shardWriter
	open  bool // the last training document goes on
	valid *picker
	seq   int64
}

// encodeAll writes the shards and the held-out text into dir and completes the manifest.
func encodeAll(ctx context.Context, opt Options, enc Encoder, files []file, sums [][sha256.Size]byte, m *Manifest, dir string) error {
	held, err := heldOutBelow(ctx, opt)
	if err != nil {
		return err
	}
	train, err := createShard(filepath.Join(dir, trainName), enc)
	if err != nil {
		return fmt.Errorf("token cache: %w", err)
	}
	defer train.abandon()
	workers := opt.workers()
	n := 2*workers + 2
	p := &pipeline{
		opt: opt, enc: enc, held: held, total: totalSize(files), train: train, valid: newPicker(opt.validMax()),
		free: make(chan *batch, n), work: make(chan *batch, n), order: make(chan *batch, n),
	}
	for range n {
		p.free <- &batch{made: make(chan struct{}, 1)}
	}
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return p.read(running, files, sums, &m.LeftOut) })
	for range workers {
		g.Go(func() error { return p.encode(running) })
	}
	g.Go(func() error { return p.write(running) })
	if err := cmp.Or(g.Wait(), ctx.Err()); err != nil {
		return err
	}
	return p.finish(m, dir)
}

// read fills batches with documents; left begins with what the listing left out.
func (p *pipeline) read(ctx context.Context, files []file, sums [][sha256.Size]byte, left *LeftOut) error {
	defer close(p.work)
	defer close(p.order)
	var b *batch
	send := func(done int64) {
		b.done = done
		p.work <- b // never full: there are only as many batches as it holds
		p.order <- b
		b = nil
	}
	var r *reader
	r = newReader(ctx, p.opt.Sources, files, *left, func(d Document) error {
		if b == nil {
			select {
			case b = <-p.free:
				b.docs, b.text, b.ids = b.docs[:0], b.text[:0], b.ids[:0]
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		b.text = append(b.text, d.Text...)
		b.docs = append(b.docs, batchDoc{name: d.Name, part: d.Part, more: d.More, textEnd: len(b.text)})
		if len(b.text) >= batchBytes {
			send(r.done)
		}
		return nil
	})
	err := r.all(files, sums)
	if err != nil && err != errStop {
		return err
	}
	if b != nil {
		send(r.done)
	}
	*left = r.left
	return nil
}

// encode turns batches into tokens.
func (p *pipeline) encode(ctx context.Context) error {
	for b := range p.work {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		start, ids := 0, 0
		for i := range b.docs {
			d := &b.docs[i]
			text := b.text[start:d.textEnd]
			b.ids = p.enc.Append(b.ids, text)
			for _, id := range b.ids[ids:] {
				if id < 0 || int(id) >= p.enc.VocabSize {
					return fmt.Errorf("tokenizer: token %d for %q: expected 0 to %d", id, d.name, p.enc.VocabSize-1)
				}
			}
			d.split, d.sample = keys(text)
			d.idsEnd = len(b.ids)
			start, ids = d.textEnd, d.idsEnd
		}
		b.made <- struct{}{}
	}
	return nil
}

// write puts the documents where they belong, in the order of reading.
func (p *pipeline) write(ctx context.Context) error {
	progress := Progress{Stage: "encode", Total: p.total}
	for b := range p.order {
		select {
		case <-b.made:
		case <-ctx.Done():
			return ctx.Err()
		}
		text, ids := 0, 0
		for _, d := range b.docs {
			if err := p.put(d, b.text[text:d.textEnd], b.ids[ids:d.idsEnd]); err != nil {
				return fmt.Errorf("token cache: %w", err)
			}
			text, ids = d.textEnd, d.idsEnd
			if !d.more {
				progress.Documents++
			}
		}
		progress.Done = b.done
		p.opt.progress(progress)
		p.free <- b
	}
	return nil
}

// put writes one document or part: parts of one text stay one training document as long as none between them is held out.
func (p *pipeline) put(d batchDoc, text []byte, ids []int32) error {
	p.seq++
	if d.split < p.held {
		p.valid.add(d.sample, p.seq, text, ids)
		return p.closeDocument()
	}
	if d.part == 0 {
		if err := p.closeDocument(); err != nil {
			return err
		}
	}
	if !p.open {
		p.train.begin()
		p.open = true
	}
	if err := p.train.add(ids, len(text)); err != nil {
		return err
	}
	if d.more {
		return nil
	}
	return p.closeDocument()
}

func (p *pipeline) closeDocument() error {
	if !p.open {
		return nil
	}
	p.open = false
	return p.train.end()
}

// finish completes both shards and the held-out text.
func (p *pipeline) finish(m *Manifest, dir string) error {
	if p.train.info.Documents == 0 && !p.open {
		return errAllHeldOut(p.opt)
	}
	err := p.closeDocument()
	if err == nil {
		m.Train, err = finishShard(p.train)
	}
	if err == nil && p.held > 0 {
		err = p.finishValid(m, dir)
	}
	if err != nil {
		return fmt.Errorf("token cache: %w", err)
	}
	return nil
}

// finishValid writes the held-out documents by key, and their text as it was read.
func (p *pipeline) finishValid(m *Manifest, dir string) error {
	p.valid.trim()
	w, err := createShard(filepath.Join(dir, validName), p.enc)
	if err != nil {
		return err
	}
	defer w.abandon()
	for _, it := range p.valid.items {
		w.begin()
		if err := errors.Join(w.add(it.ids, len(it.text)), w.end()); err != nil {
			return err
		}
	}
	valid, err := finishShard(w)
	if err != nil {
		return err
	}
	slices.SortFunc(p.valid.items, func(a, b picked) int { return cmp.Compare(a.seq, b.seq) })
	text, err := writeText(filepath.Join(dir, textName), p.valid.items)
	m.Valid, m.ValidText, m.Unused = &valid, &text, p.valid.dropped
	return err
}

func finishShard(w *shardWriter) (ShardFile, error) {
	sum, err := w.finish()
	return ShardFile{w.info.Tokens, w.info.Bytes, w.info.Documents, hex.EncodeToString(sum[:])}, err
}

func writeText(path string, items []picked) (TextFile, error) {
	f, err := os.Create(path)
	if err != nil {
		return TextFile{}, err
	}
	h, w, size := sha256.New(), bufio.NewWriter(f), int64(0)
	for _, it := range items {
		h.Write(it.text)
		w.Write(it.text)
		size += int64(len(it.text))
	}
	return TextFile{size, hex.EncodeToString(h.Sum(nil))}, errors.Join(w.Flush(), f.Sync(), f.Close())
}
