package serve

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
)

// template turns a conversation into a prompt. It is a checkpoint's chat template, in Jinja.
type template struct {
	compiled  *exec.Template
	variables map[string]string // bos_token, eos_token, ...
}

const templateName = "/chat_template"

// newTemplate compiles a template as Hugging Face does: blocks take the newline behind and the white space before them away. Nothing outside of the text is read.
func newTemplate(text string, variables map[string]string) (t *template, err error) {
	defer recoverTemplate(&err)
	loader, err := loaders.NewMemoryLoader(map[string]string{templateName: text})
	if err != nil {
		return nil, fmt.Errorf("chat template: %w", err)
	}
	c := config.New()
	c.TrimBlocks, c.LeftStripBlocks = true, true
	environment := &exec.Environment{
		Context: exec.EmptyContext().Update(builtins.GlobalFunctions).Update(builtins.GlobalVariables), Filters: builtins.Filters, Tests: builtins.Tests,
		ControlStructures: builtins.ControlStructures, Methods: builtins.Methods,
	}
	compiled, err := exec.NewTemplate(templateName, c, loader, environment)
	if err != nil {
		return nil, fmt.Errorf("chat template: %s", lastLine(err))
	}
	return &template{compiled, variables}, nil
}

// render makes the prompt of a conversation.
func (t *template) render(messages []message, addGenerationPrompt bool, variables map[string]any) (text string, err error) {
	defer recoverTemplate(&err)
	list := make([]any, len(messages))
	for i := range messages {
		m := map[string]any{"role": messages[i].Role, "content": messages[i].text}
		if messages[i].Name != nil {
			m["name"] = *messages[i].Name
		}
		list[i] = m
	}
	var raised error
	data := map[string]any{
		"tools": nil, "documents": nil,
		"raise_exception": func(message string) (string, error) {
			raised = errors.New(message)
			return "", raised
		},
		"strftime_now": func(layout string) string { return strftime(time.Now(), layout) },
	}
	for name, value := range t.variables {
		data[name] = value
	}
	for name, value := range variables {
		data[name] = value
	}
	data["messages"], data["add_generation_prompt"] = list, addGenerationPrompt
	text, err = t.compiled.ExecuteToString(exec.NewContext(data))
	if raised != nil {
		return "", raised
	}
	if err != nil {
		return "", errors.New(lastLine(err))
	}
	return text, nil
}

// recoverTemplate makes an error of a panic of the template engine.
func recoverTemplate(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("chat template: %v", v)
	}
}

// lastLine is an error of several lines in one.
func lastLine(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// verbs are those of strftime that templates use, and what Go calls them.
var verbs = map[string]string{"%d": "02", "%m": "01", "%b": "Jan", "%B": "January", "%Y": "2006", "%y": "06", "%H": "15", "%I": "03", "%M": "04", "%S": "05", "%p": "PM", "%A": "Monday", "%a": "Mon"}

// strftime formats a date. A verb that it does not know stays as it is.
func strftime(t time.Time, layout string) string {
	pairs := []string{"%%", "%"}
	for verb, format := range verbs {
		pairs = append(pairs, verb, t.Format(format))
	}
	return strings.NewReplacer(pairs...).Replace(layout)
}
