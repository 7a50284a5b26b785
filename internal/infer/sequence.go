package infer

import (
	"mor/internal/grammar"
	"mor/internal/model"
)

// Sequence is one text in the making: its tokens, what the model has computed of them, and the rows that are under way.
type Sequence struct {
	writer
	id     int32
	tokens []int32   // the prompt's and those that were drawn
	done   int       // tokens that have gone through the whole model
	depth  []int32   // [done] recursions that each took
	lead   *Sequence // its prompt is this one's, whose pages it gets; nil once it has them

	limit  int32 // of recursions
	full   int32 // the same outside drafts
	cut    float32
	tables [][]int32   // by slot of the cache: its pages
	count  []int32     // by segment: entries
	seen   []int32     // by segment: entries up to the token that is counted
	scores [][]float32 // router scores of the last tokens that were computed
	row    int32       // of the pass that left the model: the first whose logits are drawn from
	at     int         // of e.logits: the row that is drawn from
	spec   speculation
	prefix *prefix // the last of the blocks that are remembered
	blocks int

	chunk  []int32 // seats of the tokens [done, done+len) that are under way
	prompt []Token // with what is known about them
	over   bool    // the grammar lets nothing follow
	ended  bool
	failed error
}

// newSequence returns a sequence of a stream's request that holds nothing.
func (e *Engine) newSequence(s *Stream, index int) *Sequence {
	e.ids++
	q := &Sequence{id: e.ids, tables: make([][]int32, len(e.cache.slots)), count: make([]int32, len(e.m.Plan.Segments)), seen: make([]int32, len(e.m.Plan.Segments))}
	r := &s.request
	q.stream, q.index, q.decoder, q.place = s, index, e.tok.NewDecoder(), grammar.Start
	q.tokens = append(make([]int32, 0, len(r.Prompt)+min(max(r.MaxTokens, 64), 1024)), r.Prompt...)
	q.depth = make([]int32, 0, cap(q.tokens))
	q.decoder.Follow(r.Prompt)
	q.outlet.reset(r.Stop)
	mode := r.mode()
	q.full, q.cut = int32(mode.Recursions(e.m.Config)), mode.Score()
	q.limit = q.full
	q.sampler = Sampler{vocab: e.m.Config.VocabSize}
	return q
}

// left is how many known tokens have not entered the model.
func (q *Sequence) left() int { return len(q.tokens) - q.done - len(q.chunk) }

// reading tells whether tokens of a sequence can enter that were not drawn just now.
func (q *Sequence) reading() bool { return !q.decoding() && q.lead == nil && len(q.chunk) == 0 }

// ready tells whether all rows under way have left the loop.
func (q *Sequence) ready(f *model.Flow) bool {
	for _, s := range q.chunk {
		if !f.Seats[s].Out {
			return false
		}
	}
	return len(q.chunk) > 0
}

// decoding tells whether only the token that was drawn last, and what is guessed behind it, is to be computed.
func (q *Sequence) decoding() bool { return q.drawn && q.known()-q.done <= 1 }
