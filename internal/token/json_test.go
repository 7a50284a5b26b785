package token

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

const templateExample = `{"type":"TemplateProcessing",` +
	`"single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"</s>","type_id":0}}],` +
	`"pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],` +
	`"special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<|im_start|>"]},"</s>":{"id":"</s>","ids":[2],"tokens":["<|im_end|>"]}}}`

// A file that is read, written and read again says the same.
func TestJSONRoundTrip(t *testing.T) {
	small := string(smallTokenizer().appendJSON(nil))
	files := map[string]string{"small": small}
	for name, pre := range map[string]string{
		"ByteLevel": byteLevelWithout,
		"Split":     sequence(splitStep(`{"Regex":"\\s+|\\d"}`, removed, "true"), splitStep(`{"String":" "}`, isolated, "false"), byteLevelWithout),
	} {
		files[name] = string(withPre(t, pre).appendJSON(nil))
	}
	files["template"] = replaceAll(t, small, `"post_processor": null`, `"post_processor": `+templateExample)
	files["processors"] = replaceAll(t, small, `"post_processor": null`,
		`"post_processor": {"type":"Sequence","processors":[`+byteLevelWithout+`,`+templateExample+`]}`)
	files["unknown"] = replaceAll(t, small, `"unk_token": null`, `"unk_token": "the"`, `"fuse_unk": false`, `"fuse_unk": true`,
		`"ignore_merges": false`, `"ignore_merges": true`)
	for name, file := range files {
		first, err := Parse([]byte(file))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		written, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		second, err := Parse(written)
		if err != nil {
			t.Errorf("%s: reading what was written: %v", name, err)
			continue
		}
		if first.Hash() != second.Hash() || !slices.Equal(first.Encode(sample), second.Encode(sample)) {
			t.Errorf("%s: writing and reading changes the tokenizer", name)
		}
		if name != "small" && first.Hash() == smallTokenizer().Hash() {
			t.Errorf("%s: has the hash of another tokenizer", name)
		}
	}
}

func TestJSONRoundTripSmolLM2(t *testing.T) {
	tok := loadShared(t, "tokenizers", "smollm2", "tokenizer.json")
	again, err := Parse(tok.appendJSON(nil))
	if err != nil {
		t.Fatal(err)
	}
	if tok.Hash() != again.Hash() {
		t.Error("writing and reading changes SmolLM2's tokenizer")
	}
	var file, ours struct {
		AddedTokens  any `json:"added_tokens"`
		PreTokenizer any `json:"pre_tokenizer"`
		Decoder      any `json:"decoder"`
		Model        struct{ Vocab map[string]int32 }
	}
	data, err := os.ReadFile(sharedFile(t, "tokenizers", "smollm2", "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []struct {
		data []byte
		to   any
	}{{data, &file}, {tok.appendJSON(nil), &ours}} {
		if err := json.Unmarshal(d.data, d.to); err != nil {
			t.Fatal(err)
		}
	}
	want, _ := json.Marshal(file)
	got, _ := json.Marshal(ours)
	if string(want) != string(got) {
		t.Error("the written file says something else than SmolLM2's")
	}
}

func TestTemplate(t *testing.T) {
	small := string(smallTokenizer().appendJSON(nil))
	tok, err := Parse([]byte(replaceAll(t, small, `"post_processor": null`, `"post_processor": `+templateExample)))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(tok.Prefix(), []int32{1}) || !slices.Equal(tok.Suffix(), []int32{2}) {
		t.Errorf("prefix %v, suffix %v, want [1] [2]", tok.Prefix(), tok.Suffix())
	}
}

func TestMergesAsPairs(t *testing.T) {
	small := string(smallTokenizer().appendJSON(nil))
	head, list, _ := strings.Cut(small, `"merges": [`)
	var pairs strings.Builder
	for _, line := range strings.Split(list, "\n") {
		if merge, ok := strings.CutPrefix(strings.TrimSpace(line), `"`); ok {
			merge, comma := strings.CutSuffix(merge, ",")
			line = `["` + strings.Replace(merge, " ", `", "`, 1) + `]`
			if comma {
				line += ","
			}
		}
		pairs.WriteString(line + "\n")
	}
	tok, err := Parse([]byte(head + `"merges": [` + pairs.String()))
	if err != nil {
		t.Fatal(err)
	}
	if tok.Hash() != smallTokenizer().Hash() {
		t.Error("merges as pairs make another tokenizer")
	}
}

// What is not understood is refused by name.
func TestParseRefuses(t *testing.T) {
	small := string(smallTokenizer().appendJSON(nil))
	pre := `"pre_tokenizer": {"type":"Sequence"`
	for _, c := range []struct{ old, new, want string }{
		{small, "", "not a tokenizer.json: unexpected end of JSON input"},
		{small, "[]", "the file: expected an object, found []"},
		{small, "null", "the file: expected an object, found null"},
		{small, "{}", "pre_tokenizer: null is not supported"},
		{"brown", "\xff", "not valid UTF-8"},
		{`"version": "1.0"`, `"version": "2.0"`, `version: expected "1.0", found "2.0"`},
		{`"version": "1.0"`, `"colour": 1`, `field "colour" is not supported`},
		{`"truncation": null`, `"truncation": {"max_length":512}`, "truncation: an object without a type is not supported: expected null"},
		{`"normalizer": null`, `"normalizer": {"type":"NFC"}`, "normalizer: this NFC is not supported: expected null, or Llama"},
		{pre, `"pre_tokenizer": {"type":"Metaspace"}, "x": {"type":"Sequence"`, `field "x" is not supported`},
		{`"type":"Digits","individual_digits":true`, `"type":"Punctuation"`, "pre_tokenizer.pretokenizers[0]: Punctuation is not supported"},
		{`"type":"Digits"`, `"type":"Digits","colour":1`, `pre_tokenizer.pretokenizers[0]: unknown field "colour"`},
		{`{"type":"Digits","individual_digits":true}`, byteLevelWithout, "step 0 is ByteLevel: expected it at the end"},
		{`{"type":"Digits","individual_digits":true}`, splitStep(`{"Regex":"("}`, isolated, "false"), `step 0: pattern "(": error parsing regexp`},
		{`{"type":"Digits","individual_digits":true}`, splitStep(`{"Regex":"[a&&b]"}`, isolated, "false"), "set intersections (&&) are not supported"},
		{`{"type":"Digits","individual_digits":true}`, splitStep(`{}`, isolated, "false"), "expected either String or Regex"},
		{`{"type":"Digits","individual_digits":true}`, splitStep(`{"String":"a"}`, "Odd", "false"), `behavior "Odd" is unknown`},
		{`"post_processor": null`, `"post_processor": {"type":"BertProcessing"}`, "post_processor: BertProcessing is not supported"},
		{`"post_processor": null`, `"post_processor": ` + strings.Replace(templateExample, "[1]", "[420]", 1), "id 420 of"},
		{`"post_processor": null`, `"post_processor": ` + strings.Replace(templateExample, `"A"`, `"B"`, 1), "expected a SpecialToken or the Sequence A"},
		{`"decoder": {"type":"ByteLevel"`, `"decoder": {"type":"WordPiece"`, "decoder: WordPiece is not supported: expected ByteLevel"},
		{`"type": "BPE"`, `"type": "Unigram"`, "model: Unigram is not supported: expected BPE"},
		{`"type": "BPE"`, `"type": "BPE", "colour": 1`, `model: field "colour" is not supported`},
		{`"type": "BPE"`, `"type": "BPE", "\u0074ype": "BPE"`, `model: field "type" occurs twice`},
		{`"dropout": null`, `"dropout": 0.1`, "model.dropout: 0.1 is not supported"},
		{`"unk_token": null`, `"unk_token": "<unk>"`, `model.unk_token: "<unk>" is not in model.vocab`},
		{`"continuing_subword_prefix": null`, `"continuing_subword_prefix": "##"`, `model.continuing_subword_prefix: "##" is not supported`},
		{`"end_of_word_suffix": null`, `"end_of_word_suffix": "</w>"`, `model.end_of_word_suffix: "</w>" is not supported`},
		{`"byte_fallback": false`, `"byte_fallback": true`, "model.byte_fallback: true is not supported"},
		{`"vocab": {`, `"vocab": 1, "colour": {`, `model: field "colour" is not supported`},
		{`"!": 3`, `"!": -3`, `token "!" has the negative id -3`},
		{`"!": 3`, `"!": 4`, "have the same id 4"},
		{`"!": 3`, `"!": 100000000`, "ids up to 100000000: expected ids below"},
		{`"!": 3`, `"!": 3e9`, `token "!" has the id 3e9: expected an integer`},
		{`"!": 3`, `"!": "3"`, `token "!" has the id`},
		{`"!": 3`, `"!": {"a": 3}`, `token "!" has the id`},
		{`"!": 3`, `"\"": 3`, `token "\"" has two ids`},
		{`"!": 3`, `"": 3`, "token 3 is empty"},
		{`"merges": [`, `"merges": ["a b c",`, `model.merges[0]: expected "left right"`},
		{`"merges": [`, `"merges": [["a"],`, `model.merges[0]: expected "left right"`},
		{`"merges": [`, `"merges": [1,`, `model.merges[0]: expected "left right"`},
		{`"merges": [`, `"merges": ["q qq",`, `model.merges[0]: "qq" is not in model.vocab`},
		{`"merges": [`, `"merges": ["q q",`, `model.merges[0]: the merged token "qq" is not in model.vocab`},
		{`"id":0,`, `"id":1,`, `has id 1, in model.vocab it has id 0`},
		{`"id":0,`, `"id":-1,`, `has the negative id -1`},
		{`"id":0,`, `"id":430,`, `"<|endoftext|>" has id 430, in model.vocab it has id 0`},
		{`"content":"<|endoftext|>"`, `"content":""`, "token 0 is empty"},
		{`"content":"<|endoftext|>"`, `"content":"</s>"`, `id 0 is "</s>", in model.vocab it is "<|endoftext|>"`},
	} {
		_, err := Parse([]byte(replaceAll(t, small, c.old, c.new)))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60q -> %.60q:\n got %v\nwant %s", c.old, c.new, err, c.want)
		}
	}
}

// Whatever Parse accepts, it can write, read again and use.
func FuzzParse(f *testing.F) {
	small := string(smallTokenizer().appendJSON(nil))
	f.Add([]byte(small), sample)
	f.Add([]byte(strings.Replace(small, `"post_processor": null`, `"post_processor": `+templateExample, 1)), "a")
	f.Add([]byte(`{"decoder":{"type":"ByteLevel"},"pre_tokenizer":`+sequence(splitStep(`{"Regex":"a|b$"}`, mergedWithNext, "true"), byteLevelWithout)+
		`,"model":{"type":"BPE","vocab":{"a":0,"b":1,"\u0061b":2},"merges":[["a","b"]]}}`), "abc")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tok, err := Parse(data)
		if err != nil {
			return
		}
		again, err := Parse(tok.appendJSON(nil))
		if err != nil {
			t.Fatalf("reading what was written: %v", err)
		}
		if tok.Hash() != again.Hash() {
			t.Fatal("writing and reading changes the tokenizer")
		}
		if strings.Contains(string(data), "Regex") {
			return // a hostile pattern may take for ever
		}
		if ids := tok.Encode(text); !slices.Equal(ids, again.Encode(text)) || tok.Decode(ids) != again.Decode(ids) {
			t.Fatal("writing and reading changes the tokens")
		}
	})
}

func TestParseGPT2Refuses(t *testing.T) {
	for _, c := range []struct{ encoder, merges, want string }{
		{`[]`, "", "encoder.json: expected an object"},
		{`{"a":5}`, "a", `merge 0: expected "left right"`},
		{`{"a":0}`, "#version: 0.2\na b c\n", `merge 0: expected "left right", found "a b c"`},
		{`{}`, "", "no tokens"},
		{`{"a":1,"b":1}`, "", "have the same id 1"},
		{`{"a":1000000}`, "", "ids up to 1000000"},
		{`{"a":1`, "", "encoder.json: unexpected end of JSON input"},
	} {
		_, err := ParseGPT2([]byte(c.encoder), []byte(c.merges))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: error %v, want %q", c.encoder, c.merges, err, c.want)
		}
	}
}
