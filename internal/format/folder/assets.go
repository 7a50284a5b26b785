package folder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"mor/internal/token"
)

// The files beside a model that mor reads.
const (
	generationFile      = "generation_config.json"
	tokenizerConfigFile = "tokenizer_config.json"
	templateFile        = "chat_template.jinja"
)

// Assets are the files beside a model that are kept as they are, by their names.
type Assets map[string][]byte

// assetNames lists the files that Hugging Face folders have beside weights and tokenizer.
var assetNames = []string{generationFile, tokenizerConfigFile, "special_tokens_map.json", templateFile, "added_tokens.json"}

// maxAsset is far beyond every such file.
const maxAsset = 64 << 20

// ReadAssets reads those that a folder has.
func ReadAssets(dir string) (Assets, error) {
	a := Assets{}
	for _, name := range assetNames {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if info.Size() > maxAsset {
			return nil, fmt.Errorf("%s: %d bytes: expected at most %d", path, info.Size(), maxAsset)
		}
		if a[name], err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	if _, ok := a[generationFile]; !ok {
		return a, a.addGeneration(filepath.Join(dir, ConfigFile))
	}
	return a, nil
}

// addGeneration makes the generation_config.json of a folder without one: config.json then says what ends a text.
func (a Assets) addGeneration(config string) error {
	data, err := os.ReadFile(config)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var c map[string]json.RawMessage
	if json.Unmarshal(data, &c) != nil {
		return nil // ReadConfig says what is wrong with it
	}
	out := map[string]json.RawMessage{}
	for _, key := range []string{"bos_token_id", "eos_token_id", "pad_token_id"} {
		if v, ok := c[key]; ok && string(v) != "null" {
			out[key] = v
		}
	}
	if len(out) == 0 {
		return nil
	}
	a[generationFile], err = json.MarshalIndent(out, "", " ")
	return err
}

// NewAssets makes the files that say which tokens end a text, what the special tokens are and how a conversation becomes a prompt. tok may be nil, chatTemplate "".
func NewAssets(tok *token.Tokenizer, stops []int32, chatTemplate string) Assets {
	a := Assets{}
	put := func(name string, v any) {
		data, err := json.MarshalIndent(v, "", " ")
		if err != nil { // maps of numbers and texts always encode
			panic(err)
		}
		a[name] = append(data, '\n')
	}
	if len(stops) > 0 {
		put(generationFile, map[string]any{"eos_token_id": stops})
	}
	if tok == nil {
		return a
	}
	// The class that takes tokenizer.json as it is; that of the model would add tokens of its own.
	config := map[string]any{"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false}
	if prefix := tok.Prefix(); len(prefix) > 0 {
		config["bos_token"] = string(tok.TokenBytes(prefix[0]))
	}
	if len(stops) > 0 {
		config["eos_token"] = string(tok.TokenBytes(stops[0]))
	} else if eot, ok := tok.EOT(); ok {
		config["eos_token"] = string(tok.TokenBytes(eot))
	}
	if chatTemplate != "" {
		config["chat_template"] = chatTemplate
	}
	put(tokenizerConfigFile, config)
	return a
}

// ChatTemplate is the Jinja text that turns a conversation into a prompt, "" where there is none. Of several, it is the one named default.
func (a Assets) ChatTemplate() (string, error) {
	if text, ok := a[templateFile]; ok {
		return string(text), nil
	}
	data, ok := a[tokenizerConfigFile]
	if !ok {
		return "", nil
	}
	var c struct {
		ChatTemplate json.RawMessage `json:"chat_template"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return "", fmt.Errorf("%s: %w", tokenizerConfigFile, err)
	}
	if len(c.ChatTemplate) == 0 || string(c.ChatTemplate) == "null" {
		return "", nil
	}
	var one string
	if json.Unmarshal(c.ChatTemplate, &one) == nil {
		return one, nil
	}
	var named []struct{ Name, Template string }
	if err := json.Unmarshal(c.ChatTemplate, &named); err != nil {
		return "", fmt.Errorf("%s: chat_template: %.40s: expected a text, or a list of named ones", tokenizerConfigFile, c.ChatTemplate)
	}
	for _, t := range named {
		if t.Name == "default" {
			return t.Template, nil
		}
	}
	return "", nil
}

// StopTokens lists the tokens that end a text, as generation_config.json says.
func (a Assets) StopTokens() ([]int32, error) {
	data, ok := a[generationFile]
	if !ok {
		return nil, nil
	}
	var c struct {
		EOS json.RawMessage `json:"eos_token_id"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", generationFile, err)
	}
	if len(c.EOS) == 0 || string(c.EOS) == "null" {
		return nil, nil
	}
	var one int32
	if json.Unmarshal(c.EOS, &one) == nil {
		return []int32{one}, nil
	}
	var list []int32
	if err := json.Unmarshal(c.EOS, &list); err != nil {
		return nil, fmt.Errorf("%s: eos_token_id: %.40s: expected a token id, or a list of them", generationFile, c.EOS)
	}
	return list, nil
}

// SpecialTokens lists the texts of the tokens that tokenizer_config.json names for chat templates: bos_token, eos_token, unk_token, pad_token.
func (a Assets) SpecialTokens() (map[string]string, error) {
	out := map[string]string{}
	data, ok := a[tokenizerConfigFile]
	if !ok {
		return out, nil
	}
	var c map[string]json.RawMessage
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", tokenizerConfigFile, err)
	}
	for _, name := range []string{"bos_token", "eos_token", "unk_token", "pad_token"} {
		var text string
		var added struct{ Content string }
		switch v := c[name]; {
		case len(v) == 0 || string(v) == "null":
			continue
		case json.Unmarshal(v, &text) == nil:
		case json.Unmarshal(v, &added) == nil:
			text = added.Content
		default:
			return nil, fmt.Errorf("%s: %s: %.40s: expected a text, or an object with content", tokenizerConfigFile, name, v)
		}
		out[name] = text
	}
	return out, nil
}
