package token

import "fmt"

// The pre-tokenizer steps that are understood, by their Hugging Face names.
const (
	stepByteLevel = "ByteLevel"
	stepDigits    = "Digits"
	stepSplit     = "Split"
	stepMetaspace = "Metaspace" // SentencePiece's, alone
)

// preStep is one step of a pre-tokenizer, as the file has it.
type preStep struct {
	kind      string
	byteLevel byteLevelJSON
	digits    digitsJSON
	split     splitJSON
}

// preTokenizer cuts a text into the pieces that are merged each for itself. The last step is always ByteLevel.
type preTokenizer struct {
	fast        *scanner // does all steps at once; nil when they must be taken one by one
	splits      []splitter
	last        *scanner // the pattern of the ByteLevel step, nil for none
	prefixSpace bool     // the ByteLevel step puts a space before pieces without one
}

// span is text[start:end].
type span struct{ start, end int }

// newPreTokenizer compiles steps.
func newPreTokenizer(steps []preStep) (preTokenizer, error) {
	var p preTokenizer
	if len(steps) == 0 || steps[len(steps)-1].kind != stepByteLevel {
		return p, fmt.Errorf("pre_tokenizer: expected a ByteLevel step at the end: only byte-level BPE is supported")
	}
	for i, step := range steps[:len(steps)-1] {
		switch step.kind {
		case stepDigits:
			p.splits = append(p.splits, digitSplitter(step.digits.IndividualDigits))
		case stepSplit:
			s, err := newSplitter(step.split)
			if err != nil {
				return p, fmt.Errorf("pre_tokenizer: step %d: %w", i, err)
			}
			p.splits = append(p.splits, s)
		default:
			return p, fmt.Errorf("pre_tokenizer: step %d is ByteLevel: expected it at the end", i)
		}
	}
	last := steps[len(steps)-1].byteLevel
	p.prefixSpace = last.AddPrefixSpace
	if last.UseRegex {
		p.last = &scanner{next: (*scanner).nextGPT2, plane: planeClasses()}
	}
	p.fast = p.fused(steps)
	return p, nil
}

// fused returns a scanner that does all steps in one pass, nil where there is none.
func (p *preTokenizer) fused(steps []preStep) *scanner {
	if p.prefixSpace {
		return nil
	}
	switch {
	case p.last != nil && len(p.splits) == 0:
		return p.last
	case p.last != nil && len(p.splits) == 1 && steps[0].kind == stepDigits:
		s := *p.last
		s.digits = digitsContiguous
		if steps[0].digits.IndividualDigits {
			s.digits = digitsIndividual
		}
		return &s
	case p.last == nil && len(p.splits) == 1 && p.splits[0].alone:
		return p.splits[0].scanner
	}
	return nil
}

// appendText appends the tokens of a text without added tokens.
func (t *Tokenizer) appendText(e *encoder, dst []int32, text []byte) []int32 {
	p := &t.pre
	if t.spec.sentence != nil {
		dst = t.appendSentence(e, dst, text)
		e.start = false
		return dst
	}
	if p.fast != nil {
		return t.appendScanned(e, dst, text, p.fast)
	}
	spans, spare := append(e.spans[:0], span{0, len(text)}), e.spare
	for i := range p.splits {
		spare = spare[:0]
		for _, s := range spans {
			spare = p.splits[i].appendSpans(e, spare, text, s)
		}
		spans, spare = spare, spans
	}
	e.spans, e.spare = spans, spare
	for _, s := range spans {
		piece := text[s.start:s.end]
		if p.prefixSpace && piece[0] != ' ' {
			e.prefixed = append(append(e.prefixed[:0], ' '), piece...)
			piece = e.prefixed
		}
		if p.last != nil {
			dst = t.appendScanned(e, dst, piece, p.last)
		} else {
			dst = t.appendPiece(e, dst, piece)
		}
	}
	return dst
}

// appendScanned appends the tokens of the pieces that a scanner finds.
func (t *Tokenizer) appendScanned(e *encoder, dst []int32, text []byte, s *scanner) []int32 {
	next := s.next
	for i := 0; i < len(text); {
		end := next(s, text, i)
		dst = t.appendPiece(e, dst, text[i:end])
		i = end
	}
	return dst
}
