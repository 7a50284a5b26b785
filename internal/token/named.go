package token

import (
	"fmt"
	"slices"
	"strings"
)

// namedPre is a pre-tokenizer that GGUF files name.
type namedPre struct {
	names        []string // all that mean it; the first is the one that is written
	steps        func() []preStep
	ignoreMerges bool // a pre-token that is a token stays as it is, without merges
	bos          bool // a text begins with BOS unless the file says otherwise
}

// Patterns of vocabularies that models of the Llama architecture come with.
const (
	// patternGPT4o is o200k's, which cuts before a capital letter too; Tekken's is the same without contractions and with numbers one by one.
	patternGPT4o = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|` +
		`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|` +
		`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternTekken = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|` +
		`\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternQwen35 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	// patternDeepSeek3 keeps a mark of ASCII with the letters behind it.
	patternDeepSeek3 = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
	patternMiniCPM   = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	// patternLetters are the letters with case of Latin, Greek, Cyrillic and their relatives, as DeepSeek lists them.
	patternLetters = "\\s?[A-Za-z\u00B5\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u01BA\u01BC-\u01BF\u01C4-\u0293\u0295-\u02AF\u0370-\u0373\u0376\u0377\u037B-\u037D\u037F\u0386" +
		"\u0388-\u038A\u038C\u038E-\u03A1\u03A3-\u03F5\u03F7-\u0481\u048A-\u052F\u0531-\u0556\u10A0-\u10C5\u13A0-\u13F5\u13F8-\u13FD\u1C90-\u1CBA\u1CBD-\u1CBF" +
		"\u1D00-\u1D2B\u1D6B-\u1D77\u1D79-\u1D9A\u1E00-\u1F15\u1F18-\u1F1D\u1F20-\u1F45\u1F48-\u1F4D\u1F50-\u1F57\u1F59\u1F5B\u1F5D\u1F5F-\u1F7D\u1F80-\u1FB4" +
		"\u1FB6-\u1FBC\u1FBE\u1FC2-\u1FC4\u1FC6-\u1FCC\u1FD0-\u1FD3\u1FD6-\u1FDB\u1FE0-\u1FEC\u1FF2-\u1FF4\u1FF6-\u1FFC\u2102\u2107\u210A-\u2113\u2115\u2119-" +
		"\u211D\u2124\u2126\u2128\u212A-\u212D\u212F-\u2134\u2139\u213C-\u213F\u2145-\u2149\u214E\u2183\u2184\u2C00-\u2C7B\u2C7E-\u2CE4\u2CEB-\u2CEE\u2CF2" +
		"\u2CF3\uA640-\uA66D\uA680-\uA69B\uA722-\uA76F\uA771-\uA787\uA78B-\uA78E\uAB70-\uABBF\uFB00-\uFB06\uFB13-\uFB17\uFF21-\uFF3A\uFF41-\uFF5A\U00010400-" +
		"\U0001044F\U000104B0-\U000104D3\U000104D8-\U000104FB\U00010C80-\U00010CB2\U00010CC0-\U00010CF2\U000118A0-\U000118DF\U0001E900-\U0001E943]+"
	patternHan   = "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+"
	patternKana  = "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+"
	patternMarks = `\s?[!-/:-~！-／：-～‘-‟　-。]+`
	patternBloom = ` ?[^(\s|.,!?…。，、।۔،)]+`
	// patternFalcon are the marks that Falcon keeps together.
	patternFalcon = "[\\p{P}\\$\\+<=>\\^~\\|`]+"
	threeDigits   = `[0-9][0-9][0-9]`
)

// namedPres are the pre-tokenizers by llama.cpp's names.
var namedPres = []namedPre{
	{names: []string{"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "gigachat", "a.x-4.0", "mellum", "exaone4", "granite-docling"}, steps: gpt2Steps},
	{names: []string{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"}, steps: digitSteps},
	{names: []string{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"}, steps: splitSteps(patternLlama3), ignoreMerges: true, bos: true},
	{names: []string{"dbrx", "smaug-bpe", "chatglm-bpe"}, steps: splitSteps(patternLlama3)},
	{names: []string{"qwen2", "stablelm2", "deepseek-r1-qwen", "kormo", "megrez", "hunyuan", "solar-open"}, steps: splitSteps(patternQwen2)},
	{names: []string{"qwen35"}, steps: splitSteps(patternQwen35)},
	{names: []string{"minicpm5"}, steps: splitSteps(`\p{N}{1,3}`, patternMiniCPM), ignoreMerges: true},
	{names: []string{"gpt-4o", "llama4", "kanana2"}, steps: splitSteps(patternGPT4o)},
	{names: []string{"tekken"}, steps: splitSteps(patternTekken), ignoreMerges: true, bos: true},
	{names: []string{"deepseek-llm"}, steps: splitSteps("[\r\n]", patternLetters, patternMarks, `\s+$`, patternHan, `\p{N}+`)},
	{names: []string{"deepseek-coder"}, steps: splitSteps("[\r\n]", `\s?\p{L}+`, `\s?\p{P}+`, patternHan, `\p{N}`)},
	{names: []string{"deepseek-v3", "hunyuan-dense", "joyai-llm"}, steps: splitSteps(`\p{N}{1,3}`, patternKana, patternDeepSeek3)},
	{names: []string{"falcon"}, steps: splitSteps(patternFalcon, patternGPT2, threeDigits)},
	{names: []string{"bloom", "poro-chat", "gpt3-finnish"}, steps: splitSteps(patternBloom)},
	{names: []string{"viking"}, steps: splitSteps(patternBloom, `\p{N}`)},
	{names: []string{DefaultPre}, steps: splitSteps(`[\p{P}\$\+<=>\^~\|]+`, patternGPT2, `\p{N}+`, threeDigits)},
}

// DefaultPre is what llama.cpp takes where a file names no pre-tokenizer.
const DefaultPre = "default"

// PreTokenizers returns the names that Train takes: gpt-2 is the pattern of GPT-2; smollm, also called starcoder, is the same with every digit for itself; llama-bpe also
// takes a pre-token that is a token as it is, without merges. New takes more of llama.cpp's names.
func PreTokenizers() []string { return []string{"gpt-2", "smollm", "starcoder", "llama-bpe", "qwen2"} }

// BeginsWithBOS tells whether a text begins with BOS under a pre-tokenizer of that name where the file does not say.
func BeginsWithBOS(name string) bool {
	p, err := preByName(name)
	return err == nil && p.bos
}

// preByName finds a pre-tokenizer.
func preByName(name string) (*namedPre, error) {
	for i := range namedPres {
		if slices.Contains(namedPres[i].names, name) {
			return &namedPres[i], nil
		}
	}
	var known []string
	for i := range namedPres {
		known = append(known, namedPres[i].names[0])
	}
	return nil, fmt.Errorf("pre-tokenizer %q is unknown: expected one of llama.cpp's names, such as %s", name, strings.Join(known, ", "))
}

func gpt2Steps() []preStep { return []preStep{{kind: stepByteLevel, byteLevel: newByteLevel(true)}} }

func digitSteps() []preStep {
	return append([]preStep{{kind: stepDigits, digits: digitsJSON{Type: stepDigits, IndividualDigits: true}}}, gpt2Steps()...)
}

// splitSteps are patterns, each of which cuts what the one before left, followed by a ByteLevel step without one.
func splitSteps(patterns ...string) func() []preStep {
	return func() []preStep {
		var steps []preStep
		for _, p := range patterns {
			steps = append(steps, preStep{kind: stepSplit, split: splitJSON{Type: stepSplit, Pattern: patternJSON{Regex: &p}, Behavior: isolated}})
		}
		return append(steps, preStep{kind: stepByteLevel, byteLevel: newByteLevel(false)})
	}
}
