package grammar

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"mor/internal/strict"
)

// Patterns of JSON. Between parts of an object or array there may be one space.
const (
	jsonChar    = `(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))`
	jsonString  = `"` + jsonChar + `*"`
	jsonInteger = `-?(?:0|[1-9][0-9]{0,17})`
	jsonNumber  = jsonInteger + `(?:\.[0-9]{1,18})?(?:[eE][+-]?[0-9]{1,2})?`
	jsonScalar  = `(?:` + jsonString + `|` + jsonNumber + `|true|false|null)`
)

// anyDepth is how deep objects and arrays nest where the schema does not say what is in them.
const anyDepth = 3

// maxSchemaDepth bounds references, which must not lead back to themselves.
const maxSchemaDepth = 24

// JSONSchema returns the pattern of the JSON texts that a schema describes; properties come in its order, and no others. A keyword that it cannot keep is an
// error that names it. "{}" and "true" describe any JSON value, whose objects and arrays nest up to three deep.
func JSONSchema(schema []byte) (string, error) {
	root, err := decode(schema)
	if err != nil {
		return "", fmt.Errorf("not valid JSON: %w", err)
	}
	s := &schemaWriter{root: root}
	p, err := s.value(root, "#", 0)
	if err == nil && len(p) > maxPattern {
		err = fmt.Errorf("the schema needs a pattern of %d bytes: expected at most %d; make it smaller", len(p), maxPattern)
	}
	return p, err
}

type schemaWriter struct{ root any }

// keywords are those that are kept; annotations say nothing about the text.
var (
	keywords = []string{"type", "enum", "const", "properties", "required", "additionalProperties", "items", "minItems", "maxItems", "minLength", "maxLength", "pattern",
		"anyOf", "$ref", "$defs", "definitions"}
	annotations = []string{"title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated", "readOnly", "writeOnly"}
)

// value is the pattern of a schema that stands at a path.
func (s *schemaWriter) value(schema any, path string, depth int) (string, error) {
	if depth > maxSchemaDepth {
		return "", fmt.Errorf("%s: schemas nest more than %d deep, or a $ref leads back to itself", path, maxSchemaDepth)
	}
	if b, ok := schema.(bool); ok && b {
		return anyValue(anyDepth), nil
	}
	o, ok := schema.(*object)
	if !ok {
		return "", fmt.Errorf("%s: expected a schema, an object", path)
	}
	m := o.values
	if err := checkKeywords(o, path); err != nil {
		return "", err
	}
	constant, isConstant := m["const"]
	switch {
	case m["$ref"] != nil:
		return s.reference(m["$ref"], path, depth)
	case isConstant:
		return literal(constant)
	case m["enum"] != nil:
		list, ok := m["enum"].([]any)
		if !ok || len(list) == 0 {
			return "", fmt.Errorf("%s/enum: expected a list of values", path)
		}
		return s.any(list, path+"/enum", func(v any, _ string) (string, error) { return literal(v) })
	case m["anyOf"] != nil:
		list, ok := m["anyOf"].([]any)
		if !ok || len(list) == 0 {
			return "", fmt.Errorf("%s/anyOf: expected a list of schemas", path)
		}
		return s.any(list, path+"/anyOf", func(v any, at string) (string, error) { return s.value(v, at, depth+1) })
	}
	switch t := m["type"].(type) {
	case string:
		return s.typed(t, m, path, depth)
	case []any:
		return s.any(t, path+"/type", func(v any, at string) (string, error) {
			name, _ := v.(string)
			return s.typed(name, m, path, depth)
		})
	case nil:
		if m["properties"] != nil {
			return s.typed("object", m, path, depth)
		}
		return anyValue(anyDepth), nil
	}
	return "", fmt.Errorf("%s/type: expected a name or a list of names", path)
}

// checkKeywords refuses what would be ignored.
func checkKeywords(o *object, path string) error {
	alone := ""
	for _, k := range o.keys {
		switch {
		case slices.Contains(annotations, k) || k == "$defs" || k == "definitions" || k == "type":
		case !slices.Contains(keywords, k):
			return fmt.Errorf("%s: keyword %s is not supported%s", path, k, strict.Suggest(k, keywords))
		case k == "$ref" || k == "const" || k == "enum" || k == "anyOf":
			alone = k
		}
	}
	for _, k := range o.keys {
		if alone != "" && k != alone && slices.Contains(keywords, k) && k != "$defs" && k != "definitions" && !(k == "type" && (alone == "enum" || alone == "const")) {
			return fmt.Errorf("%s: keyword %s beside %s is not supported", path, k, alone)
		}
	}
	return nil
}

// any is one of several patterns.
func (s *schemaWriter) any(list []any, path string, pattern func(v any, path string) (string, error)) (string, error) {
	var out []string
	for i, v := range list {
		p, err := pattern(v, fmt.Sprintf("%s/%d", path, i))
		if err != nil {
			return "", err
		}
		out = append(out, p)
	}
	return "(?:" + strings.Join(out, "|") + ")", nil
}

// reference follows a $ref inside the schema.
func (s *schemaWriter) reference(ref any, path string, depth int) (string, error) {
	name, _ := ref.(string)
	rest, ok := strings.CutPrefix(name, "#/")
	if !ok {
		return "", fmt.Errorf("%s/$ref: %v: expected a place in this schema, as #/$defs/name", path, ref)
	}
	at := s.root
	for part := range strings.SplitSeq(rest, "/") {
		o, _ := at.(*object)
		if o == nil {
			o = &object{}
		}
		if at, ok = o.values[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]; !ok {
			return "", fmt.Errorf("%s/$ref: %s: nothing is there", path, name)
		}
	}
	return s.value(at, name, depth+1)
}

// literal is a value itself.
func literal(v any) (string, error) {
	if _, ok := v.(*object); ok {
		return "", fmt.Errorf("an object as a value of const or enum is not supported")
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return regexp.QuoteMeta(strings.TrimSuffix(b.String(), "\n")), nil
}

// typed is the pattern of a type with its keywords.
func (s *schemaWriter) typed(name string, m map[string]any, path string, depth int) (string, error) {
	switch name {
	case "string":
		return s.text(m, path)
	case "integer":
		return jsonInteger, nil
	case "number":
		return jsonNumber, nil
	case "boolean":
		return "(?:true|false)", nil
	case "null":
		return "null", nil
	case "array":
		return s.array(m, path, depth)
	case "object":
		return s.object(m, path, depth)
	}
	return "", fmt.Errorf("%s/type: %q: expected string, integer, number, boolean, null, array or object", path, name)
}

func (s *schemaWriter) text(m map[string]any, path string) (string, error) {
	if p, ok := m["pattern"].(string); ok {
		if m["minLength"] != nil || m["maxLength"] != nil {
			return "", fmt.Errorf("%s: pattern beside minLength or maxLength is not supported: say the length in the pattern", path)
		}
		p, err := inString(p)
		if err != nil {
			return "", fmt.Errorf("%s/pattern: %w", path, err)
		}
		return `"(?:` + p + `)"`, nil
	}
	count, err := repeat(m, "minLength", "maxLength", path)
	return `"` + jsonChar + count + `"`, err
}

// repeat is how often something comes, in the form of a pattern.
func repeat(m map[string]any, least, most, path string) (string, error) {
	lo, hi := 0, -1
	for key, to := range map[string]*int{least: &lo, most: &hi} {
		if m[key] == nil {
			continue
		}
		n, ok := m[key].(json.Number)
		v, err := n.Int64()
		if !ok || err != nil || v < 0 || v > 1000 {
			return "", fmt.Errorf("%s/%s: %v: expected 0 to 1000", path, key, m[key])
		}
		*to = int(v)
	}
	switch {
	case hi < 0 && lo == 0:
		return "*", nil
	case hi < 0:
		return fmt.Sprintf("{%d,}", lo), nil
	case hi < lo:
		return "", fmt.Errorf("%s: %s %d is more than %s %d", path, least, lo, most, hi)
	}
	return fmt.Sprintf("{%d,%d}", lo, hi), nil
}

func (s *schemaWriter) array(m map[string]any, path string, depth int) (string, error) {
	item := anyValue(anyDepth - 1)
	if m["items"] != nil {
		var err error
		if item, err = s.value(m["items"], path+"/items", depth+1); err != nil {
			return "", err
		}
	}
	count, err := repeat(m, "minItems", "maxItems", path)
	if err != nil {
		return "", err
	}
	var lo, hi int
	switch n, _ := fmt.Sscanf(count, "{%d,%d}", &lo, &hi); {
	case count == "*":
		return `\[(?:` + item + `(?:, ?` + item + `)*)?\]`, nil
	case n == 1:
		return fmt.Sprintf(`\[%s(?:, ?%s){%d,}\]`, item, item, lo-1), nil
	case hi == 0:
		return `\[\]`, nil
	case lo == 0:
		return fmt.Sprintf(`\[(?:%s(?:, ?%s){0,%d})?\]`, item, item, hi-1), nil
	}
	return fmt.Sprintf(`\[%s(?:, ?%s){%d,%d}\]`, item, item, lo-1, hi-1), nil
}

func (s *schemaWriter) object(m map[string]any, path string, depth int) (string, error) {
	listed, ok := m["properties"].(*object)
	if m["properties"] != nil && !ok {
		return "", fmt.Errorf("%s/properties: expected an object", path)
	}
	if listed == nil {
		listed = &object{}
	}
	names, properties := listed.keys, listed.values
	var required []string
	if list, ok := m["required"].([]any); ok {
		for _, v := range list {
			name, _ := v.(string)
			if properties[name] == nil {
				return "", fmt.Errorf("%s/required: %v is not among the properties", path, v)
			}
			required = append(required, name)
		}
	}
	if len(properties) == 0 {
		return anyObject(anyDepth), nil
	}
	var parts []string
	last := -1
	for i, name := range names {
		p, err := s.value(properties[name], path+"/properties/"+name, depth+1)
		if err != nil {
			return "", err
		}
		key, err := literal(name)
		if err != nil {
			return "", err
		}
		parts = append(parts, key+`: ?`+p)
		if slices.Contains(required, name) {
			last = i
		}
	}
	needed := func(i int) bool { return slices.Contains(required, names[i]) }
	if last >= 0 {
		return `\{` + members(parts, needed, last) + `\}`, nil
	}
	var ends []string // any of them may be the last one
	for i := range parts {
		ends = append(ends, members(parts[:i+1], needed, i))
	}
	return `\{(?:` + strings.Join(ends, "|") + `)?\}`, nil
}

// members lists properties, of which anchor surely comes: those before it are followed by a comma, those behind it follow one.
func members(parts []string, needed func(i int) bool, anchor int) string {
	var b strings.Builder
	for i, p := range parts {
		switch {
		case i < anchor && needed(i):
			b.WriteString(p + ", ?")
		case i < anchor:
			b.WriteString("(?:" + p + ", ?)?")
		case i == anchor:
			b.WriteString(p)
		default:
			b.WriteString("(?:, ?" + p + ")?")
		}
	}
	return b.String()
}

// anyValue is any JSON value whose objects and arrays nest up to so deep.
func anyValue(depth int) string {
	if depth == 0 {
		return jsonScalar
	}
	v := anyValue(depth - 1)
	return `(?:` + jsonScalar + `|\[(?:` + v + `(?:, ?` + v + `)*)?\]|` + anyObject(depth) + `)`
}

func anyObject(depth int) string {
	member := jsonString + `: ?` + anyValue(depth-1)
	return `\{(?:` + member + `(?:, ?` + member + `)*)?\}`
}
