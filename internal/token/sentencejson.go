package token

import (
	"fmt"
	"reflect"
)

// The parts of a tokenizer.json of SentencePiece's kind, as Hugging Face writes them for Llama 1 and 2.
type (
	stepJSON struct {
		Type        string       `json:"type"`
		Prepend     string       `json:"prepend,omitempty"`
		Pattern     *patternJSON `json:"pattern,omitempty"`
		Content     string       `json:"content,omitempty"`
		Start       *int         `json:"start,omitempty"`
		Stop        *int         `json:"stop,omitempty"`
		Normalizers []stepJSON   `json:"normalizers,omitempty"`
		Decoders    []stepJSON   `json:"decoders,omitempty"`
	}
)

func replaceStep(from, to string) stepJSON {
	return stepJSON{Type: "Replace", Pattern: &patternJSON{String: &from}, Content: to}
}

// normalizer is the normalizer that writes spaces as ▁; nil, JSON's null, for a byte-level vocabulary.
func (s *sentenceSpec) normalizer() *stepJSON {
	if s == nil || s.scheme != "" {
		return nil
	}
	spaces := replaceStep(" ", string(metaspace))
	if !s.prepend {
		return &spaces
	}
	return &stepJSON{Type: "Sequence", Normalizers: []stepJSON{{Type: "Prepend", Prepend: string(metaspace)}, spaces}}
}

// metaspaceJSON is the pre-tokenizer that writes spaces as ▁ in newer files.
type metaspaceJSON struct {
	Type          string `json:"type"`
	Replacement   string `json:"replacement"`
	PrependScheme string `json:"prepend_scheme"`
	Split         bool   `json:"split"`
}

// preTokenizer is Metaspace where it is what writes spaces as ▁; nil, JSON's null, otherwise.
func (s *sentenceSpec) preTokenizer() *metaspaceJSON {
	if s.scheme == "" {
		return nil
	}
	return &metaspaceJSON{Type: stepMetaspace, Replacement: string(metaspace), PrependScheme: s.scheme}
}

// parseMetaspace reads a Metaspace that keeps the text in one piece.
func parseMetaspace(text string) (*sentenceSpec, error) {
	m := metaspaceJSON{PrependScheme: prependAlways, Split: true} // Hugging Face's defaults
	if err := strictJSON(text, "pre_tokenizer", &m); err != nil {
		return nil, err
	}
	switch {
	case m.Replacement != string(metaspace):
		return nil, fmt.Errorf("pre_tokenizer.replacement: %q is not supported: expected %q", m.Replacement, metaspace)
	case m.Split:
		return nil, fmt.Errorf("pre_tokenizer.split: true is not supported: expected false, as Llama's vocabularies have it")
	case m.PrependScheme != prependFirst && m.PrependScheme != prependAlways && m.PrependScheme != prependNever:
		return nil, fmt.Errorf("pre_tokenizer.prepend_scheme: %q: expected %s, %s or %s", m.PrependScheme, prependFirst, prependAlways, prependNever)
	}
	return &sentenceSpec{prepend: m.PrependScheme != prependNever, scheme: m.PrependScheme}, nil
}

// decoder undoes the normalizer.
func (s *sentenceSpec) decoder() stepJSON {
	steps := []stepJSON{replaceStep(string(metaspace), " "), {Type: "ByteFallback"}, {Type: "Fuse"}}
	if s.prepend {
		one, none := 1, 0
		steps = append(steps, stepJSON{Type: "Strip", Content: " ", Start: &one, Stop: &none})
	}
	return stepJSON{Type: "Sequence", Decoders: steps}
}

// decoderJSON is the decoder as a file has it.
func (s *spec) decoderJSON() any {
	if s.sentence != nil {
		return s.sentence.decoder()
	}
	return s.decoder
}

// parseNormalizer reads a normalizer: null, or one of SentencePiece's.
func parseNormalizer(text string) (*sentenceSpec, error) {
	if isNull(text) {
		return nil, nil
	}
	var step stepJSON
	if err := strictJSON(text, "normalizer", &step); err != nil {
		return nil, err
	}
	if step.Type == "Sequence" && len(step.Normalizers) == 1 {
		step = step.Normalizers[0]
	}
	for _, prepend := range []bool{false, true} {
		if s := (&sentenceSpec{prepend: prepend}); reflect.DeepEqual(&step, s.normalizer()) {
			return s, nil
		}
	}
	return nil, fmt.Errorf("normalizer: this %s is not supported: expected null, or Llama's, which writes spaces as %c", step.Type, metaspace)
}

// parseDecoder reads the decoder, which must be the one that belongs to the normalizer.
func parseDecoder(text string, s *spec) (err error) {
	if s.sentence == nil {
		if kind := typeName(text); kind != stepByteLevel {
			return fmt.Errorf("decoder: %s is not supported: expected ByteLevel", kind)
		}
		s.decoder, err = parseByteLevel(text, "decoder")
		return err
	}
	var step stepJSON
	if err := strictJSON(text, "decoder", &step); err != nil {
		return err
	}
	if !reflect.DeepEqual(step, s.sentence.decoder()) {
		return fmt.Errorf("decoder: it does not undo the normalizer: expected Llama's Sequence of Replace, ByteFallback, Fuse and Strip")
	}
	return nil
}
