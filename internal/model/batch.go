package model

import (
	"fmt"

	"mor/internal/kernel"
)

// Batch is rows: the tokens of some sequences, one behind the other, without padding.
type Batch struct {
	Tokens    []int32 // [n]
	Targets   []int32 // [n] the token to predict, −1 for none; nil where no loss is wanted
	Positions []int32 // [n] position of each row in its sequence
	Starts    []int32 // [sequences+1] first row of each sequence, and n
	Docs      []int32 // first rows of the documents, ascending, when attention stays inside a document; otherwise nil
}

// NewBatch returns a batch of sequences that start at position 0.
func NewBatch(sequences ...[]int32) *Batch {
	b := &Batch{Starts: []int32{0}}
	for _, s := range sequences {
		for i, tok := range s {
			b.Tokens = append(b.Tokens, tok)
			b.Positions = append(b.Positions, int32(i))
		}
		b.Starts = append(b.Starts, int32(len(b.Tokens)))
	}
	return b
}

// Rows returns n.
func (b *Batch) Rows() int { return len(b.Tokens) }

// Sequences returns how many sequences the batch has.
func (b *Batch) Sequences() int { return len(b.Starts) - 1 }

// check refuses what the kernels would read beyond their bounds.
func (b *Batch) check(c *Config) error {
	n := len(b.Tokens)
	if n == 0 || len(b.Positions) != n || b.Targets != nil && len(b.Targets) != n || len(b.Starts) < 2 || b.Starts[0] != 0 || int(b.Starts[len(b.Starts)-1]) != n {
		return fmt.Errorf("batch: %d tokens, %d positions, %d targets, bounds %v: they do not describe the same rows", n, len(b.Positions), len(b.Targets), b.Starts)
	}
	for i := 1; i < len(b.Starts); i++ {
		if b.Starts[i] <= b.Starts[i-1] {
			return fmt.Errorf("batch: sequence %d is empty", i-1)
		}
	}
	for i, tok := range b.Tokens {
		if tok < 0 || int(tok) >= c.VocabSize {
			return fmt.Errorf("batch: token %d at row %d: expected 0 to %d; is this the model's tokenizer?", tok, i, c.VocabSize-1)
		}
		if p := b.Positions[i]; p < 0 || int(p) >= c.MaxPositionEmbeddings {
			return fmt.Errorf("batch: position %d: the model was made for %d (max_position_embeddings); shorten the text", p, c.MaxPositionEmbeddings)
		}
	}
	for i, tok := range b.Targets {
		if int(tok) >= c.VocabSize {
			return fmt.Errorf("batch: target %d at row %d: expected at most %d", tok, i, c.VocabSize-1)
		}
	}
	return nil
}

// Rows is a set of rows of a batch, ascending, that run some layers together.
type Rows struct {
	Index  []int32      // [m] the row of the batch
	Pos    []int32      // [m] its position in its sequence
	Starts []int32      // [sequences+1] bounds of the sequences in this set
	Span   kernel.Range // the rows of this set that each row may attend to: its own sequence (or document), up to itself
}

// everyone fills rs with all rows of the batch, and first with the first row that each may attend to.
func everyone(rs *Rows, first []int32, b *Batch) {
	doc, seq, start := 0, 0, int32(0)
	for i := range rs.Index {
		row := int32(i)
		for doc < len(b.Docs) && b.Docs[doc] <= row {
			start = max(start, b.Docs[doc])
			doc++
		}
		for seq < len(b.Starts)-1 && b.Starts[seq] <= row {
			start = max(start, b.Starts[seq])
			seq++
		}
		first[i], rs.Index[i], rs.Pos[i] = start, row, b.Positions[i]
		rs.Span.Lo[i], rs.Span.Hi[i] = start, row+1
	}
	copy(rs.Starts, b.Starts)
}

// subset fills rs with the members of parent that chosen lists (ascending indices into parent).
func subset(rs, parent *Rows, chosen, first []int32) {
	seq := 0
	for i, c := range chosen {
		for ; parent.Starts[seq] <= c; seq++ {
			rs.Starts[seq] = int32(i)
		}
		row := parent.Index[c]
		rs.Index[i], rs.Pos[i] = row, parent.Pos[c]
		lo := int32(i)
		if i > 0 && first[rs.Index[i-1]] == first[row] {
			lo = rs.Span.Lo[i-1]
		}
		rs.Span.Lo[i], rs.Span.Hi[i] = lo, int32(i+1)
	}
	for ; seq < len(rs.Starts); seq++ {
		rs.Starts[seq] = int32(len(chosen))
	}
}
