package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"mor/internal/strict"
)

// support is what a field of a request is.
type support string

// The kinds of fields.
const (
	standard  support = "standard"  // OpenAI's, and does what it does there
	extension support = "extension" // not OpenAI's; vLLM's name where it has one
	refuses   support = "refused"   // OpenAI's, and a 400 unless it is null
)

// field is a row of the table of what a request may say: it decodes the field, and documents it.
type field struct {
	name    string
	support support
	note    string                                 // for the README: what it does, its range and default; why it is refused
	set     func(c *call, v json.RawMessage) error // nil: refused
}

// decode fills a call from a request's body by a table of fields. null is as good as leaving a field out.
func (c *call) decode(body []byte, fields []field) error {
	values, err := members(body)
	if err != nil {
		return err
	}
	byName := make(map[string]*field, len(fields))
	names := make([]string, len(fields))
	for i := range fields {
		byName[fields[i].name], names[i] = &fields[i], fields[i].name
	}
	for _, m := range values {
		f := byName[m.name]
		switch {
		case f == nil:
			return refused(m.name, "%s: unknown field%s", m.name, strict.Suggest(m.name, names))
		case string(m.value) == "null":
		case f.set == nil:
			return refused(m.name, "%s: not supported: %s", m.name, f.note)
		default:
			if err := f.set(c, m.value); err != nil {
				return asFieldError(m.name, err)
			}
		}
	}
	return nil
}

// asFieldError names the field in an error that does not.
func asFieldError(name string, err error) error {
	var api *apiError
	if errors.As(err, &api) {
		return err
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		if wrong.Field != "" {
			name += "." + wrong.Field
		}
		return refused(name, "%s: found a %s, expected %s", name, wrong.Value, typeName(wrong.Type.String()))
	}
	text := err.Error()
	if !strings.HasPrefix(text, name) {
		text = name + ": " + text
	}
	return refused(name, "%s", text)
}

// typeName says a type as a client knows it.
func typeName(t string) string {
	switch strings.TrimLeft(t, "*") {
	case "int", "int32", "int64", "uint64":
		return "an integer"
	case "float64", "float32":
		return "a number"
	case "bool":
		return "true or false"
	case "string":
		return "a text"
	}
	if strings.HasPrefix(t, "[]") {
		return "a list"
	}
	return "an object"
}

// member is a key of an object with its value.
type member struct {
	name  string
	value json.RawMessage
}

// members reads the object that a body is. A key that stands twice is an error.
func members(body []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, notJSON(err)
	}
	var out []member
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, notJSON(err)
		}
		m := member{name: t.(string)}
		if err := dec.Decode(&m.value); err != nil {
			return nil, notJSON(err)
		}
		if seen[m.name] {
			return nil, refused(m.name, "%s: the field stands twice", m.name)
		}
		seen[m.name] = true
		out = append(out, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, notJSON(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, refused("", "body: not valid JSON: text after the object, at byte %d", dec.InputOffset())
	}
	return out, nil
}

func notJSON(err error) error {
	if err == nil {
		return refused("", "body: expected a JSON object")
	}
	return refused("", "body: not valid JSON: %v", err)
}

// into decodes a field into the place that at names.
func into[T any](at func(*call) *T) func(*call, json.RawMessage) error {
	return func(c *call, v json.RawMessage) error { return json.Unmarshal(v, at(c)) }
}

// only accepts the values that ask for nothing else than what is done anyway.
func only(values ...string) func(*call, json.RawMessage) error {
	return func(_ *call, v json.RawMessage) error {
		var compact bytes.Buffer
		if err := json.Compact(&compact, v); err != nil {
			return err
		}
		for _, allowed := range values {
			if compact.String() == allowed {
				return nil
			}
		}
		return fmt.Errorf("%.40s: expected %s: nothing else is supported", compact.String(), strings.Join(values, " or "))
	}
}
