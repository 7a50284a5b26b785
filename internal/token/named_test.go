package token

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestNamedPreTokenizers: what each of llama.cpp's names cuts, as Hugging Face tokenizers does with the same patterns.
func TestNamedPreTokenizers(t *testing.T) {
	const text = "We'LL pay $1234.5x HTMLParser\r\n  ελ 漢字か कि!!\n\n()  .a"
	for name, want := range map[string]string{
		"bloom":          "We'LL| pay| $1234|.|5x| HTMLParser|\r\n | ελ| 漢字か| कि|!!\n\n()  .|a",
		"dbrx":           "We|'LL| pay| $|123|4|.|5|x| HTMLParser|\r\n| | ελ| 漢字か| क|ि!!\n\n|()| | .|a",
		"deepseek-coder": "We|'|LL| pay| $|1|2|3|4|.|5|x| HTMLParser|\r|\n| | ελ| |漢字か| |क|ि|!!|\n|\n|()| | .|a",
		"deepseek-llm":   "We|'|LL| pay| $|1234|.|5|x| HTMLParser|\r|\n| | ελ| |漢字か| |कि|!!|\n|\n|()| | .|a",
		"deepseek-v3":    "We|'LL| pay| $|123|4|.|5|x| HTMLParser|\r\n| | ελ| |漢字か| कि|!!\n\n|()| | .|a",
		"default":        "We|'|LL| pay| |$|123|4|.|5|x| HTMLParser|\r\n | ελ| 漢字か| क|ि|!!|\n\n|()|  |.|a",
		"falcon":         "We|'|LL| pay| |$|123|4|.|5|x| HTMLParser|\r\n | ελ| 漢字か| क|ि|!!|\n\n|()|  |.|a",
		"gpt-2":          "We|'|LL| pay| $|1234|.|5|x| HTMLParser|\r\n | ελ| 漢字か| क|ि!!|\n|\n|()| | .|a",
		"gpt-4o":         "We'LL| pay| $|123|4|.|5|x| HTMLParser|\r\n| | ελ| 漢字か| कि|!!\n\n|()| | .|a",
		"llama-bpe":      "We|'LL| pay| $|123|4|.|5|x| HTMLParser|\r\n| | ελ| 漢字か| क|ि!!\n\n|()| | .|a",
		"minicpm5":       "We|'LL| pay| $|123|4|.|5|x| HTMLParser|\r\n| | ελ| 漢字か| क|ि!!\n\n|()| | .|a",
		"qwen2":          "We|'LL| pay| $|1|2|3|4|.|5|x| HTMLParser|\r\n| | ελ| 漢字か| क|ि!!\n\n|()| | .|a",
		"qwen35":         "We|'LL| pay| $|1|2|3|4|.|5|x| HTMLParser|\r\n| | ελ| 漢字か| कि|!!\n\n|()| | .|a",
		"smollm":         "We|'|LL| pay| $|1|2|3|4|.|5|x| HTMLParser|\r\n | ελ| 漢字か| क|ि!!|\n|\n|()| | .|a",
		"tekken":         "We|'LL| pay| $|1|2|3|4|.|5|x| HTMLParser|\r\n| | ελ| 漢字か| कि|!!\n\n|()| | .|a",
		"viking":         "We'LL| pay| $|1|2|3|4|.|5|x| HTMLParser|\r\n | ελ| 漢字か| कि|!!\n\n()  .|a",
	} {
		pre, err := preByName(name)
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(stepsJSON(pre.steps()))
		if err != nil {
			t.Fatal(err)
		}
		tok := withPre(t, string(data))
		if got := tok.pieces(text); got != want {
			t.Errorf("%s:\n got %q\nwant %q", name, got, want)
		}
	}
}

// TestNamedRoundTrip: a vocabulary with any of the names is written under one that means the same.
func TestNamedRoundTrip(t *testing.T) {
	v, err := smallTokenizer().Vocab()
	if err != nil {
		t.Fatal(err)
	}
	for i := range namedPres {
		for _, name := range namedPres[i].names {
			v.Pre = name
			tok, err := New(v)
			if err != nil {
				t.Fatal(err)
			}
			back, err := tok.Vocab()
			if err != nil || back.Pre != namedPres[i].names[0] {
				t.Errorf("%s comes back as %q, %v", name, back.Pre, err)
			}
			again, err := Parse(tok.appendJSON(nil))
			if err != nil || again.Hash() != tok.Hash() {
				t.Errorf("%s: its tokenizer.json is another: %v", name, err)
			}
		}
	}
	v.Pre = "gpt-3"
	if _, err := New(v); err == nil || !strings.Contains(err.Error(), `pre-tokenizer "gpt-3" is unknown`) {
		t.Error(err)
	}
}
