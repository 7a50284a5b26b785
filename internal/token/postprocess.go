package token

import (
	"encoding/json"
	"fmt"
)

// postStep is one step of a post-processor: a ByteLevel, which changes offsets only, or a TemplateProcessing.
type postStep struct {
	kind      string
	byteLevel byteLevelJSON
	template  templateJSON
}

const stepTemplate = "TemplateProcessing"

type (
	// templateJSON says which special tokens surround a text, or a pair of texts.
	templateJSON struct {
		Type          string                     `json:"type"`
		Single        []templatePiece            `json:"single"`
		Pair          []templatePiece            `json:"pair"`
		SpecialTokens map[string]templateSpecial `json:"special_tokens"`
	}
	templatePiece struct {
		SpecialToken *templateRef `json:"SpecialToken,omitempty"`
		Sequence     *templateRef `json:"Sequence,omitempty"`
	}
	templateRef struct {
		ID     string `json:"id"`
		TypeID int    `json:"type_id"`
	}
	templateSpecial struct {
		ID     string   `json:"id"`
		IDs    []int32  `json:"ids"`
		Tokens []string `json:"tokens"`
	}
)

// parsePostProcessor reads a post-processor; sequences are flattened.
func parsePostProcessor(text, where string) ([]postStep, error) {
	if isNull(text) {
		return nil, nil
	}
	step := postStep{kind: typeName(text)}
	var err error
	switch step.kind {
	case "Sequence":
		parts, err := sequenceParts(text, where, "processors")
		if err != nil {
			return nil, err
		}
		var steps []postStep
		for i, part := range parts {
			if typeName(part) == "Sequence" {
				return nil, fmt.Errorf("%s.processors[%d]: a Sequence within a Sequence is not supported", where, i)
			}
			more, err := parsePostProcessor(part, fmt.Sprintf("%s.processors[%d]", where, i))
			if err != nil {
				return nil, err
			}
			steps = append(steps, more...)
		}
		return steps, nil
	case stepByteLevel:
		step.byteLevel, err = parseByteLevel(text, where)
	case stepTemplate:
		err = strictJSON(text, where, &step.template)
	default:
		err = fmt.Errorf("%s: %s is not supported: expected ByteLevel, TemplateProcessing or null", where, step.kind)
	}
	return []postStep{step}, err
}

// templateTokens returns the special tokens before and after a single text.
func templateTokens(steps []postStep, vocab int) (prefix, suffix []int32, err error) {
	templates := 0
	for _, step := range steps {
		if step.kind != stepTemplate {
			continue
		}
		if templates++; templates > 1 {
			return nil, nil, fmt.Errorf("post_processor: more than one TemplateProcessing is not supported")
		}
		texts := 0
		for i, piece := range step.template.Single {
			where := fmt.Sprintf("post_processor.single[%d]", i)
			switch {
			case piece.Sequence != nil && piece.SpecialToken == nil && piece.Sequence.ID == "A":
				texts++
			case piece.SpecialToken != nil && piece.Sequence == nil:
				special, ok := step.template.SpecialTokens[piece.SpecialToken.ID]
				if !ok {
					return nil, nil, fmt.Errorf("%s: %q is not in special_tokens", where, piece.SpecialToken.ID)
				}
				for _, id := range special.IDs {
					if id < 0 || int(id) >= vocab {
						return nil, nil, fmt.Errorf("%s: id %d of %q is not in the vocabulary of %d", where, id, special.ID, vocab)
					}
				}
				if texts == 0 {
					prefix = append(prefix, special.IDs...)
				} else {
					suffix = append(suffix, special.IDs...)
				}
			default:
				return nil, nil, fmt.Errorf("%s: expected a SpecialToken or the Sequence A", where)
			}
		}
		if texts != 1 {
			return nil, nil, fmt.Errorf("post_processor.single: the Sequence A occurs %d times: expected once", texts)
		}
	}
	return prefix, suffix, nil
}

// postJSON returns the post-processor as a file has it.
func postJSON(steps []postStep) any {
	var parts []any
	for _, s := range steps {
		if s.kind == stepByteLevel {
			parts = append(parts, s.byteLevel)
		} else {
			parts = append(parts, s.template)
		}
	}
	switch len(parts) {
	case 0:
		return json.RawMessage("null")
	case 1:
		return parts[0]
	}
	return struct {
		Type  string `json:"type"`
		Parts []any  `json:"processors"`
	}{"Sequence", parts}
}
