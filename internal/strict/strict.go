// Package strict decodes JSON objects into structs and refuses what the struct does not have, by name.
package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// JSON decodes data into the struct that v points to. A key that the struct lacks (letter case counts), a key that stands twice,
// a wrong type, or text after the object is an error that names the key and, where one is near, the one that was meant.
func JSON(data []byte, v any) error {
	if err := checkKeys(json.NewDecoder(bytes.NewReader(data)), reflect.TypeOf(v), ""); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return fmt.Errorf("%s: found a %s, expected %s", wrong.Field, wrong.Value, wrong.Type)
		}
		return fmt.Errorf("not valid JSON: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("not valid JSON: text after the object, at byte %d", dec.InputOffset())
	}
	return nil
}

// checkKeys reads one value and compares the keys of its objects with the fields of t.
func checkKeys(dec *json.Decoder, t reflect.Type, path string) error {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	tok, err := dec.Token()
	if err != nil {
		return fmt.Errorf("not valid JSON: %w", err)
	}
	switch tok {
	case json.Delim('['):
		var elem reflect.Type
		if t != nil && t.Kind() == reflect.Slice {
			elem = t.Elem()
		}
		for dec.More() {
			if err := checkKeys(dec, elem, path); err != nil {
				return err
			}
		}
		if _, err := dec.Token(); err != nil {
			return fmt.Errorf("not valid JSON: %w", err)
		}
	case json.Delim('{'):
		return checkObject(dec, t, path)
	}
	return nil
}

func checkObject(dec *json.Decoder, t reflect.Type, path string) error {
	var fields map[string]reflect.Type
	if t != nil && t.Kind() == reflect.Struct {
		fields = fieldsOf(t)
	}
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return fmt.Errorf("not valid JSON: %w", err)
		}
		key := tok.(string)
		if seen[key] {
			return fmt.Errorf("%s%s: the key stands twice", path, key)
		}
		seen[key] = true
		field, ok := fields[key]
		if fields != nil && !ok {
			names := make([]string, 0, len(fields))
			for n := range fields {
				names = append(names, n)
			}
			return fmt.Errorf("%s%s: unknown key%s", path, key, Suggest(key, names))
		}
		if err := checkKeys(dec, field, path+key+"."); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("not valid JSON: %w", err)
	}
	return nil
}

// fieldsOf maps the JSON keys of a struct to the types of its fields.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			out[name] = t.Field(i).Type
		}
	}
	return out
}

// Suggest returns `: did you mean "x"?` for the name nearest to what was written, or nothing where none is near.
func Suggest(written string, names []string) string {
	best, found := max(2, len(written)/3)+1, ""
	for _, n := range names {
		if d := distance(strings.ToLower(written), strings.ToLower(n)); d < best || d == best && found != "" && n < found {
			best, found = d, n
		}
	}
	if found == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %q?", found)
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
