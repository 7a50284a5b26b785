package grammar

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp/syntax"
	"slices"
)

// object is a JSON object that has kept the order of its keys.
type object struct {
	keys   []string
	values map[string]any
}

// maxNesting bounds what decode follows.
const maxNesting = 200

// decode reads one JSON value: objects as *object, numbers as json.Number.
func decode(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := decodeValue(dec, 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("text after the value, at byte %d", dec.InputOffset())
	}
	return v, nil
}

func decodeValue(dec *json.Decoder, depth int) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	if depth > maxNesting {
		return nil, fmt.Errorf("more than %d values inside one another", maxNesting)
	}
	switch tok {
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, err := decodeValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	case json.Delim('{'):
		o := &object{values: map[string]any{}}
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return nil, err
			}
			name := key.(string)
			if slices.Contains(o.keys, name) {
				return nil, fmt.Errorf("%s: the key stands twice", name)
			}
			if o.values[name], err = decodeValue(dec, depth+1); err != nil {
				return nil, err
			}
			o.keys = append(o.keys, name)
		}
		_, err := dec.Token()
		return o, err
	}
	return tok, nil
}

// unquoted are the characters that stand in a JSON string as they are.
var unquoted = []rune{0x20, '"' - 1, '"' + 1, '\\' - 1, '\\' + 1, 0x10FFFF}

// inString narrows a pattern to texts that stand in a JSON string as they are.
func inString(pattern string) (string, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", err
	}
	re = unanchored(re)
	if err := narrow(re); err != nil {
		return "", err
	}
	return re.String(), nil
}

func narrow(re *syntax.Regexp) error {
	switch re.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		re.Op, re.Rune = syntax.OpCharClass, slices.Clone(unquoted)
	case syntax.OpCharClass:
		var kept []rune
		for i := 0; i+1 < len(re.Rune); i += 2 {
			for j := 0; j < len(unquoted); j += 2 {
				if lo, hi := max(re.Rune[i], unquoted[j]), min(re.Rune[i+1], unquoted[j+1]); lo <= hi {
					kept = append(kept, lo, hi)
				}
			}
		}
		re.Rune = kept
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if r < 0x20 || r == '"' || r == '\\' {
				return fmt.Errorf("%q has to be quoted in JSON: it is not supported in a pattern", r)
			}
		}
	}
	for _, sub := range re.Sub {
		if err := narrow(sub); err != nil {
			return err
		}
	}
	return nil
}
