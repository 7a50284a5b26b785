package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/openai/openai-go/v2"
)

// tables are the fields of both kinds of requests, with a value that each takes.
var tables = []struct {
	path   string
	chat   bool
	fields []field
	sdk    reflect.Type // OpenAI's own list
	least  string       // what a request must have
}{
	{"/v1/completions", false, completionFields, reflect.TypeFor[openai.CompletionNewParams](), `"prompt": "a"`},
	{"/v1/chat/completions", true, chatFields, reflect.TypeFor[openai.ChatCompletionNewParams](), `"messages": [{"role": "user", "content": "a"}]`},
}

// accepted is a value that a field takes, with what it needs beside it.
var accepted = map[string]string{
	"model": `"default"`, "temperature": `0.5`, "top_p": `0.5`, "n": `2`, "stop": `["a", "b"]`, "seed": `-3`, "presence_penalty": `1`, "frequency_penalty": `-1`,
	"logit_bias": `{"5": -100}`, "stream": `true`, "stream_options": `{"include_usage": true}, "stream": true`, "user": `"me"`, "top_k": `-1`, "min_p": `0.1`, "typical_p": `0.9`,
	"repetition_penalty": `1.1`, "min_tokens": `1`, "ignore_eos": `true`, "stop_token_ids": `[3]`, "guided_regex": `"a*"`, "max_recursion": `1`, "router_threshold": `0.5`,
	"return_depth": `true`, "speculate": `2`, "prompt": `[[1, 2], [3]]`, "max_tokens": `4`, "echo": `true`, "best_of": `1`, "response_format": `{"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "null"}}}`,
	"messages": `[{"role": "developer", "content": [{"type": "text", "text": "a"}], "name": "x", "refusal": null}]`, "max_completion_tokens": `4`, "service_tier": `"auto"`,
	"store": `false`, "modalities": `["text"]`, "safety_identifier": `"x"`, "add_generation_prompt": `false`, "chat_template_kwargs": `{"a": [1]}`, "top_logprobs": `2, "logprobs": true`,
}

// wrong are values that a field refuses, besides an object where it takes none.
var wrong = map[string][]string{
	"model": {`3`}, "temperature": {`-1`, `"a"`}, "top_p": {`0`, `2`}, "n": {`0`, `129`, `1.5`}, "stop": {`[""]`, `["a","b","c","d","e"]`, `[null]`, `3`}, "seed": {`1.5`, `"a"`},
	"presence_penalty": {`3`}, "frequency_penalty": {`-3`}, "logit_bias": {`{"a": 1}`, `{"-4": 1}`, `{"3": 101}`}, "stream": {`1`}, "stream_options": {`{"include_usage": true}`},
	"user": {`3`}, "top_k": {`-2`}, "min_p": {`2`}, "typical_p": {`-1`}, "repetition_penalty": {`0`}, "min_tokens": {`-1`}, "ignore_eos": {`1`}, "stop_token_ids": {`[-1]`, `[null]`, `["a"]`},
	"guided_regex": {`"a("`, `3`}, "max_recursion": {`0`, `99`}, "router_threshold": {`0`, `1`}, "return_depth": {`"yes"`}, "speculate": {`-1`}, "max_tokens": {`-1`, `0`, `"a"`},
	"prompt": {`3`, `[]`, `[null]`, `[[]]`, `[1, null]`, `[1, "a"]`, `[-1]`, `[9999999]`, `[[1], null]`}, "echo": {`1`}, "best_of": {`2`}, "logprobs": {`101`, `"a"`},
	"response_format": {`{"type": "xml"}`, `{"type": "json_schema"}`, `{"type": "text", "json_schema": {"name": "x"}}`, `{"type": "json_schema", "json_schema": {"name": "x", "schema": {"minimum": 3}}}`, `{"typ": "text"}`},
	"messages":        {`[]`, `[{"role": "tool", "content": "a"}]`, `[{"role": "user"}]`, `[{"role": "user", "content": [{"type": "image_url"}]}]`, `[{"role": "user", "content": "a", "extra": 1}]`, `[{"role": "user", "content": "a", "tool_calls": []}]`, `"a"`},
	"service_tier":    {`"flex"`}, "store": {`true`}, "modalities": {`["audio"]`}, "safety_identifier": {`3`}, "add_generation_prompt": {`3`}, "chat_template_kwargs": {`3`}, "top_logprobs": {`2`},
	"max_completion_tokens": {`0`, `"a"`},
}

// request is a body with a field beside what it must have.
func request(least, name, value string) string {
	if strings.HasPrefix(least, fmt.Sprintf("%q", name)) {
		least = `"model": "default"`
		if name == "messages" || name == "prompt" {
			return fmt.Sprintf(`{%q: %s}`, name, value)
		}
	}
	return fmt.Sprintf(`{%s, %q: %s}`, least, name, value)
}

// TestFieldsOfSDK: every field that OpenAI's own client can send is in the table.
func TestFieldsOfSDK(t *testing.T) {
	for _, table := range tables {
		for i := range table.sdk.NumField() {
			name, _, _ := strings.Cut(table.sdk.Field(i).Tag.Get("json"), ",")
			if name == "" || name == "-" {
				continue
			}
			if !slices.ContainsFunc(table.fields, func(f field) bool { return f.name == name }) {
				t.Errorf("%s: %s is not in the table", table.path, name)
			}
		}
	}
}

// TestFields: every field of the table does what it says: it is taken, or refused by a 400 that names it; values out of range are refused by its name.
func TestFields(t *testing.T) {
	s := smallServer(t)
	for _, table := range tables {
		for _, f := range table.fields {
			if f.set == nil {
				expectRefused(t, s, table.path, request(table.least, f.name, `{"a": [1]}`), f.name)
				expectTaken(t, s, table.path, request(table.least, f.name, `null`))
				continue
			}
			good := accepted[f.name]
			if f.name == "logprobs" {
				good = map[bool]string{false: `2`, true: `true`}[table.chat]
			}
			if good == "" || len(wrong[f.name]) == 0 {
				t.Errorf("%s: the test has no values for %s", table.path, f.name)
			}
			expectTaken(t, s, table.path, request(table.least, f.name, good))
			for _, bad := range wrong[f.name] {
				if f.name != "logprobs" || !table.chat || strings.HasPrefix(bad, `"`) {
					expectRefused(t, s, table.path, request(table.least, f.name, bad), f.name)
				}
			}
		}
		expectRefused(t, s, table.path, request(table.least, "temprature", `1`), "temprature")
		expectRefused(t, s, table.path, `{"user": "a", "user": "b"}`, "user")
		for _, body := range []string{``, `3`, `[]`, `{`, `{"user": "a"} {}`, `{"user" "a"}`, "\xff"} {
			expectRefused(t, s, table.path, body, "")
		}
	}
}

func expectTaken(t *testing.T, s *Server, path, body string) {
	t.Helper()
	if w := ask(s, path, body); w.Code != http.StatusOK {
		t.Errorf("%s %s: status %d: %s", path, body, w.Code, w.Body)
	}
}

// expectRefused wants a 400 whose message and param name a field.
func expectRefused(t *testing.T, s *Server, path, body, name string) {
	t.Helper()
	w := ask(s, path, body)
	var e struct {
		Error struct {
			Message, Type string
			Param         *string
		}
	}
	err := json.Unmarshal(w.Body.Bytes(), &e)
	param := ""
	if e.Error.Param != nil {
		param = *e.Error.Param
	}
	if err != nil || w.Code != http.StatusBadRequest || e.Error.Type != "invalid_request_error" || name != "" && (!strings.Contains(e.Error.Message, name) || !strings.HasPrefix(param, name) && !strings.Contains(param, name)) {
		t.Errorf("%s %s: status %d, want 400 about %q: %s", path, body, w.Code, name, w.Body)
	}
}

// TestReadmeFields: the README's tables are those of the code.
func TestReadmeFields(t *testing.T) {
	data, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := fieldTable(); !strings.Contains(string(data), want) {
		t.Errorf("README.md lacks this table:\n%s", want)
	}
}

// fieldTable is the tables as the README has them.
func fieldTable() string {
	var b strings.Builder
	b.WriteString("| field | of | support | |\n|---|---|---|---|\n")
	row := func(of string, f *field) { fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.name, of, f.support, f.note) }
	shared := func(name string) bool {
		return slices.ContainsFunc(sharedFields, func(f field) bool { return f.name == name })
	}
	for i := range sharedFields {
		row("both", &sharedFields[i])
	}
	for _, table := range tables {
		of := map[bool]string{false: "completions", true: "chat"}[table.chat]
		for i := range table.fields {
			if f := &table.fields[i]; !shared(f.name) {
				row(of, f)
			}
		}
	}
	return b.String()
}

// FuzzParseCall: no body is more than an error of one line.
func FuzzParseCall(f *testing.F) {
	for _, table := range tables {
		for name, value := range accepted {
			f.Add([]byte(request(table.least, name, value)), table.chat)
		}
		f.Add([]byte(`{`+table.least+`, "stop": [1, {"a": null}]}`), table.chat)
	}
	f.Fuzz(func(t *testing.T, body []byte, chat bool) {
		c, err := parseCall(body, chat, 100)
		if err == nil {
			if c.options.MaxTokens > 100 || len(c.options.Stop) > maxStop || !c.chat && len(c.prompts) == 0 {
				t.Errorf("%q was taken as %+v", body, c)
			}
			return
		}
		var e *apiError
		if !errors.As(err, &e) || e.status != http.StatusBadRequest {
			t.Errorf("%q: %v is no 400", body, err)
		}
	})
}
