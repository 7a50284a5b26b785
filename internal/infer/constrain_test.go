package infer_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"

	"mor/internal/infer"
)

// TestConstrained: a text that was not cut by its length matches, whatever the model would rather write, alone and beside free texts.
func TestConstrained(t *testing.T) {
	tok := newTokenizer(t)
	e := newEngine(t, newTextModel(t, "expert", tok), tok)
	prompt := encode(t, e, "the")
	free, _, _ := collect(t, e, prompt, greedily(30))
	const pattern = `(?:fox|dog)s? [0-9]{2,4}!`
	schema := []byte(`{"type":"object","properties":{"kind":{"enum":["fox","dog"]},"age":{"type":"integer"},"ok":{"type":"boolean"}},"required":["kind","ok"]}`)
	var wg sync.WaitGroup
	for seed := range uint64(12) {
		o := infer.DefaultOptions()
		o.MaxTokens, o.Temperature, o.Seed = 60, 1.5, seed
		if seed%2 == 0 {
			o.Regexp = pattern
		} else {
			o.JSONSchema = schema
		}
		s := submit(t, e, prompt, o)
		wg.Go(func() {
			text := ""
			for tk, err := range s.Tokens() {
				if err != nil {
					t.Error(err)
				}
				text += tk.Text
			}
			r, _ := s.Result()
			if r.Choices[0].Finish != infer.FinishStop {
				return
			}
			if o.Regexp != "" && !regexp.MustCompile(`\A`+pattern+`\z`).MatchString(text) || o.Regexp == "" && !json.Valid([]byte(text)) {
				t.Errorf("seed %d: %q does not match", seed, text)
			}
		})
	}
	if got, _, _ := collect(t, e, prompt, greedily(30)); !sameTokens(got, free) {
		t.Error("a free text differs beside constrained ones")
	}
	wg.Wait()
	o := greedily(40)
	o.Regexp = pattern
	if _, text, r := collect(t, e, prompt, o); r.Choices[0].Finish != infer.FinishStop || !strings.HasSuffix(text, "!") {
		t.Errorf("%q, finish %q: the text ends where nothing can follow", text, r.Choices[0].Finish)
	}
	for want, edit := range map[string]func(*infer.Options){
		"regexp: error parsing":           func(o *infer.Options) { o.Regexp = "a(" },
		"json_schema: #: keyword minimum": func(o *infer.Options) { o.JSONSchema = []byte(`{"minimum":3}`) },
		"regexp: beside a JSON schema":    func(o *infer.Options) { o.Regexp, o.JSONSchema = "a", []byte("{}") },
	} {
		o := greedily(3)
		edit(&o)
		_, err := e.Submit(t.Context(), &infer.Request{Prompt: prompt, Options: o})
		var option *infer.OptionError
		if !errors.As(err, &option) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
