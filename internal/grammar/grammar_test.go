package grammar

import (
	"encoding/json"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// bytesTrie has a token for each byte, and some of several.
func bytesTrie() (*Trie, func(id int32) []byte) {
	texts := make([][]byte, 0, 300)
	for b := range 256 {
		texts = append(texts, []byte{byte(b)})
	}
	for _, s := range []string{"true", "\": ", "\", \"", "ab", "世", "\xe4\xb8", "12", "{\"", "\"}", ", "} {
		texts = append(texts, []byte(s))
	}
	text := func(id int32) []byte { return texts[id] }
	return NewTrie(len(texts), text), text
}

// matches tells whether the automaton accepts a text.
func matches(t testing.TB, g *Grammar, text string) bool {
	at := Start
	for i := range len(text) {
		next, err := g.Advance(at, []byte{text[i]})
		if err != nil {
			return false
		}
		at = next
	}
	_, end, err := g.Allowed(at)
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// walk draws a text that the grammar allows, token by token. It ends where it must, and from 40 tokens on where it may.
func walk(t testing.TB, g *Grammar, text func(int32) []byte, seed uint64) (string, bool) {
	rng := rand.New(rand.NewPCG(seed, 1))
	at, out := Start, ""
	for n := range 3000 {
		mask, end, err := g.Allowed(at)
		if err != nil {
			t.Fatal(err)
		}
		var ids []int32
		for id := range int32(64 * len(mask)) {
			if mask[id/64]>>(id%64)&1 == 1 {
				ids = append(ids, id)
			}
		}
		if len(ids) == 0 && !end {
			t.Fatalf("behind %q nothing can follow", out)
		}
		if len(ids) == 0 || end && (n > 40 || rng.IntN(4) == 0) {
			return out, true
		}
		id := ids[rng.IntN(len(ids))]
		if n > 40 { // brackets and quotes close: they are high and low
			for _, want := range []string{"\"}", "\"", "]", "}"} {
				for _, i := range ids {
					if string(text(i)) == want {
						id = i
					}
				}
			}
		}
		if at, err = g.Advance(at, text(id)); err != nil {
			t.Fatal(err)
		}
		out += string(text(id))
	}
	return out, false
}

var patterns = []string{`a*b+c?`, `(?:ab|世|é)+[0-9]{2,3}`, `^\d{4}-\d{2}$`, `.`, `(?i)straße`, `[^a-z\x{10000}-\x{10FFFF}]{1,4}`, `\p{Greek}+`, ``, `(a|ab)(c|bcd)`, `[\x{80}-\x{10FFFF}]+`, `x{0,5}y`}

// FuzzRegexp compares with Go's own matcher.
func FuzzRegexp(f *testing.F) {
	for _, p := range patterns {
		for _, text := range []string{"aabbc", "ab世12", "2024-11", "é", "STRASSE", "straße", "αβγ", "", "abcd", "xxy", "\xff", "\U0001F600"} {
			f.Add(p, text)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		re, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
		if err != nil || !utf8.ValidString(text) || len(pattern) > 200 || len(text) > 200 {
			return
		}
		trie, _ := bytesTrie()
		g, err := Regexp(pattern, trie)
		if err != nil {
			return // refused: anchors inside, too large
		}
		if got, want := matches(t, g, text), re.MatchString(text); got != want {
			t.Errorf("%q on %q: %v, want %v", pattern, text, got, want)
		}
	})
}

// TestRegexpWalks: what is allowed token by token matches, also where tokens cut characters.
func TestRegexpWalks(t *testing.T) {
	trie, text := bytesTrie()
	for _, p := range patterns {
		g, err := Regexp(p, trie)
		if err != nil {
			t.Fatal(err)
		}
		re := regexp.MustCompile(`\A(?:` + p + `)\z`)
		for seed := range uint64(30) {
			if got, ended := walk(t, g, text, seed); ended && !re.MatchString(got) {
				t.Errorf("%q: %q was allowed", p, got)
			}
		}
	}
}

var schemas = []string{
	`{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"},"tags":{"type":"array","items":{"type":"string","maxLength":3},"maxItems":3}},"required":["name","age"]}`,
	`{"type":"object","properties":{"a":{"type":"null"},"b":{"type":"boolean"},"c":{"enum":["x","y\n",3,null]}}}`,
	`{"anyOf":[{"type":"number"},{"type":"array","items":{"$ref":"#/$defs/p"},"minItems":1}],"$defs":{"p":{"type":"object","properties":{"x":{"type":"number"}},"required":["x"]}}}`,
	`{"type":["string","null"],"minLength":2,"maxLength":4}`,
	`{"type":"string","pattern":"^[A-Z].\\d+$"}`,
	`{"const":{"a":1}}`, `{"const":null}`, `{}`, `true`, `{"type":"object"}`, `{"type":"array","minItems":2,"maxItems":2,"items":{"type":"integer"}}`,
}

// TestSchemaWalks: every text that a schema's grammar lets end is JSON, and has the properties that are required.
func TestSchemaWalks(t *testing.T) {
	trie, text := bytesTrie()
	for _, s := range schemas {
		p, err := JSONSchema([]byte(s))
		if strings.Contains(s, `{"const":{`) {
			if err == nil {
				t.Errorf("%s is accepted", s)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		g, err := Regexp(p, trie)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		ends := 0
		for seed := range uint64(40) {
			got, ended := walk(t, g, text, seed)
			if !ended {
				continue
			}
			ends++
			var v any
			if err := json.Unmarshal([]byte(got), &v); err != nil {
				t.Errorf("%s: %q was allowed: %v", s, got, err)
			}
			if o, ok := v.(map[string]any); ok && strings.Contains(s, `"required":["name"`) && (o["name"] == nil || o["age"] == nil) {
				t.Errorf("%s: %s lacks what is required", s, got)
			}
		}
		if ends == 0 {
			t.Errorf("%s: no text ended", s)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	for schema, want := range map[string]string{
		`{`:                              "not valid JSON",
		`[]`:                             "#: expected a schema",
		`{"type":"strng"}`:               `#/type: "strng": expected string`,
		`{"typ":"string"}`:               `keyword typ is not supported: did you mean "type"?`,
		`{"type":"integer","minimum":3}`: "keyword minimum is not supported",
		`{"oneOf":[{"type":"null"}]}`:    "keyword oneOf is not supported",
		`{"$ref":"#/$defs/a"}`:           "nothing is there",
		`{"$ref":"#"}`:                   "expected a place in this schema",
		`{"$defs":{"a":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}`:  "leads back to itself",
		`{"type":"string","maxLength":100000}`:                     "maxLength: 100000: expected 0 to 1000",
		`{"type":"string","minLength":3,"maxLength":2}`:            "minLength 3 is more than maxLength 2",
		`{"type":"object","properties":{"a":{}},"required":["b"]}`: "b is not among the properties",
		`{"type":"string","pattern":"a\"b"}`:                       "has to be quoted",
		`{"enum":[1],"properties":{}}`:                             "keyword properties beside enum",
	} {
		if _, err := JSONSchema([]byte(schema)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", schema, err, want)
		}
	}
	trie, _ := bytesTrie()
	for pattern, want := range map[string]string{`a(`: "missing closing", `a\bb`: "not supported", `a$b`: "not supported", `(?:[a-z]{1000}){1000}`: "invalid repeat"} {
		if _, err := Regexp(pattern, trie); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", pattern, err, want)
		}
	}
}

func FuzzSchema(f *testing.F) {
	for _, s := range schemas {
		f.Add([]byte(s))
	}
	trie, text := bytesTrie()
	f.Fuzz(func(t *testing.T, schema []byte) {
		p, err := JSONSchema(schema)
		if err != nil || len(p) > 4000 {
			return
		}
		g, err := Regexp(p, trie)
		if err != nil {
			return
		}
		if got, ended := walk(t, g, text, 1); ended && !json.Valid([]byte(got)) {
			t.Errorf("%s: %q was allowed", schema, got)
		}
	})
}
