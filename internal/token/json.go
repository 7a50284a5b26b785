package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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
	if err := validJSON(data); err != nil {
		return nil, fmt.Errorf("not a tokenizer.json: %w", err)
	}
	fields, err := objectFields(string(data), "the file")
	if err != nil {
		return nil, err
	}
	err = refuseOthers(fields, "the file", "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
		"post_processor", "decoder", "model")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"truncation", "padding"} {
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
	if s.sentence, err = parseNormalizer(fields["normalizer"]); err != nil {
		return nil, err
	}
	if pre := fields["pre_tokenizer"]; s.sentence != nil {
		if !isNull(pre) {
			return nil, fmt.Errorf("pre_tokenizer: %s is not supported behind a normalizer: expected null", typeName(pre))
		}
	} else if typeName(pre) == stepMetaspace {
		if s.sentence, err = parseMetaspace(pre); err != nil {
			return nil, err
		}
	} else if s.pre, err = parsePreTokenizer(fields["pre_tokenizer"], "pre_tokenizer"); err != nil {
		return nil, err
	}
	if s.post, err = parsePostProcessor(fields["post_processor"], "post_processor"); err != nil {
		return nil, err
	}
	if err := parseDecoder(fields["decoder"], &s); err != nil {
		return nil, err
	}
	if err := parseModel(fields["model"], &s); err != nil {
		return nil, err
	}
	return build(s)
}

// parseModel reads the BPE model of a tokenizer.json into s.
func parseModel(text string, s *spec) error {
	if isNull(text) {
		return errors.New("model: null is not supported: expected BPE")
	}
	fields, err := objectFields(text, "model")
	if err != nil {
		return err
	}
	if kind := typeOf(fields); kind != "BPE" && kind != noType { // without a type its fields say what it is
		return fmt.Errorf("model: %s is not supported: expected BPE", kind)
	}
	err = refuseOthers(fields, "model", "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
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
	case byteFallback != (s.sentence != nil):
		return fmt.Errorf("model.byte_fallback: %v is not supported: expected true with the normalizer of SentencePiece, false with byte-level BPE", byteFallback)
	}
	if s.vocab, err = parseVocab(fields["vocab"], "model.vocab"); err != nil {
		return err
	}
	s.merges, err = parseMerges(fields["merges"])
	return err
}

// parsePreTokenizer reads a pre-tokenizer; sequences are flattened.
func parsePreTokenizer(text, where string) ([]preStep, error) {
	step := preStep{kind: typeName(text)}
	var err error
	switch step.kind {
	case "Sequence":
		parts, err := sequenceParts(text, where, "pretokenizers")
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
		step.byteLevel, err = parseByteLevel(text, where)
	case stepDigits:
		err = strictJSON(text, where, &step.digits)
	case stepSplit:
		err = strictJSON(text, where, &step.split)
		if p := step.split.Pattern; err == nil && (p.String == nil) == (p.Regex == nil) {
			err = fmt.Errorf("%s.pattern: expected either String or Regex", where)
		}
	default:
		err = fmt.Errorf("%s: %s is not supported: expected ByteLevel, Digits, Split or a Sequence of them", where, step.kind)
	}
	return []preStep{step}, err
}

func parseByteLevel(text, where string) (byteLevelJSON, error) {
	b := byteLevelJSON{AddPrefixSpace: true, TrimOffsets: true, UseRegex: true} // Hugging Face's defaults
	err := strictJSON(text, where, &b)
	return b, err
}

// sequenceParts returns the parts of a Sequence.
func sequenceParts(text, where, name string) ([]string, error) {
	fields, err := objectFields(text, where)
	if err != nil {
		return nil, err
	}
	if err := refuseOthers(fields, where, "type", name); err != nil {
		return nil, err
	}
	p := parser{text: fields[name]}
	if !p.accept('[') {
		return nil, fmt.Errorf("%s.%s: expected a list", where, name)
	}
	var parts []string
	for !p.accept(']') {
		parts = append(parts, p.value())
		p.accept(',')
	}
	return parts, nil
}

// validJSON returns what is wrong with data as JSON in UTF-8.
func validJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("it is not valid UTF-8")
	}
	if json.Valid(data) {
		return nil
	}
	var value any
	return json.Unmarshal(data, &value)
}

// isNull reports whether a field is null or absent.
func isNull(text string) bool { return text == "" || text == "null" }

// typeName returns the type field of a JSON object, or what there is in its place.
func typeName(text string) string {
	if isNull(text) {
		return "null"
	}
	fields, err := objectFields(text, "")
	if err != nil {
		return "a value that is no object"
	}
	return typeOf(fields)
}

const noType = "an object without a type"

// typeOf returns the type field of an object.
func typeOf(fields map[string]string) string {
	kind := fields["type"]
	if isNull(kind) {
		return noType
	}
	if kind[0] != '"' {
		return "the type " + kind
	}
	return (&parser{text: kind}).string()
}

// objectFields returns the fields of an object in valid JSON.
func objectFields(text, where string) (map[string]string, error) {
	p := parser{text: text}
	if !p.accept('{') {
		return nil, fmt.Errorf("%s: expected an object, found %.20s", where, text)
	}
	fields := map[string]string{}
	for !p.accept('}') {
		name := p.string()
		p.accept(':')
		if _, twice := fields[name]; twice {
			return nil, fmt.Errorf("%s: field %q occurs twice", where, name)
		}
		fields[name] = p.value()
		p.accept(',')
	}
	return fields, nil
}

// refuseOthers refuses fields that are not named.
func refuseOthers(fields map[string]string, where string, names ...string) error {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(names, name) {
			return fmt.Errorf("%s: field %q is not supported: expected %s", where, name, strings.Join(names, ", "))
		}
	}
	return nil
}

// strictJSON decodes a field and refuses unknown ones within it. An absent field or null leaves v as it is.
func strictJSON(text, where string, v any) error {
	if isNull(text) {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%s: %s", where, strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}
