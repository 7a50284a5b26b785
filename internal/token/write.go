package token

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Save writes a tokenizer.json that Hugging Face tokenizers and Load read.
func (t *Tokenizer) Save(path string) error {
	if err := os.WriteFile(path, t.appendJSON(nil), 0o644); err != nil {
		return fmt.Errorf("writing the tokenizer: %w", err)
	}
	return nil
}

// MarshalJSON returns the tokenizer as a tokenizer.json: the same bytes for the same tokenizer, whatever file it came from.
func (t *Tokenizer) MarshalJSON() ([]byte, error) { return t.appendJSON(nil), nil }

// appendJSON writes the canonical form: tokens in order of id, one a line.
func (t *Tokenizer) appendJSON(dst []byte) []byte {
	s := &t.spec
	dst = append(dst, "{\n \"version\": \"1.0\",\n \"truncation\": null,\n \"padding\": null,\n \"added_tokens\": ["...)
	for i, a := range s.added {
		dst = appendComma(dst, i)
		dst = appendValue(dst, a)
	}
	dst = append(dst, "\n ],\n \"normalizer\": "...)
	dst = appendValue(dst, s.sentence.normalizer())
	dst = append(dst, ",\n \"pre_tokenizer\": "...)
	dst = appendValue(dst, s.preJSON())
	dst = append(dst, ",\n \"post_processor\": "...)
	dst = appendValue(dst, postJSON(s.post))
	dst = append(dst, ",\n \"decoder\": "...)
	dst = appendValue(dst, s.decoderJSON())
	dst = append(dst, ",\n \"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": "...)
	dst = appendValue(dst, s.unkToken)
	dst = append(dst, ", \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": "...)
	dst = strconv.AppendBool(dst, s.fuseUnk)
	dst = append(dst, ", \"byte_fallback\": "...)
	dst = strconv.AppendBool(dst, s.sentence != nil)
	dst = append(dst, ", \"ignore_merges\": "...)
	dst = strconv.AppendBool(dst, s.ignoreMerges)
	dst = append(dst, ", \"vocab\": {"...)
	n := 0
	for id, text := range t.texts.all {
		dst = appendComma(dst, n)
		dst = appendString(dst, text)
		dst = append(dst, ": "...)
		dst = strconv.AppendInt(dst, int64(id), 10)
		n++
	}
	dst = append(dst, "\n }, \"merges\": ["...)
	for i, m := range t.mergeTexts() {
		dst = appendComma(dst, i)
		dst = appendMerge(dst, m)
	}
	return append(dst, "\n ]}\n}\n"...)
}

// appendMerge writes "left right", which every version of Hugging Face tokenizers reads, where neither has a space.
func appendMerge(dst []byte, m mergePair) []byte {
	if !strings.Contains(m[0], " ") && !strings.Contains(m[1], " ") {
		return appendString(dst, m[0]+" "+m[1])
	}
	dst = appendString(append(dst, '['), m[0])
	dst = appendString(append(dst, ", "...), m[1])
	return append(dst, ']')
}

// appendComma begins line i of a list.
func appendComma(dst []byte, i int) []byte {
	if i > 0 {
		dst = append(dst, ',')
	}
	return append(dst, "\n  "...)
}

// appendString writes a JSON string.
func appendString(dst []byte, s string) []byte {
	for _, r := range s {
		if r < ' ' || r == '"' || r == '\\' || r == '\u2028' || r == '\u2029' {
			return appendValue(dst, s)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}

// appendValue writes any of our own JSON types, which cannot fail.
func appendValue(dst []byte, v any) []byte {
	buffer := bytes.NewBuffer(dst)
	e := json.NewEncoder(buffer)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte{'\n'})
}

// preJSON returns the pre-tokenizer as a file has it.
func (s *spec) preJSON() any {
	if s.sentence != nil {
		return s.sentence.preTokenizer()
	}
	return stepsJSON(s.pre)
}

func stepsJSON(steps []preStep) any {
	if len(steps) == 0 {
		return nil
	}
	parts := make([]any, len(steps))
	for i, s := range steps {
		switch s.kind {
		case stepByteLevel:
			parts[i] = s.byteLevel
		case stepDigits:
			parts[i] = s.digits
		case stepSplit:
			parts[i] = s.split
		}
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return struct {
		Type  string `json:"type"`
		Parts []any  `json:"pretokenizers"`
	}{"Sequence", parts}
}
