package token

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// The shapes of a tokenizer.json that are understood. Whatever else a file holds is refused by name.
type (
	byteLevelJSON struct {
		Type           string `json:"type"`
		AddPrefixSpace bool   `json:"add_prefix_space"`
		TrimOffsets    bool   `json:"trim_offsets"` // concerns offsets only, of which we report none
		UseRegex       bool   `json:"use_regex"`
	}
	digitsJSON struct {
		Type             string `json:"type"`
		IndividualDigits bool   `json:"individual_digits"`
	}
	splitJSON struct {
		Type     string      `json:"type"`
		Pattern  patternJSON `json:"pattern"`
		Behavior string      `json:"behavior"`
		Invert   bool        `json:"invert"`
	}
	patternJSON struct {
		String *string `json:"String,omitempty"`
		Regex  *string `json:"Regex,omitempty"`
	}
)

// Load reads a tokenizer.json.
func Load(path string) (*Tokenizer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the tokenizer: %w", err)
	}
	t, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("tokenizer %s: %w", path, err)
	}
	return t, nil
}

// Parse reads the bytes of a tokenizer.json.
func Parse(data []byte) (*Tokenizer, error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("not a tokenizer.json: it is not valid UTF-8")
	}
	fields, err := objectFields(data, "", "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
		"post_processor", "decoder", "model")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"truncation", "padding", "normalizer"} {
		if raw := fields[name]; !isNull(raw) {
			return nil, fmt.Errorf("%s: %s is not supported: expected null", name, typeName(raw))
		}
	}
	var version string
	if err := strictJSON(fields["version"], "version", &version); err != nil {
		return nil, err
	}
	if version != "" && version != "1.0" {
		return nil, fmt.Errorf("version: expected \"1.0\", found %q", version)
	}
	var s spec
	if err := strictJSON(fields["added_tokens"], "added_tokens", &s.added); err != nil {
		return nil, err
	}
	if s.pre, err = parsePreTokenizer(fields["pre_tokenizer"], "pre_tokenizer"); err != nil {
		return nil, err
	}
	if s.post, err = parsePostProcessor(fields["post_processor"], "post_processor"); err != nil {
		return nil, err
	}
	if kind := typeName(fields["decoder"]); kind != stepByteLevel {
		return nil, fmt.Errorf("decoder: %s is not supported: expected ByteLevel", kind)
	}
	if s.decoder, err = parseByteLevel(fields["decoder"], "decoder"); err != nil {
		return nil, err
	}
	if err := parseModel(fields["model"], &s); err != nil {
		return nil, err
	}
	return build(s)
}

// parseModel reads the BPE model of a tokenizer.json into s.
func parseModel(data []byte, s *spec) error {
	if kind := typeName(data); kind != "BPE" && kind != "an object without a type" {
		return fmt.Errorf("model: %s is not supported: expected BPE", kind)
	}
	fields, err := objectFields(data, "model", "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
		"fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges")
	if err != nil {
		return err
	}
	var dropout float64
	var prefix, suffix string
	var byteFallback bool
	for _, f := range []struct {
		name  string
		value any
	}{
		{"dropout", &dropout}, {"continuing_subword_prefix", &prefix}, {"end_of_word_suffix", &suffix}, {"byte_fallback", &byteFallback},
		{"unk_token", &s.unkToken}, {"fuse_unk", &s.fuseUnk}, {"ignore_merges", &s.ignoreMerges},
	} {
		if err := strictJSON(fields[f.name], "model."+f.name, f.value); err != nil {
			return err
		}
	}
	switch {
	case dropout != 0:
		return fmt.Errorf("model.dropout: %v is not supported: expected null", dropout)
	case prefix != "":
		return fmt.Errorf("model.continuing_subword_prefix: %q is not supported: expected null", prefix)
	case suffix != "":
		return fmt.Errorf("model.end_of_word_suffix: %q is not supported: expected null", suffix)
	case byteFallback:
		return fmt.Errorf("model.byte_fallback: true is not supported: expected false, only byte-level BPE is supported")
	}
	if s.vocab, err = parseVocab(fields["vocab"]); err != nil {
		return err
	}
	s.merges, err = parseMerges(fields["merges"])
	return err
}

// parsePreTokenizer reads a pre-tokenizer; sequences are flattened.
func parsePreTokenizer(data []byte, where string) ([]preStep, error) {
	step := preStep{kind: typeName(data)}
	var err error
	switch step.kind {
	case "Sequence":
		parts, err := sequenceParts(data, where, "pretokenizers")
		if err != nil {
			return nil, err
		}
		var steps []preStep
		for i, part := range parts {
			if typeName(part) == "Sequence" {
				return nil, fmt.Errorf("%s.pretokenizers[%d]: a Sequence within a Sequence is not supported", where, i)
			}
			more, err := parsePreTokenizer(part, fmt.Sprintf("%s.pretokenizers[%d]", where, i))
			if err != nil {
				return nil, err
			}
			steps = append(steps, more...)
		}
		return steps, nil
	case stepByteLevel:
		step.byteLevel, err = parseByteLevel(data, where)
	case stepDigits:
		err = strictJSON(data, where, &step.digits)
	case stepSplit:
		err = strictJSON(data, where, &step.split)
		if p := step.split.Pattern; err == nil && (p.String == nil) == (p.Regex == nil) {
			err = fmt.Errorf("%s.pattern: expected either String or Regex", where)
		}
	default:
		err = fmt.Errorf("%s: %s is not supported: expected ByteLevel, Digits, Split or a Sequence of them", where, step.kind)
	}
	return []preStep{step}, err
}

func parseByteLevel(data []byte, where string) (byteLevelJSON, error) {
	b := byteLevelJSON{AddPrefixSpace: true, TrimOffsets: true, UseRegex: true} // Hugging Face's defaults
	err := strictJSON(data, where, &b)
	return b, err
}

// sequenceParts returns the parts of a Sequence.
func sequenceParts(data []byte, where, name string) ([]json.RawMessage, error) {
	fields, err := objectFields(data, where, "type", name)
	if err != nil {
		return nil, err
	}
	var parts []json.RawMessage
	return parts, strictJSON(fields[name], where+"."+name, &parts)
}

// isNull reports whether a field is null or absent.
func isNull(raw []byte) bool { return len(raw) == 0 || string(raw) == "null" }

// typeName returns the type field of a JSON object, or what there is in its place.
func typeName(raw []byte) string {
	if isNull(raw) {
		return "null"
	}
	var tag struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &tag); err != nil {
		return "a value that is no object"
	}
	if tag.Type == "" {
		return "an object without a type"
	}
	return tag.Type
}

// objectFields returns the fields of a JSON object and refuses those that are not named.
func objectFields(data []byte, where string, names ...string) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, fieldError(where, err)
	}
	if fields == nil {
		return nil, fieldError(where, fmt.Errorf("expected an object, found null"))
	}
	for name := range fields {
		if !slices.Contains(names, name) {
			return nil, fieldError(where, fmt.Errorf("field %q is not supported: expected %s", name, strings.Join(names, ", ")))
		}
	}
	return fields, nil
}

// strictJSON decodes a field and refuses unknown ones within it. An absent field or null leaves v as it is.
func strictJSON(data []byte, where string, v any) error {
	if isNull(data) {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fieldError(where, err)
	}
	return nil
}

func fieldError(where string, err error) error {
	text := strings.TrimPrefix(err.Error(), "json: ")
	if where == "" {
		return fmt.Errorf("not a tokenizer.json: %s", text)
	}
	return fmt.Errorf("%s: %s", where, text)
}
